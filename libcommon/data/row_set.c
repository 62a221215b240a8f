/* row_set.c: see row_set.h. */
#include "libcommon/data/row_set.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/out.h"
#include "libcommon/data/dataset.h"

static const char magic[8] = {'P', 'E', 'F', 'T', 'R', 'O', 'W', 'S'};
enum { VERSION = 1, HEAD_BYTES = 24 };
#define FILE_MAX ((size_t)1 << 31)

static void add_text(struct sha256 *h, struct str s)
{
    while (s.n && strchr(" \t\r\n", s.p[0]) && s.p[0]) s.p++, s.n--;
    while (s.n && strchr(" \t\r\n", s.p[s.n - 1]) && s.p[s.n - 1]) s.n--;
    uint64_t n = htole64(s.n); /* tells where one text ends and the other begins */
    sha256_add(h, &n, sizeof n);
    sha256_add(h, s.p, s.n);
}

static uint64_t digest(const struct dataset *d, size_t i)
{
    const struct dataset_row *r = &d->row[i];
    struct sha256 *h = sha256_new();
    unsigned char full[32];
    uint64_t x;
    if (r->prompt.n || r->target.n) {
        add_text(h, r->prompt);
        add_text(h, r->target);
    } else {
        for (uint32_t k = 0; k < r->n; k++) {
            uint32_t id = htole32((uint32_t)d->ids[r->first + k]);
            sha256_add(h, &id, sizeof id);
        }
    }
    sha256_done(h, full);
    memcpy(&x, full, sizeof x);
    return le64toh(x);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void settle(struct row_set *s)
{
    size_t n = 0;
    if (s->n) qsort(s->v, s->n, sizeof *s->v, compare);
    for (size_t i = 0; i < s->n; i++)
        if (!n || s->v[n - 1] != s->v[i]) s->v[n++] = s->v[i];
    s->n = n;
}

void row_set_add(struct row_set *s, const struct dataset *d)
{
    s->v = mem_grow(s->v, &s->cap, s->n + d->n, sizeof *s->v);
    for (size_t i = 0; i < d->n; i++) s->v[s->n++] = digest(d, i);
    settle(s);
}

bool row_set_has(const struct row_set *s, const struct dataset *d, size_t i)
{
    const uint64_t x = s->n ? digest(d, i) : 0;
    return s->n && bsearch(&x, s->v, s->n, sizeof x, compare);
}

void row_set_join(struct row_set *s, const struct row_set *t)
{
    s->v = mem_grow(s->v, &s->cap, s->n + t->n, sizeof *s->v);
    for (size_t i = 0; i < t->n; i++) s->v[s->n++] = t->v[i];
    settle(s);
}

size_t row_set_count(const struct row_set *s, const struct dataset *d)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n; i++) n += row_set_has(s, d, i);
    return n;
}

void row_set_put(const struct row_set *s, struct buf *b)
{
    const uint32_t version[2] = {htole32(VERSION), 0};
    const uint64_t count = htole64(s->n);
    buf_add(b, magic, sizeof magic);
    buf_add(b, version, sizeof version);
    buf_add(b, &count, sizeof count);
    for (size_t i = 0; i < s->n; i++) buf_add(b, &(uint64_t){htole64(s->v[i])}, sizeof *s->v);
}

static int take(struct row_set *s, const char *p, size_t n, const char *path, struct err *e)
{
    uint32_t version = 0;
    uint64_t count = 0, x;
    bool known = n >= HEAD_BYTES && !memcmp(p, magic, sizeof magic);
    if (known) memcpy(&version, p + 8, sizeof version);
    if (known) memcpy(&count, p + 16, sizeof count);
    if (known && le32toh(version) != VERSION)
        return err_set(e, E_VERSION, "%s: version %u, this program reads %d", path, le32toh(version), VERSION);
    if (!known || le64toh(count) != (n - HEAD_BYTES) / sizeof x || (n - HEAD_BYTES) % sizeof x)
        return err_set(e, E_ADAPTER, "%s: damaged: expected PEFTROWS, a count and as many digests", path);
    s->v = mem_grow(s->v, &s->cap, s->n + (size_t)le64toh(count), sizeof *s->v);
    for (const char *end = p + n, *at = p + HEAD_BYTES; at < end; at += sizeof x) {
        memcpy(&x, at, sizeof x);
        s->v[s->n++] = le64toh(x);
    }
    settle(s);
    return 0;
}

int row_set_read(struct row_set *s, const char *dir, struct err *e)
{
    char *path = path_join(dir, ROW_SET_FILE), *p = NULL;
    size_t n = 0;
    int rc = 0;
    if (file_exists(path)) {
        p = file_read(path, FILE_MAX, &n, e);
        rc = p ? take(s, p, n, path, e) : -e->id;
    }
    free(p);
    free(path);
    return rc;
}

void row_set_fini(struct row_set *s)
{
    free(s->v);
    *s = (struct row_set){0};
}
