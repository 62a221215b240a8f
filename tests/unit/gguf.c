/* gguf: a file with one fault of each kind is refused with the right error; what the writer writes reads back; every
 * truncation is refused; the order of q and k rows. One builder makes all files: each field asks whether it is the
 * faulty one. */
#include <unistd.h>

#include "libcommon/base/out.h"
#include "libcommon/format/gguf.h"
#include "libcommon/model/model_internal.h"
#include "libcommon/format/gguf_names.h"
#include "libcommon/format/gguf_write.h"
#include "tests/test.h"

enum fault {
    NONE,
    EMPTY,
    TOO_SHORT,
    MAGIC,
    VERSION_1,
    VERSION_4,
    OTHER_ENDIAN,
    PAIRS_LIE,
    PAIRS_HUGE,
    TENSORS_LIE,
    TENSORS_HUGE,
    KEY_LENGTH,
    KEY_LENGTH_MAX,
    KEY_EMPTY,
    KEY_NUL,
    KEY_TWICE,
    TYPE_13,
    TYPE_HUGE,
    VALUE_CUT,
    STRING_LENGTH,
    STRING_LENGTH_MAX,
    BOOL_2,
    ARRAY_OF_ARRAY,
    ARRAY_TYPE,
    ARRAY_LENGTH,
    ARRAY_LENGTH_MAX,
    ARRAY_STRINGS,
    ARRAY_STRING_CUT,
    ARRAY_BOOL_2,
    ALIGN_0,
    ALIGN_3,
    ALIGN_HUGE,
    ALIGN_TYPE,
    NAME_EMPTY,
    NAME_LONG,
    NAME_NUL,
    NAME_LENGTH,
    NAME_TWICE,
    DIMS_0,
    DIMS_5,
    DIM_ZERO,
    DIM_NEGATIVE,
    DIM_OVERFLOW,
    BYTES_OVERFLOW,
    BLOCK,
    TENSOR_TYPE_4,
    TENSOR_TYPE_HUGE,
    OFFSET_UNALIGNED,
    OFFSET_BACK,
    OFFSET_HOLE,
    OFFSET_HUGE,
    DATA_CUT,
    DATA_MISSING,
    DATA_TAIL,
    INFO_CUT,
    FAULTS
};
static const char *const fault_name[FAULTS] = {"none",
                                               "empty",
                                               "short",
                                               "magic",
                                               "version 1",
                                               "version 4",
                                               "big-endian",
                                               "pair count",
                                               "pair count huge",
                                               "tensor count",
                                               "tensor count huge",
                                               "key length",
                                               "key length 2^64-1",
                                               "key empty",
                                               "key with NUL",
                                               "key twice",
                                               "value type 13",
                                               "value type huge",
                                               "value cut",
                                               "string length",
                                               "string length 2^64-1",
                                               "bool 2",
                                               "array of arrays",
                                               "array type",
                                               "array length",
                                               "array length 2^61",
                                               "array of strings length",
                                               "array string cut",
                                               "array bool 2",
                                               "alignment 0",
                                               "alignment 3",
                                               "alignment 2^17",
                                               "alignment type",
                                               "name empty",
                                               "name of 64",
                                               "name with NUL",
                                               "name length",
                                               "name twice",
                                               "0 dimensions",
                                               "5 dimensions",
                                               "dimension 0",
                                               "dimension negative",
                                               "dimensions overflow",
                                               "bytes overflow",
                                               "row of no block",
                                               "withdrawn type",
                                               "type huge",
                                               "offset unaligned",
                                               "offset overlap",
                                               "offset hole",
                                               "offset huge",
                                               "data cut",
                                               "data missing",
                                               "data tail",
                                               "tensor info cut"};

static void u32(struct buf *b, uint32_t v) { buf_add(b, &v, 4); }
static void u64(struct buf *b, uint64_t v) { buf_add(b, &v, 8); }
static void text(struct buf *b, const char *s, size_t n)
{
    u64(b, n);
    buf_add(b, s, n);
}

