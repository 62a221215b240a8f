/* gguf: see gguf.h. One pass over the header with a cursor that never moves past the end; arrays of pairs and tensors
 * grow as entries are really there, so a lying count costs nothing. */
#include "libcommon/format/gguf.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PAIRS = 1 << 20, MAX_TENSORS = 1 << 20, MAX_KEY = 65535, MAX_ALIGNMENT = 65536 };

/* Smallest encodings, for an early and clear answer to a lying count. */
enum { PAIR_MIN = 8 + 1 + 4 + 1, TENSOR_MIN = 8 + 1 + 4 + 8 + 4 + 8 };

static const int scalar_size[GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
static const char *const scalar_name[GGUF_TYPES] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                    "bool", "string", "array", "u64", "i64", "f64"};

/* ---- cursor -------------------------------------------------------------------------------- */

struct cursor {
    struct gguf *g;
    size_t at;
    struct err *e;
};

static size_t left(const struct cursor *c) { return c->g->size - c->at; }

static int cut(struct cursor *c, const char *what, size_t need)
{
    return err_set(c->e, E_GGUF, "%s: byte %zu: %s needs %zu bytes, the file has %zu left", c->g->path, c->at, what,
                   need, left(c));
}

static int take(struct cursor *c, void *out, size_t n, const char *what)
{
    if (n > left(c)) return cut(c, what, n);
    memcpy(out, c->g->data + c->at, n);
    c->at += n;
    return 0;
}

static int take_string(struct cursor *c, struct str *s, const char *what)
{
    uint64_t n = 0;
    int rc = take(c, &n, sizeof n, what);
    if (rc) return rc;
    if (n > left(c))
        return err_set(c->e, E_GGUF, "%s: byte %zu: %s claims %llu bytes, the file has %zu left", c->g->path, c->at,
                       what, (unsigned long long)n, left(c));
    *s = (struct str){(const char *)c->g->data + c->at, n};
    c->at += n;
    return 0;
}

/* ---- pairs --------------------------------------------------------------------------------- */

/* n elements of a non-array type at the cursor: check them and step over. */
static int skip_elements(struct cursor *c, struct gguf_kv *kv)
{
    const char *name = err_quote(kv->key.p, kv->key.n);
    size_t start = c->at;
    if (kv->elem == GGUF_STRING) {
        if (kv->n > left(c) / 8)
            return err_set(c->e, E_GGUF, "%s: key %s: %llu strings claimed, the file has room for %zu", c->g->path,
                           name, (unsigned long long)kv->n, left(c) / 8);
        for (uint64_t i = 0; i < kv->n; i++) {
            struct str s = {0};
            int rc = take_string(c, &s, name);
            if (rc) return rc;
        }
    } else {
        size_t size = (size_t)scalar_size[kv->elem];
        if (kv->n > left(c) / size)
            return err_set(c->e, E_GGUF, "%s: key %s: %llu values of %zu bytes claimed, the file has %zu bytes left",
                           c->g->path, name, (unsigned long long)kv->n, size, left(c));
        c->at += kv->n * size;
        if (kv->elem == GGUF_BOOL)
            for (uint64_t i = 0; i < kv->n; i++)
                if (c->g->data[start + i] > 1)
                    return err_set(c->e, E_GGUF, "%s: key %s: byte %d is no boolean", c->g->path, name,
                                   c->g->data[start + i]);
    }
    kv->data = c->g->data + start;
    kv->bytes = c->at - start;
    return 0;
}

static int read_pair(struct cursor *c, struct gguf_kv *kv)
{
    int rc = take_string(c, &kv->key, "key");
    if (rc) return rc;
    if (kv->key.n == 0 || kv->key.n > MAX_KEY || memchr(kv->key.p, 0, kv->key.n))
        return err_set(c->e, E_GGUF, "%s: key of %zu bytes: expected 1 to %d bytes without NUL", c->g->path, kv->key.n,
                       MAX_KEY);
    const char *name = err_quote(kv->key.p, kv->key.n);
    uint32_t type = 0;
    rc = take(c, &type, sizeof type, "value type");
    if (rc) return rc;
    if (type >= GGUF_TYPES)
        return err_set(c->e, E_GGUF, "%s: key %s: value type %u, expected 0 to %d", c->g->path, name, type,
                       GGUF_TYPES - 1);
    kv->type = kv->elem = (enum gguf_type)type;
    kv->n = 1;
    if (kv->type == GGUF_ARRAY) {
        rc = take(c, &type, sizeof type, "element type");
        if (rc) return rc;
        if (type >= GGUF_TYPES || type == GGUF_ARRAY)
            return err_set(c->e, E_GGUF, "%s: key %s: element type %u; arrays hold scalars or strings", c->g->path,
                           name, type);
        kv->elem = (enum gguf_type)type;
        rc = take(c, &kv->n, sizeof kv->n, "array length");
        if (rc) return rc;
    }
    return skip_elements(c, kv);
}

