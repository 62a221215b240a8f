/* safetensors: one file per rule of the format is refused; the limits that are legal are accepted; what the writer
 * writes reads back aligned and in the documented order; index files with hostile names. */
#include <unistd.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"
#include "libcommon/format/hfdir.h"
#include "libcommon/format/safetensors.h"
#include "libcommon/format/safetensors_write.h"
#include "tests/test.h"

struct file {
    const char *why, *header;
    size_t data; /* bytes behind the header */
};

static void build(struct buf *b, const char *header, size_t data)
{
    uint64_t n = strlen(header);
    b->n = 0;
    buf_add(b, &n, 8);
    buf_addz(b, header);
    for (size_t i = 0; i < data; i++) buf_addc(b, (char)i);
}

#define T(name, dtype, shape, begin, end) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static const struct file bad[] = {
    {"not JSON", "{nonsense}", 0},
    {"no object", "[1]         ", 0},
    {"leading blank", " {}", 0},
    {"text after the object", "{}x", 0},
    {"NUL after the object", "{}\\u0000", 0},
    {"not UTF-8", "{\"\xff\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1},
    {"name twice", "{" T("a", "U8", "[1]", 0, 1) "," T("a", "U8", "[1]", 0, 1) "}", 1},
    {"key twice in an entry", "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1},
    {"empty name", "{" T("", "U8", "[1]", 0, 1) "}", 1},
    {"entry no object", "{\"a\":[0,1]}", 1},
    {"entry null", "{\"a\":null}", 0},
    {"dtype missing", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1},
    {"dtype no string", "{\"a\":{\"dtype\":8,\"shape\":[1],\"data_offsets\":[0,1]}}", 1},
    {"dtype unknown", "{" T("a", "F31", "[1]", 0, 4) "}", 4},
    {"dtype in lower case", "{" T("a", "f32", "[1]", 0, 4) "}", 4},
    {"shape missing", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1},
    {"shape no array", "{" T("a", "U8", "1", 0, 1) "}", 1},
    {"negative dimension", "{" T("a", "U8", "[-1]", 0, 1) "}", 1},
    {"real dimension", "{" T("a", "U8", "[1.0]", 0, 1) "}", 1},
    {"dimension as string", "{" T("a", "U8", "[\"1\"]", 0, 1) "}", 1},
    {"nine dimensions", "{" T("a", "U8", "[1,1,1,1,1,1,1,1,1]", 0, 1) "}", 1},
    {"shape overflows", "{" T("a", "U8", "[4294967296,4294967296]", 0, 0) "}", 0},
    {"shape times size overflows", "{" T("a", "F64", "[4611686018427387904]", 0, 0) "}", 0},
    {"dimension beyond 64 bits", "{" T("a", "U8", "[18446744073709551617]", 0, 1) "}", 1},
    {"offsets missing", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1},
    {"one offset", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1]}}", 1},
    {"three offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1},
    {"negative offset", "{" T("a", "U8", "[1]", -1, 0) "}", 1},
    {"offsets reversed", "{" T("a", "U8", "[1]", 1, 0) "}", 1},
    {"offsets do not fit the shape", "{" T("a", "F32", "[2]", 0, 4) "}", 4},
    {"offsets beyond the shape", "{" T("a", "F32", "[2]", 0, 12) "}", 12},
    {"hole at the start", "{" T("a", "U8", "[1]", 1, 2) "}", 2},
    {"hole between", "{" T("a", "U8", "[1]", 0, 1) "," T("b", "U8", "[1]", 2, 3) "}", 3},
    {"overlap", "{" T("a", "U8", "[2]", 0, 2) "," T("b", "U8", "[2]", 1, 3) "}", 3},
    {"same bytes twice", "{" T("a", "U8", "[2]", 0, 2) "," T("b", "U8", "[2]", 0, 2) "}", 2},
    {"data cut", "{" T("a", "U8", "[4]", 0, 4) "}", 3},
    {"data too long", "{" T("a", "U8", "[4]", 0, 4) "}", 5},
    {"no tensors but data", "{}", 1},
    {"unknown key in an entry", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 1},
    {"metadata no object", "{\"__metadata__\":[]}", 0},
    {"metadata value no string", "{\"__metadata__\":{\"a\":1}}", 0},
    {"metadata key twice", "{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0},
};

static const struct file good[] = {
    {"no tensors", "{}", 0},
    {"padded", "{}      ", 0},
    {"empty dimension", "{" T("a", "F32", "[2,0]", 0, 0) "}", 0},
    {"rank 0", "{" T("a", "F32", "[]", 0, 4) "}", 4},
    {"out of order", "{" T("b", "U8", "[1]", 1, 2) "," T("a", "U8", "[1]", 0, 1) "}", 2},
    {"empty between", "{" T("c", "U8", "[1]", 1, 2) "," T("b", "U8", "[0]", 1, 1) "," T("a", "U8", "[1]", 0, 1) "}", 2},
    {"metadata", "{\"__metadata__\":{\"format\":\"pt\"}}", 0},
    {"all sizes",
     "{" T("a", "F64", "[1]", 0, 8) "," T("b", "F8_E4M3", "[3]", 8, 11) "," T("c", "BOOL", "[1]", 11, 12) "}", 12},
};

static void test_refused(void)
{
    struct buf b = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        build(&b, bad[i].header, bad[i].data);
        struct safetensors *s = safetensors_parse(b.p, b.n, "test", &e);
        CHECK_MSG(!s && e.id == E_SAFETENSORS, "%s: %s %s", bad[i].why, s ? "accepted" : err_name(e.id), e.msg);
        CHECK_MSG(!strncmp(e.msg, "test", 4), "%s: message '%s'", bad[i].why, e.msg);
        safetensors_close(s);
    }
    buf_fini(&b);
}