static void pairs(struct buf *b, enum fault f)
{
    if (f == KEY_LENGTH) {
        u64(b, 1 << 20);
        buf_addz(b, "general.architecture");
    } else if (f == KEY_LENGTH_MAX) {
        u64(b, UINT64_MAX);
        buf_addz(b, "general.architecture");
    } else {
        text(b, f == KEY_NUL ? "general\0architecture" : "general.architecture", f == KEY_EMPTY ? 0 : 20);
    }
    u32(b, f == TYPE_13 ? 13 : f == TYPE_HUGE ? UINT32_MAX : GGUF_STRING);
    u64(b, f == STRING_LENGTH ? 1 << 20 : f == STRING_LENGTH_MAX ? UINT64_MAX : 5);
    buf_addz(b, "llama");
    text(b, f == KEY_TWICE ? "general.architecture" : "a.bool", f == KEY_TWICE ? 20 : 6);
    u32(b, GGUF_BOOL);
    buf_addc(b, f == BOOL_2 ? 2 : 1);
    text(b, "general.alignment", 17);
    if (f == ALIGN_TYPE) {
        u32(b, GGUF_U64);
        u64(b, 64);
    } else {
        u32(b, GGUF_U32);
        u32(b, f == ALIGN_0 ? 0 : f == ALIGN_3 ? 3 : f == ALIGN_HUGE ? 1 << 17 : 64);
    }
    text(b, "a.list", 6);
    u32(b, GGUF_ARRAY);
    u32(b, f == ARRAY_OF_ARRAY ? GGUF_ARRAY : f == ARRAY_TYPE ? 99 : GGUF_I16);
    u64(b, f == ARRAY_LENGTH ? 1 << 20 : f == ARRAY_LENGTH_MAX ? 1ull << 61 : 2);
    u32(b, 0xfffe0003); /* 3, -2 */
    text(b, "a.flags", 7);
    u32(b, GGUF_ARRAY);
    u32(b, GGUF_BOOL);
    u64(b, 2);
    buf_addc(b, 1);
    buf_addc(b, f == ARRAY_BOOL_2 ? 2 : 0);
    text(b, "a.words", 7);
    u32(b, GGUF_ARRAY);
    u32(b, GGUF_STRING);
    u64(b, f == ARRAY_STRINGS ? 1ull << 62 : 2);
    text(b, "one", 3);
    u64(b, f == ARRAY_STRING_CUT ? 1 << 20 : 5);
    buf_addz(b, "three");
    if (f == VALUE_CUT) {
        text(b, "a.cut", 5);
        u32(b, GGUF_F64);
        u32(b, 0);
    }
}

static void tensors(struct buf *b, enum fault f)
{
    char name[80];
    memset(name, 'n', sizeof name);
    if (f == NAME_LONG)
        text(b, name, 64);
    else if (f == NAME_LENGTH)
        text(b, name, 0), u64(b, 1 << 30);
    else
        text(b, f == NAME_NUL ? "token\0embd.weight" : "token_embd.weight", f == NAME_EMPTY ? 0 : 17);
    u32(b, f == DIMS_0 ? 0 : f == DIMS_5 ? 5 : 2);
    u64(b, f == DIM_ZERO       ? 0
           : f == DIM_NEGATIVE ? UINT64_MAX - 3
           : f == DIM_OVERFLOW ? 1ull << 40
           : f == BLOCK        ? 24
                               : 32);
    u64(b, f == DIM_OVERFLOW ? 1ull << 40 : f == BYTES_OVERFLOW ? 1ull << 58 : 3);
    u32(b, f == TENSOR_TYPE_4 ? 4 : f == TENSOR_TYPE_HUGE ? 1 << 30 : f == BYTES_OVERFLOW ? 0 : 8);
    u64(b, 0);
    text(b, f == NAME_TWICE ? "token_embd.weight" : "blk.0.attn_q.weight", f == NAME_TWICE ? 17 : 19);
    u32(b, 1);
    u64(b, 5);
    u32(b, 0);
    if (f == INFO_CUT) {
        buf_addz(b, "abc");
        return;
    }
    u64(b, f == OFFSET_UNALIGNED ? 102
           : f == OFFSET_BACK    ? 64
           : f == OFFSET_HOLE    ? 192
           : f == OFFSET_HUGE    ? UINT64_MAX - 63
                                 : 128);
}

