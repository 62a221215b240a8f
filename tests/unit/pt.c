/* pt: structure of a written .pt file: entries stored, CRCs right, data aligned to 64 bytes, tied tensors share
 * storage, the same bytes each time. That torch loads it is checked in tests/parity/formats.sh, where torch is. */
#include <unistd.h>
#include <zlib.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"
#include "libcommon/format/pt_write.h"
#include "tests/test.h"

static uint32_t le32(const unsigned char *p) { return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24; }
static uint32_t le16(const unsigned char *p) { return p[0] | (uint32_t)p[1] << 8; }

static struct pt_writer *write_file(const char *path, struct err *e)
{
    struct pt_writer *w = pt_create(path, true, e);
    float a[6] = {1, 2, 3, 4, 5, 6};
    int first = pt_declare(w, "model.embed_tokens.weight", DT_F32, 2, (int64_t[]){2, 3}, -1);
    pt_declare(w, "norm", DT_BF16, 1, (int64_t[]){5}, -1);
    pt_declare(w, "lm_head.weight", DT_F32, 2, (int64_t[]){2, 3}, first);
    pt_declare(w, "half", DT_F16, 1, (int64_t[]){1}, -1);
    CHECK(pt_begin(w, e) == 0);
    CHECK(pt_data(w, a, 10, e) == 0 && pt_data(w, (char *)a + 10, 14, e) == 0);
    CHECK(pt_data(w, "abcdefghij", 10, e) == 0);
    CHECK(pt_data(w, "kl", 2, e) == 0);
    CHECK_MSG(pt_complete(w, e) == 0, "%s", e->msg);
    return w;
}

/* Walk the central directory of a small archive; returns the number of entries. */
static int walk(const unsigned char *z, size_t n)
{
    if (n < 22 || le32(z + n - 22) != 0x06054b50) return -1;
    const unsigned char *end = z + n - 22, *c = z + le32(end + 16);
    int entries = (int)le16(end + 10);
    for (int i = 0; i < entries; i++) {
        CHECK(le32(c) == 0x02014b50);
        uint32_t size = le32(c + 24), name = le16(c + 28), local = le32(c + 42);
        const unsigned char *l = z + local;
        CHECK(le32(l) == 0x04034b50 && le16(l + 8) == 0 && le32(l + 18) == size && le32(l + 22) == size);
        const unsigned char *data = l + 30 + le16(l + 26) + le16(l + 28);
        CHECK_MSG((data - z) % 64 == 0, "%.*s at %ld", (int)name, c + 46, (long)(data - z));
        CHECK(crc32(0, data, size) == le32(l + 14) && le32(l + 14) == le32(c + 16));
        CHECK(!memcmp(c + 46, "archive/", 8));
        c += 46 + name + le16(c + 30);
    }
    CHECK(c == end);
    return entries;
}

static void test_structure(void)
{
    struct err e = {0};
    char path[] = "/tmp/peft-test-pt-XXXXXX";
    close(mkstemp(path));
    struct pt_writer *w = write_file(path, &e);
    struct weights *v = pt_view(w, "{\"model_type\": \"llama\"}", &e);
    CHECK_MSG(v != NULL, "%s", e.msg);
    if (v) {
        const struct tensor *embed = weights_find(v, "model.embed_tokens.weight"),
                            *head = weights_find(v, "lm_head.weight");
        const struct tensor *norm = weights_find(v, "norm");
        CHECK(embed && head && embed->data == head->data && embed->bytes == 24 && embed->shape[1] == 3);
        CHECK(norm && norm->dtype == DT_BF16 && !memcmp(norm->data, "abcdefghij", 10));
        weights_close(v);
    }
    CHECK(pt_finish(w, &e) == 0);
    size_t n, m;
    char *first = file_read(path, 1 << 20, &n, &e);
    CHECK(first && walk((unsigned char *)first, n) == 6); /* data.pkl, byteorder, three storages, version */
    CHECK(pt_finish(write_file(path, &e), &e) == 0);
    char *second = file_read(path, 1 << 20, &m, &e);
    CHECK(second && n == m && !memcmp(first, second, n));
    free(first);
    free(second);
    unlink(path);
}

static void test_misuse(void)
{
    struct err e = {0}, f = {0};
    const char *path = "/tmp/peft-test-pt-misuse";
    struct pt_writer *w = pt_create(path, true, &e);
    pt_declare(w, "a", DT_F32, 1, (int64_t[]){2}, -1);
    CHECK(pt_begin(w, &e) == 0);
    CHECK(pt_data(w, "123456789", 9, &f) == -E_BUG);
    CHECK(pt_complete(w, &e) == -E_BUG);
    pt_discard(w);
    CHECK(!file_exists(path));
}

int main(void)
{
    RUN(test_structure, "pt: structure of the archive");
    RUN(test_misuse, "pt: too much and too little data");
    return test_failed;
}