static int str_order(struct str a, struct str b)
{
    int d = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return d ? d : (a.n > b.n) - (a.n < b.n);
}

static int by_key(const void *a, const void *b, void *kv)
{
    const struct gguf_kv *v = kv;
    return str_order(v[*(const int *)a].key, v[*(const int *)b].key);
}

static int index_pairs(struct gguf *g, struct err *e)
{
    g->kv_sorted = mem_alloc((size_t)g->n_kv, sizeof *g->kv_sorted);
    for (int i = 0; i < g->n_kv; i++) g->kv_sorted[i] = i;
    if (g->n_kv) qsort_r(g->kv_sorted, (size_t)g->n_kv, sizeof *g->kv_sorted, by_key, g->kv);
    for (int i = 1; i < g->n_kv; i++) {
        struct str k = g->kv[g->kv_sorted[i]].key;
        if (!str_order(g->kv[g->kv_sorted[i - 1]].key, k))
            return err_set(e, E_GGUF, "%s: key %s appears twice", g->path, err_quote(k.p, k.n));
    }
    return 0;
}

/* ---- tensors ------------------------------------------------------------------------------- */

static int read_tensor(struct cursor *c, struct gguf_tensor *t)
{
    struct str name = {0};
    int rc = take_string(c, &name, "tensor name");
    if (rc) return rc;
    if (name.n == 0 || name.n >= sizeof t->name || memchr(name.p, 0, name.n))
        return err_set(c->e, E_GGUF, "%s: tensor name of %zu bytes: expected 1 to 63 bytes without NUL", c->g->path,
                       name.n);
    memset(t, 0, sizeof *t);
    memcpy(t->name, name.p, name.n);
    const char *q = err_quotez(t->name);
    uint32_t n_dims = 0;
    if ((rc = take(c, &n_dims, sizeof n_dims, "dimension count"))) return rc;
    if (n_dims < 1 || n_dims > 4)
        return err_set(c->e, E_GGUF, "%s: tensor %s: %u dimensions, expected 1 to 4", c->g->path, q, n_dims);
    t->n_dims = (int)n_dims;
    int64_t count = 1;
    for (int i = 0; i < 4; i++) {
        uint64_t ne = 1;
        if (i < t->n_dims && (rc = take(c, &ne, sizeof ne, "dimension"))) return rc;
        if (ne == 0 || ne > INT64_MAX || __builtin_mul_overflow(count, (int64_t)ne, &count))
            return err_set(c->e, E_GGUF, "%s: tensor %s: dimension %d is %llu: zero, or the size overflows", c->g->path,
                           q, i, (unsigned long long)ne);
        t->ne[i] = (int64_t)ne;
    }
    if ((rc = take(c, &t->type, sizeof t->type, "tensor type"))) return rc;
    int block, bytes;
    if (!gguf_type_size(t->type, &block, &bytes))
        return err_set(c->e, E_GGUF, "%s: tensor %s: unknown type %u", c->g->path, q, t->type);
    if (t->ne[0] % block)
        return err_set(c->e, E_GGUF, "%s: tensor %s: rows of %lld values do not divide into %s blocks of %d",
                       c->g->path, q, (long long)t->ne[0], gguf_type_name(t->type), block);
    if (__builtin_mul_overflow((uint64_t)(count / block), (uint64_t)bytes, &t->bytes) || t->bytes > INT64_MAX)
        return err_set(c->e, E_GGUF, "%s: tensor %s: its size overflows", c->g->path, q);
    return take(c, &t->offset, sizeof t->offset, "tensor offset");
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct gguf_tensor *const *)a)->name, (*(struct gguf_tensor *const *)b)->name);
}

static int unique_names(const struct gguf *g, struct err *e)
{
    struct gguf_tensor **p = mem_alloc((size_t)g->n_t, sizeof *p);
    for (int i = 0; i < g->n_t; i++) p[i] = &g->t[i];
    if (g->n_t) qsort(p, (size_t)g->n_t, sizeof *p, by_name);
    int rc = 0;
    for (int i = 1; i < g->n_t && !rc; i++)
        if (!strcmp(p[i - 1]->name, p[i]->name))
            rc = err_set(e, E_GGUF, "%s: tensor %s appears twice", g->path, err_quotez(p[i]->name));
    free(p);
    return rc;
}

static uint64_t align_up(uint64_t x, uint64_t a) { return (x + a - 1) & ~(a - 1); }

