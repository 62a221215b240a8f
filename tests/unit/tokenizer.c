/* tokenizer: ids against the reference pairs of llama.cpp's vocabularies, decoding, offsets, added tokens, digests, and
 * inputs that a naive implementation is quadratic on. */
#include <time.h>

#include "libcommon/base/out.h"
#include "libcommon/token/tokenizer.h"
#include "libcommon/token/impl.h"
#include "tests/test.h"

static char *data(const char *name)
{
    const char *d = getenv("PEFT_DATA");
    return path_join(d ? d : "../shared/data", name);
}

static const char separator[] = "\n__ggml_vocab_test__\n";

/* Compare every case of NAME.inp with its line of NAME.out; returns the number of cases. */
static int pairs(const struct tokenizer *t, const char *name)
{
    char inp[256], out[256];
    size_t n, m;
    struct err e = {0};
    snprintf(inp, sizeof inp, "tokenizers/ggml-vocab/ggml-vocab-%s.gguf.inp", name);
    snprintf(out, sizeof out, "tokenizers/ggml-vocab/ggml-vocab-%s.gguf.out", name);
    char *pi = data(inp), *po = data(out);
    char *a = file_read(pi, 1 << 20, &n, &e), *b = file_read(po, 1 << 20, &m, &e);
    int cases = 0;
    CHECK_MSG(a && b, "%s", e.msg);
    for (char *p = a, *q = b; p && q && *q; cases++) {
        char *end = strstr(p, separator), *line = strchr(q, '\n');
        struct str text = {p, end ? (size_t)(end - p) : strlen(p)};
        struct u32vec ids = {0}, want = {0}, off = {0};
        struct buf back = {0};
        char *num = q;
        for (char *stop; (void)strtoul(num, &stop, 10), stop != num && (!line || stop <= line); num = stop)
            u32vec_add(&want, (uint32_t)strtoul(num, NULL, 10));
        CHECK_MSG(tokenizer_encode(t, text, TOK_SPECIAL, &ids, &off, &e) == 0, "%s", e.msg);
        bool same = ids.n == want.n && (ids.n == 0 || !memcmp(ids.v, want.v, ids.n * sizeof *ids.v));
        CHECK_MSG(same, "%s case %d: \"%.*s\"", name, cases, (int)text.n, text.p);
        if (!same) {
            for (size_t i = 0; i < ids.n; i++) fprintf(stderr, " %u", ids.v[i]);
            fprintf(stderr, "  expected");
            for (size_t i = 0; i < want.n; i++) fprintf(stderr, " %u", want.v[i]);
            fputc('\n', stderr);
        }
        CHECK(off.n == ids.n);
        for (size_t i = 1; i < off.n; i++) CHECK(off.v[i - 1] <= off.v[i] && off.v[i] < text.n);
        CHECK(tokenizer_decode(t, ids.v, ids.n, false, true, &back, &e) == 0);
        CHECK_MSG(back.n == text.n && (text.n == 0 || !memcmp(back.p, text.p, text.n)),
                  "%s case %d does not decode to itself", name, cases);
        free(ids.v);
        free(want.v);
        free(off.v);
        buf_fini(&back);
        p = end ? end + sizeof separator - 1 : NULL;
        q = line ? line + 1 : q + strlen(q);
    }
    free(a);
    free(b);
    free(pi);
    free(po);
    return cases;
}

static const struct {
    const char *vocab, *pairs;
} vocabularies[] = {
    {"tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf", "gpt-2"},
    {"tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf", "llama-spm"},
    {"tokenizers/ggml-vocab/ggml-vocab-mpt.gguf", "mpt"},
    {"tokenizers/ggml-vocab/ggml-vocab-phi-3.gguf", "phi-3"},
    {"tokenizers/ggml-vocab/ggml-vocab-refact.gguf", "refact"},
    {"tokenizers/ggml-vocab/ggml-vocab-starcoder.gguf", "starcoder"},
    {"tokenizers/llama3", "llama-bpe"},
    {"tokenizers/qwen2", "qwen2"},
    {"tokenizers/gpt2", "gpt-2"},
    {"tokenizers/llama2/tokenizer.model", "llama-spm"},
    {"tokenizers/phi-3-mini", "phi-3"},
};

static struct tokenizer *load(const char *name)
{
    struct err e = {0};
    char *p = data(name);
    struct tokenizer *t = tokenizer_load(p, &e);
    CHECK_MSG(t, "%s: %s", name, e.msg);
    free(p);
    return t;
}

