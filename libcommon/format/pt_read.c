/* pt_read: see pt_read.h. */
#include "libcommon/format/pt_read.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/utf8.h"
#include "libcommon/format/pt_pickle.h"

enum { MAX_NAME = 1024 };
_Static_assert((int)PT_DIMS == (int)PT_PICKLE_DIMS, "the pickle's limit is the table's");

struct place { /* what the pickle's entries are added to */
    struct pt_file *p;
    size_t cap;
};

/* ---- the archive --------------------------------------------------------------------------- */

static int refuse_legacy(const char *path, struct err *e)
{
    err_set(e, E_PT, "%s: a pickle without an archive, as torch before 1.6 wrote them; it is not read", path);
    return err_hint(e, "torch.save(torch.load(FILE, weights_only=True), NEW) makes an archive of it");
}

static int sniff(const unsigned char *data, size_t size, const char *path, struct err *e)
{
    if (size >= 4 && !memcmp(data, "PK\3\4", 4)) return 0;
    if (size >= 2 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5) return refuse_legacy(path, e);
    if (size >= 262 && !memcmp(data + 257, "ustar", 5)) return refuse_legacy(path, e);
    return err_set(e, E_PT, "%s: no file of torch.save: it does not begin as an archive", path);
}

static const struct pt_member *member(const struct pt_file *p, const char *name)
{
    return pt_zip_find(&p->zip, name, (struct str){"", 0});
}

/* The small members that say how to read the others */
static int check_kind(const struct pt_file *p, struct err *e)
{
    if (member(p, "constants.pkl"))
        return err_set(e, E_POLICY, "%s: a TorchScript archive holds code; only state dicts of tensors are read",
                       p->path);
    const struct pt_member *order = member(p, "byteorder"), *version = member(p, "version");
    if (order && (order->size != 6 || memcmp(order->data, "little", 6)))
        return err_set(e, E_PT, "%s: its byte order is %s, not little", p->path,
                       err_quote((const char *)order->data, order->size));
    if (!version) return err_set(e, E_PT, "%s: member version is missing: no archive of torch.save", p->path);
    /* all that state dicts have been written with: 2 and 3 */
    if (version->size != 2 || (memcmp(version->data, "2\n", 2) && memcmp(version->data, "3\n", 2)))
        return err_set(e, E_PT, "%s: archive of version %s; 3 is known", p->path,
                       err_quote((const char *)version->data, version->size));
    return 0;
}

/* ---- tensors ------------------------------------------------------------------------------- */

static int bad(const struct pt_file *p, const struct pt_item *it, const char *what, struct err *e)
{
    return err_set(e, E_PT, "%s: tensor %s: %s", p->path, err_quote(it->name.p, it->name.n), what);
}

static int check_name(const struct pt_file *p, const struct pt_item *it, struct err *e)
{
    if (it->name.n == 0 || it->name.n > MAX_NAME) return bad(p, it, "name empty or longer than 1 KiB", e);
    if (utf8_valid(it->name.p, it->name.n) != it->name.n || memchr(it->name.p, 0, it->name.n))
        return bad(p, it, "name is no UTF-8 text", e);
    return 0;
}

static bool is_read(const char *dtype)
{
    return !strcmp(dtype, "F32") || !strcmp(dtype, "F16") || !strcmp(dtype, "BF16");
}

/* The member that holds the tensor's storage: in the size that the pickle says, of one element type for all views. */
static int find_storage(const struct pt_file *p, const struct pt_item *it, struct pt_member **out, struct err *e)
{
    struct pt_member *m = pt_zip_find(&p->zip, "data/", it->storage);
    uint64_t bytes;
    if (!m)
        return err_set(e, E_PT, "%s: tensor %s: its storage %s is not in the archive", p->path,
                       err_quote(it->name.p, it->name.n), err_quote(it->storage.p, it->storage.n));
    if (__builtin_mul_overflow((uint64_t)it->storage_len, (uint64_t)it->size, &bytes) || bytes != m->size)
        return err_set(e, E_PT, "%s: tensor %s: a storage of %lld %s, but member %s has %llu bytes", p->path,
                       err_quote(it->name.p, it->name.n), (long long)it->storage_len, it->dtype,
                       err_quote(m->name.p, m->name.n), (unsigned long long)m->size);
    if (m->dtype && m->dtype != it->dtype) return bad(p, it, "shares its storage with another element type", e);
    m->dtype = it->dtype;
    *out = m;
    return 0;
}