/* Tensors lie one after the other, each padded to the alignment; nothing follows the last but its padding. */
static int place_tensors(struct gguf *g, size_t header, struct err *e)
{
    g->data_start = align_up(header, g->alignment);
    if (g->data_start > g->size) {
        if (g->n_t)
            return err_set(e, E_GGUF, "%s: the file ends before the tensor data (byte %llu of %zu)", g->path,
                           (unsigned long long)g->data_start, g->size);
        g->data_start = g->size;
    }
    uint64_t room = g->size - g->data_start, at = 0, end = 0;
    for (int i = 0; i < g->n_t; i++) {
        struct gguf_tensor *t = &g->t[i];
        if (t->offset != at)
            return err_set(e, E_GGUF, "%s: tensor %s: offset %llu, expected %llu (the sum of those before)", g->path,
                           err_quotez(t->name), (unsigned long long)t->offset, (unsigned long long)at);
        if (at > room || t->bytes > room - at)
            return err_set(e, E_GGUF,
                           "%s: tensor %s: needs bytes %llu to %llu of the data, the file has "
                           "%llu; truncated?",
                           g->path, err_quotez(t->name), (unsigned long long)at, (unsigned long long)(at + t->bytes),
                           (unsigned long long)room);
        t->data = g->data + g->data_start + at;
        end = at + t->bytes;
        at = align_up(end, g->alignment);
    }
    if (room > at)
        return err_set(e, E_GGUF, "%s: %llu bytes follow the last tensor", g->path, (unsigned long long)(room - at));
    return 0;
}

/* ---- whole file ---------------------------------------------------------------------------- */

static int read_header(struct cursor *c, uint64_t *n_t, uint64_t *n_kv)
{
    struct gguf *g = c->g;
    if (g->size < 24 || memcmp(g->data, "GGUF", 4))
        return err_set(c->e, E_GGUF, "%s: not a GGUF file (%s)", g->path, g->size < 24 ? "too short" : "no magic");
    c->at = 4;
    take(c, &g->version, 4, "version");
    if ((g->version & 0xffff) == 0 && g->version) return err_set(c->e, E_VERSION, "%s: big-endian GGUF file", g->path);
    if (g->version < 2 || g->version > 3)
        return err_set(c->e, E_VERSION, "%s: GGUF version %u, supported are 2 and 3", g->path, g->version);
    take(c, n_t, 8, "tensor count");
    take(c, n_kv, 8, "pair count");
    if (*n_kv > left(c) / PAIR_MIN || *n_kv > MAX_PAIRS)
        return err_set(c->e, E_GGUF, "%s: %llu metadata pairs claimed, the file has room for %zu (limit %d)", g->path,
                       (unsigned long long)*n_kv, left(c) / PAIR_MIN, MAX_PAIRS);
    if (*n_t > left(c) / TENSOR_MIN || *n_t > MAX_TENSORS)
        return err_set(c->e, E_GGUF, "%s: %llu tensors claimed, the file has room for %zu (limit %d)", g->path,
                       (unsigned long long)*n_t, left(c) / TENSOR_MIN, MAX_TENSORS);
    return 0;
}

static int read_alignment(struct gguf *g, struct err *e)
{
    const struct gguf_kv *kv = gguf_find(g, "general.alignment");
    g->alignment = 32;
    if (!kv) return 0;
    if (kv->type != GGUF_U32)
        return err_set(e, E_GGUF, "%s: general.alignment has type %s, expected u32", g->path, scalar_name[kv->type]);
    memcpy(&g->alignment, kv->data, 4);
    if (g->alignment == 0 || (g->alignment & (g->alignment - 1)) || g->alignment > MAX_ALIGNMENT)
        return err_set(e, E_GGUF, "%s: general.alignment is %u, expected a power of two up to %d", g->path,
                       g->alignment, MAX_ALIGNMENT);
    return 0;
}

static int parse(struct gguf *g, struct err *e)
{
    struct cursor c = {g, 0, e};
    uint64_t n_t = 0, n_kv = 0;
    size_t cap = 0;
    int rc = read_header(&c, &n_t, &n_kv);
    for (uint64_t i = 0; i < n_kv && !rc; i++) {
        g->kv = mem_grow(g->kv, &cap, (size_t)i + 1, sizeof *g->kv);
        rc = read_pair(&c, &g->kv[i]);
        g->n_kv = (int)i + !rc;
    }
    if (!rc) rc = index_pairs(g, e);
    if (!rc) rc = read_alignment(g, e);
    cap = 0;
    for (uint64_t i = 0; i < n_t && !rc; i++) {
        g->t = mem_grow(g->t, &cap, (size_t)i + 1, sizeof *g->t);
        rc = read_tensor(&c, &g->t[i]);
        g->n_t = (int)i + !rc;
    }
    if (!rc) rc = unique_names(g, e);
    return rc ? rc : place_tensors(g, c.at, e);
}

