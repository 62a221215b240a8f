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

/* ---- several parts ---- */
static struct row_tokens make_parts(const struct tokenizer *t, struct row_policy p, const struct part *x, uint32_t n)
{
    struct row_tokens r = {0};
    struct err e = {0};
    CHECK_MSG(row_tokenize_parts(t, &p, x, n, &r, &e) == 0, "%s", e.msg);
    CHECK(r.mask.n == r.ids.n);
    return r;
}

static void test_pair_is_two_parts(void)
{
    static const char *const text[][2] = {
        {"Q: a\nA:", " b"}, {"hel", "lo there"}, {"", "x"}, {"x", ""}, {"caf\xc3\xa9", "s"}};
    struct tokenizer *all[] = {gpt2, llama2};
    for (int i = 0; i < 5 * 2 * 2 * 3 * 3 * 8; i++) {
        int k = i;
        const char *a = text[k % 5][0], *b = text[k % 5][1];
        struct row_policy p = {0};
        k /= 5;
        const struct tokenizer *t = all[k % 2];
        p.boundary = k / 2 % 2, p.straddle = k / 4 % 3, p.eos = k / 12 % 3, p.max_len = k / 36 % 8;
        p.truncate = p.max_len % 2 ? TRUNCATE_LEFT : TRUNCATE_RIGHT;
        const struct part x[] = {{STRZ(a), false}, {STRZ(b), true}};
        struct row_tokens r = make(t, p, a, b), q = make_parts(t, p, x, 2);
        CHECK(r.ids.n == q.ids.n && !memcmp(r.ids.v, q.ids.v, r.ids.n * sizeof *r.ids.v));
        CHECK(r.n_prompt == q.n_prompt && r.fate == q.fate && !memcmp(r.mask.p, q.mask.p, r.mask.n));
        CHECK(r.last == 1 && r.cut_parts == 0);
        row_tokens_fini(&r);
        row_tokens_fini(&q);
    }
}

#define LIT(s)          \
    {                   \
        s, sizeof s - 1 \
    }
static const struct part turns[] = {
    {LIT("Q: one?\nA:"), false}, {LIT(" two three"), true}, {LIT("\nQ: four?\nA:"), false},
    {LIT(" five"), true},        {LIT(" six"), true},       {LIT("\nthe end of it"), false}};
enum { TURNS = sizeof turns / sizeof *turns };

/* The mask is set on exactly the tokens of the parts that are trained on. */
static void test_parts_mask(void)
{
    struct tokenizer *all[] = {gpt2, llama2};
    for (uint32_t n = 2; n <= TURNS; n++)
        for (int i = 0; i < 3; i++) {
            const struct tokenizer *t = all[i % 2];
            struct row_tokens r = make_parts(t, (struct row_policy){.boundary = i == 2 ? ROW_JOINT : ROW_SEPARATE},
                                             turns, n);
            struct buf whole = {0};
            CHECK(r.fate == ROW_KEPT && !r.straddles && r.at.n == n && r.last == (n == 6 ? 4 : n == 3 ? 1 : n - 1));
            CHECK(r.n_prompt == r.at.v[r.last]);
            for (uint32_t k = 0; k < n; k++) {
                size_t to = k + 1 < n ? r.at.v[k + 1] : r.ids.n - 1; /* without EOS */
                CHECK(r.at.v[k] < to);
                for (size_t m = r.at.v[k]; m < to; m++) CHECK(r.mask.p[m] == turns[k].train);
                CHECK_STR(text_of(t, &r, k ? r.at.v[k] : 0, to), turns[k].text.p);
                buf_add(&whole, turns[k].text.p, turns[k].text.n);
            }
            CHECK_STR(text_of(t, &r, 0, r.ids.n), buf_str(&whole));
            CHECK(r.ids.v[r.ids.n - 1] == (uint32_t)tokenizer_eos(t) && r.mask.p[r.ids.n - 1] == turns[n - 1].train);
            if (t == llama2) CHECK(r.ids.v[0] == 1 && !r.mask.p[0] && r.at.v[0] == 1);
            buf_fini(&whole);
            row_tokens_fini(&r);
        }
}

