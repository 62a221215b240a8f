/* pt_zip: see pt_zip.h. Source: PKWARE's APPNOTE 6.3 (4.3: records, 4.5.3: ZIP64 fields); files of torch 2.15. */
#include "libcommon/format/pt_zip.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/format/gzip.h"

enum { LOCAL_SIZE = 30, CENTRAL_SIZE = 46, END_SIZE = 22, LOCATOR_SIZE = 20, END64_SIZE = 56 };
enum { FLAG_SIZES_BEHIND = 1 << 3, FLAG_UTF8 = 1 << 11 };
#define FULL16 0xffffu
#define FULL32 0xffffffffu

struct reader {
    const unsigned char *data;
    size_t size;
    const char *path;
    struct err *e;
    uint64_t dir, dir_end, n; /* the central directory: where, members it claims */
};

/* A central header with its ZIP64 field applied. */
struct central {
    uint64_t local, packed, size;
    uint32_t crc;
    unsigned flags, method;
    struct str name;
};

static uint64_t le(const unsigned char *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes; i-- > 0;) v = v << 8 | p[i];
    return v;
}

static int bad(const struct reader *r, const char *what) { return err_set(r->e, E_PT, "%s: %s", r->path, what); }

static int bad_member(const struct reader *r, struct str name, const char *what)
{
    return err_set(r->e, E_PT, "%s: member %s: %s", r->path, err_quote(name.p, name.n), what);
}

/* ---- the end of the archive ---------------------------------------------------------------- */

/* v is a 32-bit (or 16-bit) field of the old end record: the same as the ZIP64 one, or "see there" */
static bool agrees(uint64_t v, uint64_t full, uint64_t v64) { return v == v64 || v == full; }

/* The ZIP64 end record, which torch always writes, directly before its locator. */
static int read_end64(struct reader *r, const unsigned char *end)
{
    const unsigned char *locator = end - LOCATOR_SIZE, *e64 = locator - END64_SIZE;
    if (le(locator + 4, 4) != 0 || le(locator + 8, 8) != (uint64_t)(e64 - r->data) || le(locator + 16, 4) != 1)
        return bad(r, "its ZIP64 locator points elsewhere than to the record before it");
    if (le(e64, 4) != 0x06064b50 || le(e64 + 4, 8) != END64_SIZE - 12 || le(e64 + 16, 8) != 0)
        return bad(r, "its ZIP64 end record is damaged");
    r->n = le(e64 + 32, 8);
    r->dir = le(e64 + 48, 8);
    r->dir_end = (uint64_t)(e64 - r->data);
    uint64_t size = le(e64 + 40, 8);
    if (le(e64 + 24, 8) != r->n || !agrees(le(end + 10, 2), FULL16, r->n) || !agrees(le(end + 12, 4), FULL32, size) ||
        !agrees(le(end + 16, 4), FULL32, r->dir))
        return bad(r, "its two end records contradict each other");
    if (r->dir > r->dir_end || size != r->dir_end - r->dir) return bad(r, "its central directory is not where it says");
    return 0;
}

static int read_end(struct reader *r)
{
    if (r->size < END_SIZE) return bad(r, "too short for an archive");
    const unsigned char *end = r->data + r->size - END_SIZE;
    if (le(end, 4) != 0x06054b50) return bad(r, "the archive's end record is missing; truncated?");
    if (le(end + 4, 4) != 0 || le(end + 8, 2) != le(end + 10, 2) || le(end + 20, 2) != 0)
        return bad(r, "the archive has several parts or a comment, which torch.save does not write");
    if (r->size >= END_SIZE + LOCATOR_SIZE + END64_SIZE && le(end - LOCATOR_SIZE, 4) == 0x07064b50)
        return read_end64(r, end);
    r->n = le(end + 10, 2);
    r->dir = le(end + 16, 4);
    r->dir_end = r->size - END_SIZE;
    if (r->dir > r->dir_end || le(end + 12, 4) != r->dir_end - r->dir)
        return bad(r, "its central directory is not where it says");
    return 0;
}

/* ---- members ------------------------------------------------------------------------------- */