/* Elements of a tensor whose last index runs fastest, without holes. Strides of dimensions of 1 mean nothing. */
static int count_elements(const struct pt_file *p, const struct pt_item *it, uint64_t *count, struct err *e)
{
    uint64_t n = 1, step = 1;
    bool contiguous = true;
    for (int i = 0; i < it->ndim; i++)
        if (__builtin_mul_overflow(n, (uint64_t)it->shape[i], &n)) return bad(p, it, "its size overflows", e);
    for (int i = it->ndim; i-- > 0 && n;) {
        if (it->shape[i] != 1 && (uint64_t)it->stride[i] != step) contiguous = false;
        step *= (uint64_t)it->shape[i];
    }
    *count = n;
    if (contiguous) return 0;
    bad(p, it, "not contiguous (a transposed or strided view)", e);
    return err_hint(e, "save {name: tensor.contiguous()}");
}

static int place_tensor(void *ctx, const struct pt_item *it, struct err *e)
{
    struct place *to = ctx;
    struct pt_file *p = to->p;
    struct pt_member *m = NULL;
    uint64_t n = 0;
    int rc = check_name(p, it, e);
    if (!rc && !is_read(it->dtype))
        rc = err_set(e, E_PT, "%s: tensor %s: elements are %s; F32, F16 and BF16 are read", p->path,
                     err_quote(it->name.p, it->name.n), it->dtype);
    if (!rc) rc = find_storage(p, it, &m, e);
    if (!rc) rc = count_elements(p, it, &n, e);
    if (rc) return rc;
    uint64_t len = (uint64_t)it->storage_len, offset = (uint64_t)it->offset;
    if (offset > len || n > len - offset) return bad(p, it, "reaches beyond its storage", e);
    p->t = mem_grow(p->t, &to->cap, (size_t)p->n + 1, sizeof *p->t);
    struct pt_tensor *t = &p->t[p->n++];
    *t = (struct pt_tensor){.name = mem_dup(it->name.p, it->name.n),
                            .dtype = it->dtype,
                            .size = it->size,
                            .ndim = it->ndim,
                            .bytes = n * (uint64_t)it->size,
                            .data = m->data + offset * (uint64_t)it->size};
    memcpy(t->shape, it->shape, sizeof t->shape);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct pt_tensor *)a)->name, ((const struct pt_tensor *)b)->name);
}

/* ---- whole --------------------------------------------------------------------------------- */

static int parse(struct pt_file *p, const unsigned char *data, size_t size, struct err *e)
{
    struct place to = {.p = p};
    int rc = sniff(data, size, p->path, e);
    if (!rc) rc = pt_zip_read(&p->zip, data, size, p->path, e);
    if (!rc) rc = check_kind(p, e);
    if (rc) return rc;
    const struct pt_member *pkl = member(p, "data.pkl");
    if (!pkl) return err_set(e, E_PT, "%s: member data.pkl is missing: no archive of torch.save", p->path);
    rc = pt_zip_crc(pkl, p->path, e);
    if (!rc) rc = pt_pickle_read(pkl->data, pkl->size, p->path, place_tensor, &to, e);
    if (rc || !p->n) return rc;
    qsort(p->t, (size_t)p->n, sizeof *p->t, by_name);
    for (int i = 1; i < p->n; i++)
        if (by_name(&p->t[i - 1], &p->t[i]) == 0)
            return err_set(e, E_PT, "%s: tensor %s is there twice", p->path, err_quotez(p->t[i].name));
    return 0;
}

struct pt_file *pt_parse(const void *data, size_t size, const char *name, struct err *e)
{
    struct pt_file *p = mem_alloc(1, sizeof *p);
    p->path = mem_dupz(name);
    if (parse(p, data, size, e) == 0) return p;
    pt_close(p);
    return NULL;
}

struct pt_file *pt_open(const char *path, struct err *e)
{
    struct filemap map;
    if (filemap_open(&map, path, e)) return NULL;
    struct pt_file *p = pt_parse(map.data, map.size, path, e);
    if (p)
        p->map = map;
    else
        filemap_close(&map);
    return p;
}

int pt_check(const struct pt_file *p, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < p->zip.n && !rc; i++)
        if (p->zip.m[i].dtype) rc = pt_zip_crc(&p->zip.m[i], p->path, e);
    return rc;
}

void pt_close(struct pt_file *p)
{
    if (!p) return;
    for (int i = 0; i < p->n; i++) free(p->t[i].name);
    free(p->t);
    pt_zip_fini(&p->zip);
    if (p->map.data) filemap_close(&p->map);
    free(p->path);
    free(p);
}

const struct pt_tensor *pt_find(const struct pt_file *p, const char *name)
{
    struct pt_tensor key = {.name = (char *)(uintptr_t)name};
    return p->n ? bsearch(&key, p->t, (size_t)p->n, sizeof *p->t, by_name) : NULL;
}