/* hel|lo wor|ld the|re: "hello", " world", " there" lie on both sides. */
static void test_parts_straddle(void)
{
    const struct part x[] = {{STRZ("hel"), false}, {STRZ("lo wor"), true}, {STRZ("ld the"), true}, {STRZ("re"), false}};
    static const char want[3][3] = {{0, 1, 0}, {1, 1, 1}, {0, 1, 0}};
    struct row_policy p = {.boundary = ROW_JOINT, .eos = EOS_KEEP};
    for (p.straddle = STRADDLE_MASK; p.straddle <= STRADDLE_TRAIN; p.straddle++) {
        struct row_tokens r = make_parts(gpt2, p, x, 4);
        CHECK(r.ids.n == 3 && r.straddles && !memcmp(r.mask.p, want[p.straddle], 3));
        CHECK(r.n_prompt == (p.straddle == STRADDLE_MASK ? 2 : 1) && r.last == 2);
        row_tokens_fini(&r);
    }
    struct row_tokens same = make_parts(gpt2, p, x + 1, 2); /* both trained on: nothing to decide */
    CHECK(!same.straddles && !memchr(same.mask.p, 0, same.mask.n));
    row_tokens_fini(&same);
    p.straddle = STRADDLE_SPLIT;
    struct row_tokens split = make_parts(gpt2, p, x, 4),
                      apart = make_parts(gpt2, (struct row_policy){.eos = EOS_KEEP}, x, 4);
    CHECK(split.straddles && split.ids.n == apart.ids.n && !memcmp(split.ids.v, apart.ids.v, 4 * split.ids.n));
    CHECK(!memcmp(split.mask.p, apart.mask.p, split.mask.n) && split.n_prompt == apart.n_prompt);
    row_tokens_fini(&split);
    row_tokens_fini(&apart);
    struct row_tokens r = {0};
    struct err e = {0};
    p.straddle = STRADDLE_ERROR;
    CHECK(row_tokenize_parts(gpt2, &p, x + 1, 3, &r, &e) == -E_STRADDLE);
    CHECK_MSG(strstr(e.msg, "the end of part 2 and the beginning of part 3"), "%s", e.msg);
    row_tokens_fini(&r);
}

/* Every length from either side: what is left keeps its place and its mask, and every lost part is counted. */
static void test_parts_cut(void)
{
    struct row_tokens all = make_parts(llama2, (struct row_policy){0}, turns, TURNS);
    for (int64_t max = 1; max <= (int64_t)all.ids.n + 1; max++)
        for (int side = 0; side < 2; side++) {
            struct row_policy p = {.max_len = max, .truncate = side ? TRUNCATE_RIGHT : TRUNCATE_LEFT};
            struct row_tokens r = make_parts(llama2, p, turns, TURNS);
            size_t n = r.ids.n, gone = all.ids.n - n;
            int64_t last = -1;
            uint32_t lost = 0;
            CHECK(n == (size_t)(max < (int64_t)all.ids.n ? max : (int64_t)all.ids.n) && r.truncated == (gone > 0));
            for (size_t k = 0; k < n; k++) {
                size_t was = side || (k == 0 && gone) ? k : k + gone;
                CHECK(r.ids.v[k] == all.ids.v[was] && r.mask.p[k] == all.mask.p[was]);
            }
            for (uint32_t i = 0; i < TURNS; i++) { /* by the definition: is a token of it left? */
                bool left = false;
                for (size_t k = all.at.v[i]; turns[i].train && k < all.at.v[i + 1]; k++)
                    left = left || (side ? k < n : k >= gone + (gone > 0));
                if (turns[i].train && !left) lost++;
                if (left) last = i;
            }
            CHECK((r.fate == ROW_NO_TARGET) == (last < 0));
            if (last >= 0) {
                CHECK_MSG(r.last == (uint32_t)last && r.cut_parts == lost, "max %d side %d: last %u, lost %u", (int)max,
                          side, r.last, r.cut_parts);
                size_t begin = all.at.v[last], place = side ? begin : begin > gone + 1 ? begin - gone : 1;
                if (!gone) place = begin;
                CHECK_MSG(r.n_prompt == place, "max %d side %d: n_prompt %u, not %zu", (int)max, side, r.n_prompt,
                          place);
            }
            row_tokens_fini(&r);
        }
    row_tokens_fini(&all);
}

static void test_refusals(void)
{
    struct row_tokens r = {0};
    struct err e = {0};
    struct row_policy p = {0};
    CHECK(row_tokenize(llama2, &p, STRZ("<s>x"), STRZ("y"), &r, &e) == -E_BOS_TWICE);
    e = (struct err){0};
    CHECK(row_tokenize(llama2, &p, STRZ("\xff"), STRZ("y"), &r, &e) == -E_ENCODING);
    const struct part bad[] = {{STRZ("a"), true}, {STRZ("b"), false}, {STRZ("\xff"), true}};
    e = (struct err){0};
    CHECK(row_tokenize_parts(llama2, &p, bad, 3, &r, &e) == -E_ENCODING && strstr(e.msg, "part 3: "));
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
        RUN(test_pair_is_two_parts, "row: a pair is two parts");
        RUN(test_parts_mask, "row: parts: the mask is that of each part");
        RUN(test_parts_straddle, "row: parts: straddling tokens by policy");
        RUN(test_parts_cut, "row: parts: cutting counts what it takes");
        RUN(test_refusals, "row: two BOS and broken text are refused");
    }
    tokenizer_free(gpt2);
    tokenizer_free(llama2);
    return test_failed;
}