static void build(struct buf *b, enum fault f)
{
    b->n = 0;
    if (f == EMPTY) return;
    buf_addz(b, f == MAGIC ? "GGML" : "GGUF");
    u32(b, f == VERSION_1 ? 1 : f == VERSION_4 ? 4 : f == OTHER_ENDIAN ? 0x03000000 : 3);
    if (f == TOO_SHORT) return;
    u64(b, f == TENSORS_LIE ? 40 : f == TENSORS_HUGE ? UINT64_MAX : 2);
    u64(b, f == PAIRS_LIE ? 400 : f == PAIRS_HUGE ? UINT64_MAX : f == VALUE_CUT ? 7 : 6);
    pairs(b, f);
    if (f == VALUE_CUT) return;
    tensors(b, f);
    if (f == INFO_CUT || f == DATA_MISSING) return;
    while (b->n % 64) buf_addc(b, 0);
    size_t data = b->n;
    while (b->n < data + 102) buf_addc(b, 'q'); /* 3 rows of a Q8_0 block */
    while (b->n < data + 128) buf_addc(b, 0);
    float v[5] = {1, 2, 3, 4, 5};
    buf_add(b, v, f == DATA_CUT ? 16 : 20);
    if (f == DATA_TAIL) buf_add(b, (char[64]){0}, 64);
}

static struct gguf *parse(const struct buf *b, struct err *e)
{
    return gguf_parse(b->p ? b->p : "", b->n, "test.gguf", e);
}

static void test_valid(void)
{
    struct buf b = {0};
    struct err e = {0};
    build(&b, NONE);
    struct gguf *g = parse(&b, &e);
    CHECK_MSG(g != NULL, "%s", e.msg);
    if (!g) return;
    struct str s;
    bool yes = false;
    int64_t i = 0;
    double d = 0;
    CHECK(gguf_get_str(g, "general.architecture", &s, &e) == 1 && s.n == 5 && !memcmp(s.p, "llama", 5));
    CHECK(gguf_get_bool(g, "a.bool", &yes, &e) == 1 && yes);
    CHECK(gguf_get_i64(g, "general.alignment", &i, &e) == 1 && i == 64);
    CHECK(gguf_get_i64(g, "absent", &i, &e) == 0 && i == 64);
    CHECK(e.id == 0);
    CHECK(gguf_get_f64(g, "general.alignment", &d, &e) == -E_GGUF);
    const struct gguf_kv *list = gguf_find(g, "a.list"), *words = gguf_find(g, "a.words");
    CHECK(list && list->n == 2 && gguf_int_at(list, 0) == 3 && gguf_int_at(list, 1) == -2);
    struct str *w = words ? gguf_strings(words) : NULL;
    CHECK(w && w[1].n == 5 && !memcmp(w[1].p, "three", 5));
    free(w);
    CHECK(gguf_strings(list) == NULL);
    const struct gguf_tensor *q = gguf_tensor_find(g, "blk.0.attn_q.weight"),
                             *t = gguf_tensor_find(g, "token_embd.weight");
    float v = 0;
    if (q) memcpy(&v, q->data + 16, 4);
    CHECK(q && q->n_dims == 1 && q->ne[0] == 5 && q->bytes == 20 && v == 5);
    CHECK(t && t->bytes == 102 && t->type == 8 && !strcmp(gguf_type_name(t->type), "Q8_0"));
    gguf_close(g);
    buf_fini(&b);
}

