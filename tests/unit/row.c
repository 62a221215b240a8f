/* row: one example to ids and a mask, on GPT-2's vocabulary, whose end-of-text token is also what others pad with. */
#include "libcommon/base/out.h"
#include "libcommon/token/row.h"
#include "tests/test.h"

static struct tokenizer *gpt2, *llama2;

static struct tokenizer *load(const char *name)
{
    const char *d = getenv("PEFT_DATA");
    char *p = path_join(d ? d : "../shared/data/", name);
    struct err e = {0};
    struct tokenizer *t = file_exists(p) || file_is_dir(p) ? tokenizer_load(p, &e) : NULL;
    free(p);
    return t;
}

static struct row_tokens make(const struct tokenizer *t, struct row_policy p, const char *prompt, const char *target)
{
    struct row_tokens r = {0};
    struct err e = {0};
    CHECK_MSG(row_tokenize(t, &p, STRZ(prompt), STRZ(target), &r, &e) == 0, "%s", e.msg);
    CHECK(r.mask.n == r.ids.n);
    return r;
}

/* What the ids from `from` on decode to. */
static char *text_of(const struct tokenizer *t, const struct row_tokens *r, size_t from, size_t to)
{
    static struct buf b;
    struct err e = {0};
    b.n = 0;
    CHECK(tokenizer_decode(t, r->ids.v + from, to - from, true, from == 0, &b, &e) == 0);
    return buf_str(&b);
}

static void test_eos_is_live(void)
{
    static const char *const target[] = {" Paris", "", " a<|endoftext|>", "\n", " <|endoftext|> x"};
    for (int i = 0; i < 5; i++) {
        struct row_tokens r = make(gpt2, (struct row_policy){0}, "Q: capital?\nA:", target[i]);
        CHECK(r.fate == ROW_KEPT && r.ids.n > r.n_prompt);
        CHECK(r.ids.v[r.ids.n - 1] == 50256 && r.mask.p[r.ids.n - 1] == 1);
        for (size_t k = 0; k < r.ids.n; k++) CHECK(r.mask.p[k] == (k >= r.n_prompt));
        CHECK(r.had_eos == (i == 2));
        row_tokens_fini(&r);
    }
}

/* Apart, ids of prompt and target decode to prompt and target, for SentencePiece too. */
static void test_apart_decodes(void)
{
    struct tokenizer *all[] = {gpt2, llama2};
    for (int i = 0; i < 2; i++) {
        struct row_tokens r = make(all[i], (struct row_policy){0}, "Q: What is it?\nA:", " Paris 12");
        CHECK_STR(text_of(all[i], &r, 0, r.ids.n), "Q: What is it?\nA: Paris 12");
        CHECK_STR(text_of(all[i], &r, r.n_prompt, r.ids.n), " Paris 12");
        row_tokens_fini(&r);
    }
}

static void test_joint_agrees_at_white_space(void)
{
    struct row_tokens a = make(gpt2, (struct row_policy){0}, "Q: What?\nA:", " Paris"),
                      b = make(gpt2, (struct row_policy){.boundary = ROW_JOINT}, "Q: What?\nA:", " Paris");
    CHECK(a.ids.n == b.ids.n && !memcmp(a.ids.v, b.ids.v, a.ids.n * sizeof *a.ids.v));
    CHECK(a.n_prompt == b.n_prompt && !memcmp(a.mask.p, b.mask.p, a.mask.n) && !b.straddles);
    row_tokens_fini(&a);
    row_tokens_fini(&b);
}

static void test_straddle(void)
{
    struct row_policy p = {.boundary = ROW_JOINT, .straddle = STRADDLE_MASK};
    struct row_tokens mask = make(gpt2, p, "hel", "lo there");
    p.straddle = STRADDLE_TRAIN;
    struct row_tokens train = make(gpt2, p, "hel", "lo there");
    CHECK(mask.straddles && train.straddles && mask.ids.n == train.ids.n);
    CHECK(mask.mask.p[0] == 0 && mask.n_prompt == 1 && train.mask.p[0] == 1 && train.n_prompt == 0);
    p.straddle = STRADDLE_ERROR;
    struct row_tokens r = {0};
    struct err e = {0};
    CHECK(row_tokenize(gpt2, &p, STRZ("hel"), STRZ("lo there"), &r, &e) == -E_STRADDLE && e.hint[0]);
    row_tokens_fini(&mask);
    row_tokens_fini(&train);
    row_tokens_fini(&r);
}

static void test_cut(void)
{
    struct row_policy p = {.max_len = 6, .truncate = TRUNCATE_LEFT};
    for (p.max_len = 1; p.max_len < 16; p.max_len++) {
        p.truncate = TRUNCATE_LEFT;
        struct row_tokens l = make(llama2, p, "one two three four", " five six");
        CHECK(l.ids.n <= (size_t)p.max_len && l.n_prompt <= l.ids.n);
        CHECK(l.ids.v[0] == 1); /* BOS stays */
        for (size_t k = 0; k < l.ids.n; k++) CHECK(l.mask.p[k] == (k >= l.n_prompt));
        CHECK((l.fate == ROW_NO_TARGET) == (p.max_len == 1));
        p.truncate = TRUNCATE_RIGHT;
        struct row_tokens r = make(llama2, p, "one two three four", " five six");
        CHECK(r.ids.n <= (size_t)p.max_len && (r.fate == ROW_NO_TARGET) == (r.n_prompt == r.ids.n));
        p.truncate = TRUNCATE_DROP;
        struct row_tokens d = make(llama2, p, "one two three four", " five six");
        CHECK((d.fate == ROW_TOO_LONG) == (d.ids.n > (size_t)p.max_len));
        row_tokens_fini(&l);
        row_tokens_fini(&r);
        row_tokens_fini(&d);
    }
}

static void test_refusals(void)
{
    struct row_tokens r = {0};
    struct err e = {0};
    struct row_policy p = {0};
    CHECK(row_tokenize(llama2, &p, STRZ("<s>x"), STRZ("y"), &r, &e) == -E_BOS_TWICE);
    e = (struct err){0};
    CHECK(row_tokenize(llama2, &p, STRZ("\xff"), STRZ("y"), &r, &e) == -E_ENCODING);
    row_tokens_fini(&r);
}

int main(void)
{
    gpt2 = load("tokenizers/gpt2");
    llama2 = load("tokenizers/llama2/tokenizer.model");
    if (!gpt2 || !llama2) {
        SKIP("row", "no tokenizers under PEFT_DATA");
    } else {
        RUN(test_eos_is_live, "row: the end-of-text token is trained on in every row");
        RUN(test_apart_decodes, "row: parts encoded apart decode to the whole");
        RUN(test_joint_agrees_at_white_space, "row: joint and separate agree at white space");
        RUN(test_straddle, "row: straddling tokens by policy");
        RUN(test_cut, "row: cutting to a length");
        RUN(test_refusals, "row: two BOS and broken text are refused");
    }
    tokenizer_free(gpt2);
    tokenizer_free(llama2);
    return test_failed;
}