static int which;
static void test_pairs(void)
{
    struct tokenizer *t = load(vocabularies[which].vocab);
    if (!t) return;
    CHECK(pairs(t, vocabularies[which].pairs) == 46);
    tokenizer_free(t);
}

static void test_settings(void)
{
    struct tokenizer *q = load("tokenizers/qwen2"), *p = load("tokenizers/phi-3-mini"),
                     *l = load("tokenizers/llama2/tokenizer.model"), *m = load("tokenizers/llama2/tokenizer.model"),
                     *g = load("tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf"), *three = load("tokenizers/llama3"),
                     *s = load("tokenizers/gpt2"), *u = load("tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf"),
                     *f = load("tokenizers/ggml-vocab/ggml-vocab-phi-3.gguf");
    if (!q || !p || !l || !m || !g || !three || !s || !u || !f) return;
    CHECK(tokenizer_eos(q) == 151645 && tokenizer_bos(q) == -1 && !tokenizer_adds_bos(q) &&
          tokenizer_size(q) == 151646);
    CHECK(tokenizer_chat_template(q) && strstr(tokenizer_chat_template(q), "im_start"));
    CHECK(tokenizer_eos(p) == 32000 && tokenizer_bos(p) == 1 && !tokenizer_adds_bos(p));
    CHECK(tokenizer_eos(l) == 2 && tokenizer_bos(l) == 1 && tokenizer_adds_bos(l));
    CHECK(tokenizer_eos(m) == 2 && tokenizer_bos(m) == 1 && tokenizer_adds_bos(m));
    CHECK(tokenizer_eos(three) == 128001 && tokenizer_bos(three) == 128000 && tokenizer_adds_bos(three));
    CHECK(tokenizer_is_special(three, 128009) && !tokenizer_is_special(three, 127999) &&
          !tokenizer_is_special(three, 128256));
    CHECK(tokenizer_eos(s) == 50256 && !tokenizer_adds_bos(s));
    /* One tokenizer, one digest, whatever the file. */
    CHECK(!memcmp(tokenizer_digest(m), tokenizer_digest(g), 32));
    CHECK(!memcmp(tokenizer_digest(s), tokenizer_digest(u), 32));
    CHECK(!memcmp(tokenizer_digest(p), tokenizer_digest(f), 32));
    CHECK(memcmp(tokenizer_digest(m), tokenizer_digest(p), 32) != 0);
    struct tokenizer *all[] = {q, p, l, m, g, three, s, u, f};
    for (int i = 0; i < 9; i++) tokenizer_free(all[i]);
}

/* A merge with a space too many, as where no-break spaces of pieces were turned into spaces, is refused as Hugging Face
 * refuses it. */
static void test_damaged(void)
{
    char *p = data("tokenizers/llama2");
    struct err e = {0};
    CHECK(!tokenizer_load(p, &e) && e.id == E_TOKENIZER);
    CHECK_MSG(strstr(e.msg, "merge 18917 is ") && strstr(e.hint, "tokenizer.model"), "%s %s", e.msg, e.hint);
    free(p);
}

/* A text that goes on where another ended gets no blank in front, however the tokenizer puts its blanks. */
static void test_continue(void)
{
    static const char *const scheme[] = {"first", "always", "never"};
    for (int i = 0; i < 3; i++) {
        struct err e = {0};
        struct u32vec ids = {0}, on = {0};
        char *text = mem_printf("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"\u2581\":1,\"\u2581a\":2},"
                                "\"merges\":[\"\u2581 a\"]},\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":"
                                "\"\u2581\",\"prepend_scheme\":\"%s\",\"split\":false}}",
                                scheme[i]);
        struct tokenizer *t = tokenizer_new();
        CHECK_MSG(!tokenizer_load_json(t, text, strlen(text), "t.json", &e) && !tokenizer_build(t, &e), "%s", e.msg);
        if (!e.id) {
            CHECK(!tokenizer_encode(t, STRZ("a"), 0, &ids, NULL, &e));
            CHECK(!tokenizer_encode(t, STRZ("a"), TOK_CONTINUE, &on, NULL, &e));
            CHECK_MSG(ids.n == 1 && ids.v[0] == (i < 2 ? 2 : 0), "%s: %u", scheme[i], ids.n ? ids.v[0] : 99);
            CHECK_MSG(on.n == 1 && on.v[0] == 0, "%s, going on: %u", scheme[i], on.n ? on.v[0] : 99);
        }
        free(ids.v);
        free(on.v);
        tokenizer_free(t);
        free(text);
    }
}