/* The ZIP64 field among the extra fields x[0..n): 64-bit values for those of the 32-bit ones that are all ones. */
static bool apply_zip64(struct central *c, const unsigned char *x, size_t n)
{
    uint64_t *full[3] = {&c->size, &c->packed, &c->local};
    for (size_t at = 0; at + 4 <= n;) {
        size_t len = (size_t)le(x + at + 2, 2), field = at + 4, end = field + len;
        if (end > n) return false;
        for (int i = 0; le(x + at, 2) == 1 && i < 3; i++) {
            if (*full[i] != FULL32) continue;
            if (end - field < 8) return false;
            *full[i] = le(x + field, 8);
            field += 8;
        }
        at = end;
    }
    return true;
}

/* One header of the central directory, at *at, which moves behind it. */
static int read_central(const struct reader *r, uint64_t *at, struct central *c)
{
    const unsigned char *h = r->data + *at;
    uint64_t room = r->dir_end - *at;
    if (room < CENTRAL_SIZE || le(h, 4) != 0x02014b50) return bad(r, "its central directory is damaged");
    size_t name = (size_t)le(h + 28, 2), extra = (size_t)le(h + 30, 2), comment = (size_t)le(h + 32, 2);
    if (room - CENTRAL_SIZE < name + extra + comment) return bad(r, "its central directory is damaged");
    *c = (struct central){.flags = (unsigned)le(h + 8, 2),
                          .method = (unsigned)le(h + 10, 2),
                          .crc = (uint32_t)le(h + 16, 4),
                          .packed = le(h + 20, 4),
                          .size = le(h + 24, 4),
                          .local = le(h + 42, 4),
                          .name = {(const char *)h + CENTRAL_SIZE, name}};
    if (le(h + 34, 2) != 0 || !apply_zip64(c, h + CENTRAL_SIZE + name, extra))
        return bad_member(r, c->name, "its header in the central directory is damaged");
    if (c->flags & ~(unsigned)(FLAG_SIZES_BEHIND | FLAG_UTF8)) return bad_member(r, c->name, "encrypted or patched");
    if (c->method != 0)
        return bad_member(r, c->name, "compressed (a TorchScript archive?); torch.save stores its members");
    if (c->packed != c->size) return bad_member(r, c->name, "stored in another size than its own");
    *at += CENTRAL_SIZE + name + extra + comment;
    return 0;
}

/* The local header, which says where the data begin. */
static int read_local(const struct reader *r, const struct central *c, struct pt_member *m)
{
    if (c->local > r->dir || r->dir - c->local < LOCAL_SIZE) return bad_member(r, c->name, "lies outside the file");
    const unsigned char *h = r->data + c->local;
    uint64_t room = r->dir - c->local - LOCAL_SIZE;
    size_t name = (size_t)le(h + 26, 2), extra = (size_t)le(h + 28, 2);
    if (le(h, 4) != 0x04034b50 || room < name + extra) return bad_member(r, c->name, "its local header is damaged");
    if (name != c->name.n || memcmp(h + LOCAL_SIZE, c->name.p, name) || le(h + 6, 2) != c->flags || le(h + 8, 2) != 0)
        return bad_member(r, c->name, "its local header is another member's");
    if (!(c->flags & FLAG_SIZES_BEHIND) &&
        (le(h + 14, 4) != c->crc || !agrees(le(h + 18, 4), FULL32, c->size) || !agrees(le(h + 22, 4), FULL32, c->size)))
        return bad_member(r, c->name, "its local header contradicts the central directory");
    if (c->size > room - name - extra) return bad_member(r, c->name, "is longer than the file");
    *m = (struct pt_member){.name = c->name,
                            .begin = c->local,
                            .data = h + LOCAL_SIZE + name + extra,
                            .size = c->size,
                            .crc = c->crc,
                            .described = c->flags & FLAG_SIZES_BEHIND};
    return 0;
}