static void test_faults(void)
{
    struct buf b = {0};
    for (int f = NONE + 1; f < FAULTS; f++) {
        struct err e = {0};
        build(&b, (enum fault)f);
        struct gguf *g = parse(&b, &e);
        int want = f == VERSION_1 || f == VERSION_4 || f == OTHER_ENDIAN ? E_VERSION : E_GGUF;
        CHECK_MSG(!g && e.id == want, "%s: %s %s", fault_name[f], g ? "accepted" : err_name(e.id), e.msg);
        CHECK_MSG(!strncmp(e.msg, "test.gguf: ", 11), "%s: message '%s' does not begin with the file", fault_name[f],
                  e.msg);
        gguf_close(g);
    }
    buf_fini(&b);
}

/* No prefix is a file, and no prefix is read beyond its end (the copy is exact, for the address sanitizer). */
static void test_truncations(void)
{
    struct buf b = {0};
    build(&b, NONE);
    for (size_t n = 0; n < b.n; n++) {
        struct err e = {0};
        void *copy = malloc(n ? n : 1);
        memcpy(copy, b.p, n);
        struct gguf *g = gguf_parse(copy, n, "cut", &e);
        CHECK_MSG(!g && e.id == E_GGUF, "%zu of %zu bytes: accepted", n, b.n);
        gguf_close(g);
        free(copy);
    }
    buf_fini(&b);
}

/* Any byte may be any value: accepted or refused with one of two errors, never out of bounds. */
static void test_flips(void)
{
    struct buf b = {0};
    build(&b, NONE);
    int refused = 0;
    for (size_t i = 0; i < b.n; i++)
        for (int bit = 0; bit < 8; bit++) {
            struct err e = {0};
            b.p[i] = (char)(b.p[i] ^ (1 << bit));
            struct gguf *g = parse(&b, &e);
            CHECK(g ? e.id == 0 : e.id == E_GGUF || e.id == E_VERSION);
            refused += !g;
            gguf_close(g);
            b.p[i] = (char)(b.p[i] ^ (1 << bit));
        }
    CHECK(refused > 1000);
    buf_fini(&b);
}

static void test_round_trip(void)
{
    struct err e = {0};
    char path[] = "/tmp/peft-test-gguf-XXXXXX";
    int fd = mkstemp(path);
    close(fd);
    struct gguf_writer *w = gguf_create(path, true, &e);
    CHECK(w != NULL);
    if (!w) return;
    struct str words[2] = {{"x", 1}, {"", 0}};
    gguf_put_str(w, "general.architecture", STRZ("llama"));
    gguf_put_u32(w, "n", 7);
    gguf_put_f32(w, "f", 0.5f);
    gguf_put_bool(w, "b", true);
    gguf_put_strs(w, "words", words, 2);
    gguf_put_i32s(w, "ints", (int32_t[]){-1, 2, 3}, 3);
    gguf_put_f32s(w, "floats", (float[]){0.25f}, 1);
    CHECK(gguf_put_tensor(w, "m", 2, (int64_t[]){2, 3}, 0, &e) == 0);
    CHECK(gguf_put_tensor(w, "v", 1, (int64_t[]){1}, 0, &e) == 0);
    CHECK(gguf_begin(w, &e) == 0);
    float m[6] = {1, 2, 3, 4, 5, 6};
    CHECK(gguf_data(w, m, 8, &e) == 0 && gguf_data(w, m + 2, 16, &e) == 0);
    struct err early = {0};
    CHECK(gguf_complete(w, &early) == NULL && early.id == E_BUG);
    CHECK(gguf_data(w, m, 4, &e) == 0);
    CHECK(gguf_finish(w, &e) == 0);
    struct gguf *g = gguf_open(path, &e);
    CHECK_MSG(g != NULL, "%s", e.msg);
    if (g) {
        int64_t n = 0;
        double f = 0;
        const struct gguf_tensor *t = gguf_tensor_find(g, "m");
        CHECK(gguf_get_i64(g, "n", &n, &e) == 1 && n == 7 && gguf_get_f64(g, "f", &f, &e) == 1 && f == 0.5);
        CHECK(gguf_find(g, "words")->n == 2 && gguf_int_at(gguf_find(g, "ints"), 0) == -1);
        CHECK(gguf_float_at(gguf_find(g, "floats"), 0) == 0.25);
        CHECK(t && t->ne[0] == 3 && t->ne[1] == 2 && !memcmp(t->data, m, sizeof m) && g->n_kv == 7 && g->n_t == 2);
        gguf_close(g);
    }
    unlink(path);
    struct err bad = {0};
    CHECK((w = gguf_create(path, true, &bad)) != NULL);
    CHECK(gguf_put_tensor(w, "q", 1, (int64_t[]){33}, 8, &bad) == -E_GGUF);
    gguf_discard(w);
    CHECK(!file_exists(path));
}

