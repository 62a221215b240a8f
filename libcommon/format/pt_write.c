/* pt_write: see pt_write.h. Source: PKWARE's APPNOTE for ZIP, torch/serialization.py for the archive's layout.
 *
 * Each entry's data begin at a multiple of 64 bytes (torch's mmap needs it), by an extra field "FB" in the local
 * header. Sizes are known beforehand; the CRC is not, so it is patched into the local header once an entry is complete.
 */
#include "libcommon/format/pt_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"
#include "libcommon/format/gzip.h"

enum { ALIGN = 64, LOCAL_SIZE = 30 };
#define U32_FULL 0xfffffffeu /* above it a 32-bit field means "see the ZIP64 extra field" */
#define TOP      "archive/"

struct pt_decl {
    char *name;
    enum dtype dtype;
    int ndim, storage; /* storage: key */
    int64_t shape[4];
    uint64_t count;
    bool alias;
};

struct zip_entry {
    char *name;
    uint64_t offset, data, size; /* offset of the local header, of the data */
    uint32_t crc;
};

struct pt_writer {
    struct out out;
    struct pt_decl *t;
    size_t n, cap;
    struct zip_entry *entry;
    size_t n_entry, cap_entry;
    int n_storage;
    size_t at;     /* tensor being written */
    uint64_t done; /* its bytes so far */
};

/* ---- little-endian pieces ------------------------------------------------------------------ */

/* bytes may be more than 8: runs of fields that are zero */
static void le(struct buf *b, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) buf_addc(b, i < 8 ? (char)(v >> (8 * i)) : 0);
}

/* ---- ZIP ----------------------------------------------------------------------------------- */

static int entry_open(struct pt_writer *w, const char *name, uint64_t size, struct err *e)
{
    w->entry = mem_grow(w->entry, &w->cap_entry, w->n_entry + 1, sizeof *w->entry);
    struct zip_entry *z = &w->entry[w->n_entry++];
    *z = (struct zip_entry){.name = mem_dupz(name), .offset = w->out.bytes, .size = size};
    bool big = size > U32_FULL;
    size_t name_len = strlen(name), extra = big ? 20 : 0;
    size_t fill = -(w->out.bytes + LOCAL_SIZE + name_len + extra + 4) & (ALIGN - 1);
    struct buf b = {0};
    le(&b, 0x04034b50, 4);
    le(&b, big ? 45 : 20, 2);
    le(&b, 1 << 11, 2); /* names are UTF-8 */
    le(&b, 0, 2);       /* stored */
    le(&b, 0, 2);
    le(&b, 0x21, 2); /* 1980-01-01: the file does not depend on the clock */
    le(&b, 0, 4);    /* CRC, patched */
    le(&b, big ? 0xffffffff : size, 4);
    le(&b, big ? 0xffffffff : size, 4);
    le(&b, name_len, 2);
    le(&b, extra + 4 + fill, 2);
    buf_add(&b, name, name_len);
    if (big) {
        le(&b, 1, 2);
        le(&b, 16, 2);
        le(&b, size, 8);
        le(&b, size, 8);
    }
    le(&b, 0x4246, 2);
    le(&b, fill, 2);
    for (size_t i = 0; i < fill; i++) buf_addc(&b, 'Z');
    int rc = out_write(&w->out, b.p, b.n, e);
    z->data = w->out.bytes;
    buf_fini(&b);
    return rc;
}

static int entry_write(struct pt_writer *w, const void *data, size_t n, struct err *e)
{
    struct zip_entry *z = &w->entry[w->n_entry - 1];
    z->crc = gzip_crc32(z->crc, data, n);
    return out_write(&w->out, data, n, e);
}

static int entry_close(struct pt_writer *w, struct err *e)
{
    const struct zip_entry *z = &w->entry[w->n_entry - 1];
    unsigned char crc[4] = {(unsigned char)z->crc, (unsigned char)(z->crc >> 8), (unsigned char)(z->crc >> 16),
                            (unsigned char)(z->crc >> 24)};
    return out_pwrite(&w->out, crc, 4, z->offset + 14, e);
}

static int entry_whole(struct pt_writer *w, const char *name, const void *data, size_t n, struct err *e)
{
    int rc = entry_open(w, name, n, e);
    if (!rc) rc = entry_write(w, data, n, e);
    return rc ? rc : entry_close(w, e);
}