/* A megabyte of one letter, of spaces, of marks, of "<": a second is ten times what each needs, and far below
 * quadratic. */
static void test_linear(void)
{
    static const char *const unit[] = {
        "a", " ", "\n", "<", "\xcc\x81", "\xcc\xa3\xcc\x81", "\xe2\x96\x81", "\xf0\x9f\x98\x80", "1", " \n"};
    static const char *const from[] = {"tokenizers/qwen2", "tokenizers/llama2/tokenizer.model",
                                       "tokenizers/ggml-vocab/ggml-vocab-starcoder.gguf"};
    for (int v = 0; v < 3; v++) {
        struct tokenizer *t = load(from[v]);
        for (size_t k = 0; t && k < sizeof unit / sizeof *unit; k++) {
            struct buf text = {0}, back = {0};
            struct u32vec ids = {0};
            struct err e = {0};
            while (text.n < 1 << 20) buf_addz(&text, unit[k]);
            clock_t t0 = clock();
            CHECK(tokenizer_encode(t, (struct str){text.p, text.n}, TOK_SPECIAL, &ids, NULL, &e) == 0);
            double s = (double)(clock() - t0) / CLOCKS_PER_SEC;
            CHECK_MSG(s < 8, "%s: 1 MiB of \"%s\" took %.1f s", from[v], unit[k], s);
            CHECK(tokenizer_decode(t, ids.v, ids.n, false, true, &back, &e) == 0);
            /* Qwen2 normalises the marks; SentencePiece takes its own sign for a space. */
            if (v == 2) CHECK(back.n == text.n && !memcmp(back.p, text.p, text.n));
            buf_fini(&text);
            buf_fini(&back);
            free(ids.v);
        }
        tokenizer_free(t);
    }
}

/* The i-th word: i in base 26, repeated to a length around and beyond what the cache of words remembers. */
static struct str numbered_word(long i, char *buf)
{
    const size_t n = 1 + (size_t)(i * 7919 % 110);
    buf[0] = ' ';
    for (size_t k = 1; k <= n; k++)
        buf[k] = (char)('a' + i / (k % 4 == 0 ? 17576 : k % 4 == 1 ? 1 : k % 4 == 2 ? 26 : 676) % 26);
    return (struct str){buf, n + 1};
}

/* A word's ids do not depend on what the cache of words holds: more words than it takes, twice and in the opposite
 * order. */
static void test_cache(void)
{
    enum { WORDS = 70000 }; /* the cache is emptied at 32768 */
    struct tokenizer *t[2] = {load("tokenizers/qwen2"), load("tokenizers/qwen2")};
    uint64_t *first = mem_alloc(WORDS, sizeof *first);
    long differ = 0;
    for (int pass = 0; pass < 3 && t[0] && t[1]; pass++)
        for (long k = 0; k < WORDS; k++) {
            const long i = pass == 2 ? WORDS - 1 - k : k;
            char word[128];
            struct u32vec ids = {0}, off = {0};
            struct err e = {0};
            uint64_t h = 14695981039346656037u; /* FNV-1a over ids and offsets */
            CHECK(tokenizer_encode(t[pass / 2], numbered_word(i, word), 0, &ids, &off, &e) == 0);
            for (size_t j = 0; j < ids.n; j++) h = ((h ^ ids.v[j]) * 1099511628211u ^ off.v[j]) * 1099511628211u;
            if (pass == 0) first[i] = h;
            differ += first[i] != h;
            free(ids.v);
            free(off.v);
        }
    CHECK_MSG(differ == 0, "%ld words have other ids with another cache", differ);
    free(first);
    tokenizer_free(t[0]);
    tokenizer_free(t[1]);
}

int main(void)
{
    RUN(test_continue, "tokenizer: a text that goes on");
    char *probe = data("tokenizers/ggml-vocab");
    if (!file_is_dir(probe)) {
        SKIP("tokenizer", "no tokenizers under PEFT_DATA");
        free(probe);
        return 0;
    }
    free(probe);
    for (which = 0; which < (int)(sizeof vocabularies / sizeof *vocabularies); which++) {
        char name[160];
        snprintf(name, sizeof name, "tokenizer pairs of %s", vocabularies[which].vocab);
        RUN(test_pairs, name);
    }
    RUN(test_settings, "tokenizer settings and digests");
    RUN(test_damaged, "tokenizer with merges that do not fit");
    RUN(test_linear, "tokenizer long runs");
    RUN(test_cache, "tokenizer cache of words");
    return test_failed;
}