static void test_rows(void)
{
    /* One head of 4 rows: halves (0 1 | 2 3) become neighbours 0 2 1 3. */
    const char hf[] = "abcdABCD";
    char gg[8], back[8];
    gguf_permute_rows(gg, hf, 1, 2, 4);
    CHECK(!memcmp(gg, "acbdACBD", 8));
    gguf_unpermute_rows(back, gg, 1, 2, 4);
    CHECK(!memcmp(back, hf, 8));
    for (long r = 0; r < 8; r++) CHECK(gg[gguf_row_of_hf(r, 4)] == hf[r]);
}

static void test_names(void)
{
    static const char *const pair[][2] = {{"token_embd.weight", "model.embed_tokens.weight"},
                                          {"output_norm.weight", "model.norm.weight"},
                                          {"output.weight", "lm_head.weight"},
                                          {"blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight"},
                                          {"blk.31.attn_k.bias", "model.layers.31.self_attn.k_proj.bias"},
                                          {"blk.7.attn_output.weight", "model.layers.7.self_attn.o_proj.weight"},
                                          {"blk.10.ffn_down.weight", "model.layers.10.mlp.down_proj.weight"},
                                          {"blk.3.ffn_norm.weight", "model.layers.3.post_attention_layernorm.weight"}};
    static const char *const strange[] = {"blk.-1.attn_q.weight",
                                          "blk.01.attn_q.weight",
                                          "blk.1attn_q.weight",
                                          "blk.1.weight",
                                          "blk.1.attn_q.scale",
                                          "rope_freqs.weight",
                                          "blk.99999999999999999999.attn_q.weight",
                                          "attn_q.weight",
                                          ".weight",
                                          "",
                                          "blk.1.output.weight"};
    char buf[GGUF_NAME_MAX];
    for (size_t i = 0; i < sizeof pair / sizeof *pair; i++) {
        CHECK(gguf_name_to_hf(&llama_names, pair[i][0], buf));
        CHECK_STR(buf, pair[i][1]);
        CHECK(gguf_name_from_hf(&llama_names, pair[i][1], buf));
        CHECK_STR(buf, pair[i][0]);
    }
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++)
        CHECK_MSG(!gguf_name_to_hf(&llama_names, strange[i], buf), "%s", strange[i]);
}

int main(void)
{
    RUN(test_valid, "gguf: a valid file");
    RUN(test_faults, "gguf: 54 kinds of malformed files");
    RUN(test_truncations, "gguf: every truncation");
    RUN(test_flips, "gguf: every bit flipped");
    RUN(test_round_trip, "gguf: written and read back");
    RUN(test_rows, "gguf: order of q and k rows");
    RUN(test_names, "gguf: tensor names");
    return test_failed;
}