static void test_accepted(void)
{
    struct buf b = {0};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct err e = {0};
        build(&b, good[i].header, good[i].data);
        struct safetensors *s = safetensors_parse(b.p, b.n, "test", &e);
        CHECK_MSG(s != NULL, "%s: %s", good[i].why, e.msg);
        safetensors_close(s);
    }
    buf_fini(&b);
}

static void test_header_length(void)
{
    static const uint64_t lie[] = {0, 1, 3, 100, 100000001, UINT64_MAX};
    for (size_t i = 0; i < sizeof lie / sizeof *lie; i++) {
        unsigned char f[10] = {0, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
        struct err e = {0};
        memcpy(f, &lie[i], 8);
        struct safetensors *s = safetensors_parse(f, sizeof f, "test", &e);
        CHECK_MSG(!s && e.id == E_SAFETENSORS, "%llu accepted", (unsigned long long)lie[i]);
        safetensors_close(s);
    }
    for (size_t n = 0; n < 8; n++) {
        struct err e = {0};
        CHECK(safetensors_parse("\2\0\0\0\0\0\0\0{}", n, "test", &e) == NULL && e.id == E_SAFETENSORS);
    }
    struct buf b = {0};
    for (int i = 0; i < 100; i++) buf_addz(&b, "{\"a\":");
    struct err e = {0};
    struct buf f = {0};
    build(&f, buf_str(&b), 0);
    CHECK(safetensors_parse(f.p, f.n, "deep", &e) == NULL && strstr(e.msg, "64 levels"));
    b.n = 0;
    buf_addz(&b, "{\"");
    for (int i = 0; i < 1025; i++) buf_addc(&b, 'n');
    buf_addz(&b, "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}");
    memset(&e, 0, sizeof e);
    build(&f, buf_str(&b), 1);
    CHECK(safetensors_parse(f.p, f.n, "name", &e) == NULL && e.id == E_SAFETENSORS);
    buf_fini(&b);
    buf_fini(&f);
}

static void test_round_trip(void)
{
    struct err e = {0};
    char path[] = "/tmp/peft-test-st-XXXXXX";
    close(mkstemp(path));
    struct st_writer *w = st_create(path, true, &e);
    CHECK(w != NULL);
    if (!w) return;
    CHECK(st_declare(w, "half", "BF16", 1, (int64_t[]){3}, &e) == 0);
    CHECK(st_declare(w, "z", "F32", 2, (int64_t[]){1, 2}, &e) == 0);
    CHECK(st_declare(w, "a", "F32", 1, (int64_t[]){1}, &e) == 0);
    st_meta(w, "note", "line\n\"quoted\"");
    CHECK(st_begin(w, &e) == 0);
    CHECK(st_order(w, 0) == 2 && st_order(w, 1) == 1 && st_order(w, 2) == 0); /* widest first, then the name */
    float f[3] = {1, 2, 3};
    CHECK(st_data(w, f, 4, &e) == 0 && st_data(w, f + 1, 8, &e) == 0 && st_data(w, "123456", 6, &e) == 0);
    CHECK(st_finish(w, &e) == 0);
    struct safetensors *s = safetensors_open(path, &e);
    CHECK_MSG(s != NULL, "%s", e.msg);
    if (s) {
        const struct st_tensor *z = safetensors_find(s, "z");
        CHECK(z && z->ndim == 2 && z->shape[1] == 2 && !memcmp(z->data, f + 1, 8));
        CHECK_STR(safetensors_meta(s, "note"), "line\n\"quoted\"");
        CHECK_STR(safetensors_meta(s, "format"), "pt");
        CHECK((size_t)(s->t[0].data - s->map.data) % 8 == 0);
        safetensors_close(s);
    }
    unlink(path);
}

static void test_writer_refuses(void)
{
    struct err e = {0}, f = {0}, g = {0};
    const char *path = "/tmp/peft-test-st-refused";
    struct st_writer *w = st_create(path, true, &e);
    CHECK(st_declare(w, "empty", "F32", 2, (int64_t[]){2, 0}, &e) == -E_SAFETENSORS);
    CHECK(st_declare(w, "a", "F32", 1, (int64_t[]){1}, &f) == 0 &&
          st_declare(w, "a", "F32", 1, (int64_t[]){1}, &f) == 0);
    CHECK(st_begin(w, &f) == -E_SAFETENSORS);
    st_discard(w);
    w = st_create(path, true, &g);
    CHECK(st_declare(w, "a", "F32", 1, (int64_t[]){2}, &g) == 0 && st_begin(w, &g) == 0);
    struct err over = {0};
    CHECK(st_data(w, "123456789", 9, &over) == -E_BUG);
    CHECK(st_data(w, "1234", 4, &g) == 0);
    CHECK(st_finish(w, &g) == -E_BUG);
    CHECK(!file_exists(path));
}

static void test_index(void)
{
    static const char *const evil[] = {"../model.safetensors",
                                       "/etc/x.safetensors",
                                       "a/b.safetensors",
                                       ".safetensors",
                                       ".x.safetensors",
                                       "-x.safetensors",
                                       "model.bin",
                                       "",
                                       "..",
                                       "model.safetensors/.",
                                       "\\u0000.safetensors"};
    for (size_t i = 0; i < sizeof evil / sizeof *evil; i++) {
        struct err e = {0};
        json_t *map = NULL;
        char *text = mem_printf("{\"weight_map\":{\"t\":\"%s\"}}", evil[i]);
        int rc = hfdir_index(text, strlen(text), "index", &map, &e);
        CHECK_MSG(rc == -E_POLICY || rc == -E_MODEL, "%s accepted", evil[i]);
        if (i < 3) CHECK_MSG(rc == -E_POLICY, "%s: %s", evil[i], err_name(e.id));
        free(text);
    }
    static const char *const wrong[] = {"{}",
                                        "[]",
                                        "{\"weight_map\":{}}",
                                        "{\"weight_map\":[]}",
                                        "{\"weight_map\":{\"t\":1}}",
                                        "{\"weight_map\":{\"t\":\"a.safetensors\",\"t\":\"a.safetensors\"}}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct err e = {0};
        json_t *map = NULL;
        CHECK_MSG(hfdir_index(wrong[i], strlen(wrong[i]), "index", &map, &e) == -E_MODEL, "%s", wrong[i]);
    }
    struct err e = {0};
    json_t *map = NULL;
    const char *fine = "{\"metadata\":{\"total_size\":4},\"weight_map\":{\"t\":\"model-00001-of-"
                       "00002.safetensors\"}}";
    CHECK(hfdir_index(fine, strlen(fine), "index", &map, &e) == 0 && json_object_size(map) == 1);
    json_decref(map);
}

int main(void)
{
    RUN(test_accepted, "safetensors: legal limits");
    RUN(test_refused, "safetensors: one file per rule");
    RUN(test_header_length, "safetensors: header length and depth");
    RUN(test_round_trip, "safetensors: written and read back");
    RUN(test_writer_refuses, "safetensors: what the writer refuses");
    RUN(test_index, "safetensors: names in an index");
    return test_failed;
}