static void central_entry(struct buf *b, const struct zip_entry *z)
{
    bool big = z->size > U32_FULL, far = z->offset > U32_FULL;
    le(b, 0x02014b50, 4);
    le(b, 45, 2);
    le(b, big || far ? 45 : 20, 2);
    le(b, 1 << 11, 2);
    le(b, 0, 4); /* stored, time */
    le(b, 0x21, 2);
    le(b, z->crc, 4);
    le(b, big ? 0xffffffff : z->size, 4);
    le(b, big ? 0xffffffff : z->size, 4);
    le(b, strlen(z->name), 2);
    le(b, big || far ? 4u + (big ? 16 : 0) + (far ? 8 : 0) : 0, 2);
    le(b, 0, 2 + 2 + 2 + 4); /* comment, disk, attributes */
    le(b, far ? 0xffffffff : z->offset, 4);
    buf_addz(b, z->name);
    if (big || far) {
        le(b, 1, 2);
        le(b, (big ? 16u : 0) + (far ? 8 : 0), 2);
        if (big) {
            le(b, z->size, 8);
            le(b, z->size, 8);
        }
        if (far) le(b, z->offset, 8);
    }
}

static int write_central(struct pt_writer *w, struct err *e)
{
    struct buf b = {0};
    uint64_t start = w->out.bytes;
    for (size_t i = 0; i < w->n_entry; i++) central_entry(&b, &w->entry[i]);
    uint64_t size = b.n, n = w->n_entry;
    bool z64 = start > U32_FULL || size > U32_FULL || n > 0xfffe;
    if (z64) {
        le(&b, 0x06064b50, 4);
        le(&b, 44, 8);
        le(&b, 45, 2);
        le(&b, 45, 2);
        le(&b, 0, 8);
        le(&b, n, 8);
        le(&b, n, 8);
        le(&b, size, 8);
        le(&b, start, 8);
        le(&b, 0x07064b50, 4);
        le(&b, 0, 4);
        le(&b, start + size, 8);
        le(&b, 1, 4);
    }
    le(&b, 0x06054b50, 4);
    le(&b, 0, 4);
    le(&b, n > 0xfffe ? 0xffff : n, 2);
    le(&b, n > 0xfffe ? 0xffff : n, 2);
    le(&b, size > U32_FULL ? 0xffffffff : size, 4);
    le(&b, start > U32_FULL ? 0xffffffff : start, 4);
    le(&b, 0, 2);
    int rc = out_write(&w->out, b.p, b.n, e);
    buf_fini(&b);
    return rc;
}

/* ---- pickle -------------------------------------------------------------------------------- */

static void p_string(struct buf *b, const char *s)
{
    buf_addc(b, 'X');
    le(b, strlen(s), 4);
    buf_addz(b, s);
}

static void p_int(struct buf *b, uint64_t v)
{
    if (v < 256) {
        buf_addc(b, 'K');
        le(b, v, 1);
    } else if (v < 65536) {
        buf_addc(b, 'M');
        le(b, v, 2);
    } else if (v <= INT32_MAX) {
        buf_addc(b, 'J');
        le(b, v, 4);
    } else { /* LONG1, 8 bytes, two's complement: v < 2^63 */
        buf_add(b, "\x8a\x08", 2);
        le(b, v, 8);
    }
}