static int compare(struct str a, struct str b)
{
    int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int by_name(const void *a, const void *b)
{
    return compare(((const struct pt_member *)a)->name, ((const struct pt_member *)b)->name);
}

static int by_place(const void *a, const void *b)
{
    const struct pt_member *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* Do the gap bytes behind a member hold its data descriptor and no more? Sizes there have 4 or 8 bytes. */
static bool is_described(const struct pt_member *m, uint64_t gap)
{
    const unsigned char *d = m->data + m->size;
    return (gap == 16 || gap == 24) && le(d, 4) == 0x08074b50 && le(d + 4, 4) == m->crc &&
           le(d + 8, 4) == (m->size & FULL32);
}

/* Members follow each other without overlap or gap (else the length of an extra field is wrong, by which alone data are
 * found), and no name is there twice. Leaves them sorted by name. */
static int check_members(const struct reader *r, struct pt_zip *z)
{
    if (!z->n) return bad(r, "an archive without members");
    qsort(z->m, z->n, sizeof *z->m, by_place);
    if (z->m[0].begin != 0) return bad_member(r, z->m[0].name, "something stands before the first member");
    for (size_t i = 0; i < z->n; i++) {
        const struct pt_member *m = &z->m[i];
        uint64_t end = (uint64_t)(m->data - r->data) + m->size, next = i + 1 < z->n ? m[1].begin : r->dir;
        if (next < end) return bad_member(r, m->name, "overlaps what follows");
        if (m->described ? !is_described(m, next - end) : next != end)
            return bad_member(r, m->name, "other bytes follow it than its header says");
    }
    qsort(z->m, z->n, sizeof *z->m, by_name);
    for (size_t i = 1; i < z->n; i++)
        if (by_name(&z->m[i - 1], &z->m[i]) == 0) return bad_member(r, z->m[i].name, "is there twice");
    return 0;
}

/* Names lose the directory that torch puts all members into; it is named after the file or "archive". */
static int strip_top(const struct reader *r, struct pt_zip *z)
{
    struct str first = z->m[0].name;
    const char *slash = memchr(first.p, '/', first.n);
    size_t top = slash ? (size_t)(slash - first.p) + 1 : 0;
    for (size_t i = 0; i < z->n; i++) {
        struct str *s = &z->m[i].name;
        if (top < 2 || s->n < top || memcmp(s->p, first.p, top))
            return bad_member(r, *s, "not in one directory with the others: no archive of torch.save");
        s->p += top;
        s->n -= top;
    }
    return 0;
}

int pt_zip_read(struct pt_zip *z, const unsigned char *data, size_t size, const char *path, struct err *e)
{
    struct reader r = {.data = data, .size = size, .path = path, .e = e};
    size_t cap = 0;
    *z = (struct pt_zip){0};
    int rc = read_end(&r);
    uint64_t at = r.dir;
    while (!rc && z->n < r.n) {
        struct central c = {0};
        struct pt_member m = {0};
        rc = read_central(&r, &at, &c);
        if (!rc) rc = read_local(&r, &c, &m);
        if (rc) break;
        z->m = mem_grow(z->m, &cap, z->n + 1, sizeof *z->m); /* by what is there, not by r.n */
        z->m[z->n++] = m;
    }
    if (!rc && at != r.dir_end) rc = bad(&r, "its central directory has more members than it says");
    if (!rc) rc = check_members(&r, z);
    return rc ? rc : strip_top(&r, z);
}

void pt_zip_fini(struct pt_zip *z)
{
    free(z->m);
    *z = (struct pt_zip){0};
}

struct pt_member *pt_zip_find(const struct pt_zip *z, const char *dir, struct str name)
{
    char full[64];
    size_t n = strlen(dir);
    if (name.n > sizeof full - n) return NULL;
    memcpy(full, dir, n);
    memcpy(full + n, name.p, name.n);
    struct pt_member key = {.name = {full, n + name.n}};
    return z->n ? bsearch(&key, z->m, z->n, sizeof *z->m, by_name) : NULL;
}

int pt_zip_crc(const struct pt_member *m, const char *path, struct err *e)
{
    uint32_t crc = gzip_crc32(0, m->data, m->size);
    if (crc == m->crc) return 0;
    err_set(e, E_PT, "%s: member %s: its CRC is %08x, the archive says %08x", path, err_quote(m->name.p, m->name.n),
            crc, m->crc);
    return m->crc ? -E_PT : err_hint(e, "a file saved under set_crc32_options(False) has none: save it again");
}