struct gguf *gguf_parse(const void *data, size_t size, const char *name, struct err *e)
{
    struct gguf *g = mem_alloc(1, sizeof *g);
    g->path = mem_dupz(name);
    g->data = data;
    g->size = size;
    if (parse(g, e) == 0) return g;
    gguf_close(g);
    return NULL;
}

struct gguf *gguf_open(const char *path, struct err *e)
{
    struct filemap map;
    if (filemap_open(&map, path, e)) return NULL;
    struct gguf *g = gguf_parse(map.data, map.size, path, e);
    if (g)
        g->map = map;
    else
        filemap_close(&map);
    return g;
}

void gguf_close(struct gguf *g)
{
    if (!g) return;
    if (g->map.data) filemap_close(&g->map);
    free(g->path);
    free(g->kv);
    free(g->kv_sorted);
    free(g->t);
    free(g);
}

/* ---- values -------------------------------------------------------------------------------- */

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key)
{
    struct str k = STRZ(key);
    int lo = 0, hi = g->n_kv;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        const struct gguf_kv *kv = &g->kv[g->kv_sorted[mid]];
        int d = str_order(k, kv->key);
        if (d == 0) return kv;
        if (d < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name)
{
    for (int i = 0; i < g->n_t; i++)
        if (!strcmp(g->t[i].name, name)) return &g->t[i];
    return NULL;
}

static int wrong_type(const struct gguf *g, const char *key, const struct gguf_kv *kv, const char *want, struct err *e)
{
    return err_set(e, E_GGUF, "%s: key %s has type %s, expected %s", g->path, key, scalar_name[kv->type], want);
}

static bool is_int(enum gguf_type t)
{
    return t != GGUF_F32 && t != GGUF_F64 && t != GGUF_STRING && t != GGUF_ARRAY && t != GGUF_BOOL;
}

int64_t gguf_int_at(const struct gguf_kv *kv, uint64_t i)
{
    size_t size = (size_t)scalar_size[kv->elem];
    uint64_t u = 0;
    memcpy(&u, kv->data + i * size, size);
    switch (kv->elem) {
    case GGUF_I8:
        return (int8_t)u;
    case GGUF_I16:
        return (int16_t)u;
    case GGUF_I32:
        return (int32_t)u;
    default:
        return (int64_t)u;
    }
}

double gguf_float_at(const struct gguf_kv *kv, uint64_t i)
{
    float f;
    double d;
    if (kv->elem == GGUF_F64) {
        memcpy(&d, kv->data + i * sizeof d, sizeof d);
        return d;
    }
    if (kv->elem != GGUF_F32) return (double)gguf_int_at(kv, i);
    memcpy(&f, kv->data + i * sizeof f, sizeof f);
    return f;
}

int gguf_get_i64(const struct gguf *g, const char *key, int64_t *out, struct err *e)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv) return 0;
    if (!is_int(kv->type)) return wrong_type(g, key, kv, "an integer", e);
    int64_t v = gguf_int_at(kv, 0);
    if (kv->type == GGUF_U64 && v < 0)
        return err_set(e, E_GGUF, "%s: key %s: %llu is too large", g->path, key, (unsigned long long)v);
    *out = v;
    return 1;
}

int gguf_get_f64(const struct gguf *g, const char *key, double *out, struct err *e)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv) return 0;
    if (kv->type != GGUF_F32 && kv->type != GGUF_F64) return wrong_type(g, key, kv, "f32 or f64", e);
    *out = gguf_float_at(kv, 0);
    return 1;
}

int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct err *e)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv) return 0;
    if (kv->type != GGUF_BOOL) return wrong_type(g, key, kv, "bool", e);
    *out = kv->data[0] != 0;
    return 1;
}

int gguf_get_str(const struct gguf *g, const char *key, struct str *out, struct err *e)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv) return 0;
    if (kv->type != GGUF_STRING) return wrong_type(g, key, kv, "string", e);
    *out = (struct str){(const char *)kv->data + 8, kv->bytes - 8};
    return 1;
}

struct str *gguf_strings(const struct gguf_kv *kv)
{
    if (kv->type != GGUF_ARRAY || kv->elem != GGUF_STRING) return NULL;
    struct str *s = mem_alloc(kv->n, sizeof *s);
    const unsigned char *p = kv->data;
    for (uint64_t i = 0; i < kv->n; i++) {
        uint64_t n;
        memcpy(&n, p, sizeof n);
        s[i] = (struct str){(const char *)p + 8, n};
        p += 8 + n;
    }
    return s;
}