static void p_tensor(struct buf *b, const struct pt_decl *t)
{
    static const char *const storage[DT_COUNT] = {
        [DT_F32] = "FloatStorage", [DT_F16] = "HalfStorage", [DT_BF16] = "BFloat16Storage"};
    char key[16];
    snprintf(key, sizeof key, "%d", t->storage);
    p_string(b, t->name);
    buf_addz(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
    p_string(b, "storage");
    buf_printf(b, "ctorch\n%s\n", storage[t->dtype]);
    p_string(b, key);
    p_string(b, "cpu");
    p_int(b, t->count);
    buf_addz(b, "tQ");
    p_int(b, 0); /* offset in the storage */
    buf_addc(b, '(');
    for (int i = 0; i < t->ndim; i++) p_int(b, (uint64_t)t->shape[i]);
    buf_addz(b, "t(");
    uint64_t stride = t->count;
    for (int i = 0; i < t->ndim; i++) {
        stride /= (uint64_t)t->shape[i];
        p_int(b, stride);
    }
    buf_addz(b, "t\x89"
                "ccollections\nOrderedDict\n)RtR"); /* requires_grad False, no hooks */
}

/* ---- whole --------------------------------------------------------------------------------- */

struct pt_writer *pt_create(const char *path, bool force, struct err *e)
{
    struct pt_writer *w = mem_alloc(1, sizeof *w);
    if (out_open(&w->out, path, force, true, e) == 0) return w;
    free(w);
    return NULL;
}

int pt_declare(struct pt_writer *w, const char *name, enum dtype dtype, int ndim, const int64_t *shape, int alias)
{
    struct pt_decl t = {.name = mem_dupz(name), .dtype = dtype, .ndim = ndim, .count = 1, .alias = alias >= 0};
    for (int i = 0; i < ndim; i++) {
        t.shape[i] = shape[i];
        t.count *= (uint64_t)shape[i];
    }
    t.storage = alias >= 0 ? w->t[alias].storage : w->n_storage++;
    w->t = mem_grow(w->t, &w->cap, w->n + 1, sizeof *w->t);
    w->t[w->n] = t;
    return (int)w->n++;
}

/* Open the entry of the next tensor that has bytes of its own. */
static int next_tensor(struct pt_writer *w, struct err *e)
{
    while (w->at < w->n && w->t[w->at].alias) w->at++;
    w->done = 0;
    if (w->at == w->n) return 0;
    const struct pt_decl *t = &w->t[w->at];
    char name[40];
    snprintf(name, sizeof name, TOP "data/%d", t->storage);
    return entry_open(w, name, t->count * (uint64_t)dtype_info[t->dtype].bytes, e);
}

int pt_begin(struct pt_writer *w, struct err *e)
{
    struct buf b = {0};
    buf_addz(&b, "\x80\x02"
                 "ccollections\nOrderedDict\n)R(");
    for (size_t i = 0; i < w->n; i++) p_tensor(&b, &w->t[i]);
    buf_addz(&b, "u.");
    int rc = entry_whole(w, TOP "data.pkl", b.p, b.n, e);
    buf_fini(&b);
    if (!rc) rc = entry_whole(w, TOP "byteorder", "little", 6, e);
    return rc ? rc : next_tensor(w, e);
}

int pt_data(struct pt_writer *w, const void *data, size_t n, struct err *e)
{
    uint64_t size = w->at < w->n ? w->t[w->at].count * (uint64_t)dtype_info[w->t[w->at].dtype].bytes : 0;
    if (n > size - w->done) return err_set(e, E_BUG, "pt_write: more data than tensor %zu was declared with", w->at);
    int rc = entry_write(w, data, n, e);
    w->done += n;
    if (rc || w->done < size) return rc;
    rc = entry_close(w, e);
    w->at++;
    return rc ? rc : next_tensor(w, e);
}

static void release(struct pt_writer *w)
{
    for (size_t i = 0; i < w->n; i++) free(w->t[i].name);
    for (size_t i = 0; i < w->n_entry; i++) free(w->entry[i].name);
    free(w->t);
    free(w->entry);
    free(w);
}

int pt_complete(struct pt_writer *w, struct err *e)
{
    int rc = w->at == w->n ? entry_whole(w, TOP "version", "3\n", 2, e)
                           : err_set(e, E_BUG, "pt_write: %zu of %zu tensors written", w->at, w->n);
    if (!rc) rc = write_central(w, e);
    return rc ? rc : out_flush(&w->out, e);
}

struct weights *pt_view(const struct pt_writer *w, const char *config_json, struct err *e)
{
    struct filemap map;
    if (filemap_open(&map, w->out.tmp, e)) return NULL;
    struct tensor *t = mem_alloc(w->n, sizeof *t);
    for (size_t i = 0; i < w->n; i++) {
        const struct pt_decl *p = &w->t[i];
        const struct zip_entry *z = &w->entry[2 + p->storage]; /* after data.pkl and byteorder */
        t[i] = (struct tensor){
            .name = p->name, .dtype = p->dtype, .ndim = p->ndim, .data = map.data + z->data, .bytes = z->size};
        memcpy(t[i].shape, p->shape, sizeof t[i].shape);
    }
    struct weights *v = weights_view(w->out.path, config_json, t, (int)w->n, map, e);
    free(t);
    return v;
}

int pt_finish(struct pt_writer *w, struct err *e)
{
    int rc = out_commit(&w->out, e);
    if (rc) out_abort(&w->out);
    release(w);
    return rc;
}

void pt_discard(struct pt_writer *w)
{
    if (!w) return;
    out_abort(&w->out);
    release(w);
}
