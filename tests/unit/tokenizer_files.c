/* tokenizer files made here: those that Hugging Face loads and a careless reader refuses, and those that say too little
 * about themselves. */
#include <unistd.h>

#include "libcommon/base/out.h"
#include "libcommon/format/gguf_write.h"
#include "libcommon/token/impl.h"
#include "tests/test.h"

static char dir[] = "/tmp/peft-tokXXXXXX";

static const char *at(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void save(const char *name, const struct buf *b)
{
    FILE *f = fopen(at(name), "w");
    CHECK(f && fwrite(b->p, 1, b->n, f) == b->n && fclose(f) == 0);
}

/* Ids of a text as "1 2 3". */
static const char *ids_of(const struct tokenizer *t, const char *text)
{
    static struct buf b;
    struct u32vec ids = {0};
    struct err e = {0};
    b.n = 0;
    CHECK(tokenizer_encode(t, STRZ(text), 0, &ids, NULL, &e) == 0);
    for (size_t i = 0; i < ids.n; i++) buf_printf(&b, i ? " %u" : "%u", ids.v[i]);
    free(ids.v);
    return buf_str(&b);
}

static struct tokenizer *load(const char *name)
{
    struct err e = {0};
    struct tokenizer *t = tokenizer_load(at(name), &e);
    CHECK_MSG(t, "%s %s", e.msg, e.hint);
    return t;
}

/* A byte-level vocabulary of "a", and 2, 4, ... letters up to `most`, each made of two of the one before. */
static void doubling(struct buf *b, int most, const char *more, const char *last_merge)
{
    buf_addz(b, "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false},"
                "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0");
    for (int n = 2, id = 1; n <= most; n *= 2, id++) {
        buf_addz(b, ",\"");
        for (int i = 0; i < n; i++) buf_addc(b, 'a');
        buf_printf(b, "\":%d", id);
    }
    buf_printf(b, "%s},\"merges\":[", more);
    for (int n = 1; 2 * n <= most; n *= 2) {
        buf_addz(b, n > 1 ? ",\"" : "\"");
        for (int i = 0; i < 2 * n; i++) buf_addz(b, i == n ? " a" : "a");
        buf_addc(b, '"');
    }
    buf_printf(b, "%s]}}", last_merge);
}

static void long_merge(void)
{
    struct buf b = {0};
    doubling(&b, 1024, "", "");
    save("long.json", &b);
    struct tokenizer *t = load("long.json");
    char text[1026] = "";
    memset(text, 'a', 1025);
    if (t) CHECK_STR(ids_of(t, text), "10 0");
    tokenizer_free(t);
    buf_fini(&b);
}

static void empty_piece(void)
{
    struct buf b = {0};
    doubling(&b, 2, ",\"\":2,\"b\":3", "");
    save("empty.json", &b);
    struct tokenizer *t = load("empty.json");
    if (t) CHECK(tokenizer_size(t) == 4);
    if (t) CHECK_STR(ids_of(t, "aab"), "1 3");
    tokenizer_free(t);
    buf_fini(&b);
}

static void merges_that_do_not_fit(void)
{
    static const char *const wrong[] = {",\"a  a\"", ",\"aa b\"", ",\"aa\"", ",\"a aa\""};
    for (int i = 0; i < 4; i++) {
        struct buf b = {0};
        struct err e = {0};
        doubling(&b, 2, ",\" a\":2,\"a a\":3", wrong[i]); /* what fits, were it a pair */
        save("wrong.json", &b);
        CHECK_MSG(!tokenizer_load(at("wrong.json"), &e) && e.id == E_TOKENIZER && strstr(e.msg, "merge 1"), "%s: %s",
                  wrong[i], e.msg);
        buf_fini(&b);
    }
}

/* "it's" has a piece "'s" that no tokenizer makes which takes the apostrophe off. */
static void gguf_without_pre(void)
{
    struct err e = {0};
    struct gguf_writer *w = gguf_create(at("old.gguf"), true, &e);
    const struct str pieces[] = {STRZ("i"), STRZ("t"), STRZ("'"), STRZ("s"), STRZ("'s")}, merges[] = {STRZ("' s")};
    CHECK(w);
    if (!w) return;
    gguf_put_str(w, "tokenizer.ggml.model", STRZ("gpt2"));
    gguf_put_strs(w, "tokenizer.ggml.tokens", pieces, 5);
    gguf_put_strs(w, "tokenizer.ggml.merges", merges, 1);
    CHECK(gguf_begin(w, &e) == 0 && gguf_finish(w, &e) == 0);
    FILE *said = tmpfile();
    int was = dup(STDERR_FILENO);
    dup2(fileno(said), STDERR_FILENO);
    struct tokenizer *t = load("old.gguf");
    dup2(was, STDERR_FILENO);
    close(was);
    char line[512] = "";
    rewind(said);
    CHECK(fgets(line, sizeof line, said) && strstr(line, "tokenizer.ggml.pre is missing"));
    fclose(said);
    if (t) CHECK_STR(ids_of(t, "it's"), "0 1 4");
    tokenizer_free(t);
}

/* The digest is of what a tokenizer does: rules may be written in two ways, and one rule more is another tokenizer. */
static void digest_of_rules(void)
{
    static const char *const rules[] = {
        "\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}",
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"NFC\"}]},\"pre_"
        "tokenizer\":"
        "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}",
        "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}",
        "\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"ByteLevel\"}"};
    unsigned char digest[4][32] = {{0}};
    for (int i = 0; i < 4; i++) {
        struct buf b = {0};
        buf_printf(&b,
                   "{%s,\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"\xc4\xa0\":1,\"\xc4\xa0"
                   "a\":2,\"\xc3\x8c\":3,"
                   "\"\xc4\xa3\":4},\"merges\":[\"\xc4\xa0 a\"]}}",
                   rules[i]);
        save("wrong.json", &b);
        struct tokenizer *t = load("wrong.json");
        if (t) memcpy(digest[i], tokenizer_digest(t), 32);
        tokenizer_free(t);
        buf_fini(&b);
    }
    CHECK(!memcmp(digest[0], digest[1], 32));
    CHECK(memcmp(digest[0], digest[2], 32) && memcmp(digest[0], digest[3], 32) && memcmp(digest[2], digest[3], 32));
}

/* Ranks of another number than Llama 3's, without and with something that says which special tokens there are. */
static void foreign_tiktoken(void)
{
    struct buf b = {0}, config = {0};
    struct err e = {0};
    buf_addz(&b, "YQ== 0\nYg== 1\nYWI= 2\nYmI= 3\n");
    save("tokenizer.model", &b);
    CHECK(!tokenizer_load(at("tokenizer.model"), &e) && e.id == E_TOKEN_UNSUPPORTED);
    CHECK_MSG(strstr(e.msg, "4 ranks") && strstr(e.hint, "tokenizer_config.json"), "%s", e.msg);
    buf_addz(&config,
             "{\"eos_token\":\"<end>\",\"added_tokens_decoder\":{\"4\":{\"content\":\"<end>\",\"special\":true}}}");
    save("tokenizer_config.json", &config);
    struct tokenizer *t = load("tokenizer.model");
    if (t) CHECK(tokenizer_eos(t) == 4 && tokenizer_size(t) == 5 && !tokenizer_adds_bos(t));
    tokenizer_free(t);
    buf_fini(&b);
    buf_fini(&config);
}

int main(void)
{
    if (!mkdtemp(dir)) return 1;
    RUN(long_merge, "tokenizer files: merges of 1,025 bytes");
    RUN(empty_piece, "tokenizer files: an empty piece");
    RUN(merges_that_do_not_fit, "tokenizer files: merges that do not fit");
    RUN(gguf_without_pre, "tokenizer files: GGUF without tokenizer.ggml.pre");
    RUN(digest_of_rules, "tokenizer files: the digest is of what it does");
    RUN(foreign_tiktoken, "tokenizer files: tiktoken of another family");
    static const char *const made[] = {"long.json", "empty.json",      "wrong.json",
                                       "old.gguf",  "tokenizer.model", "tokenizer_config.json"};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) remove(at(made[i]));
    rmdir(dir);
    return test_failed;
}
