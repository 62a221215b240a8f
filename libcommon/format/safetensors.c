/* safetensors: see safetensors.h. Source: the format's README and the errors of its reference implementation. */
#include "libcommon/format/safetensors.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/mem.h"
#include "libcommon/format/json.h"

enum { MAX_HEADER = 100000000, MAX_NAME = 1024, MAX_ENTRY = 4096, MAX_METADATA = 4 << 20 };

static const struct {
    const char *name;
    int size;
} dtypes[] = {
    {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1},
    {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},     {"U32", 4},
    {"F32", 4},  {"F64", 8}, {"I64", 8}, {"U64", 8},     {"C64", 8},
};

static int dtype_index(const char *name)
{
    for (int i = 0; i < (int)(sizeof dtypes / sizeof *dtypes); i++)
        if (!strcmp(dtypes[i].name, name)) return i;
    return -1;
}

int safetensors_dtype_size(const char *dtype)
{
    int i = dtype_index(dtype);
    return i < 0 ? 0 : dtypes[i].size;
}

static int bad(const struct safetensors *s, const char *tensor, const char *what, struct err *e)
{
    return err_set(e, E_SAFETENSORS, "%s: tensor %s: %s", s->path, err_quotez(tensor), what);
}

/* A whole number in [0, 2^63) */
static bool whole(const json_t *j, uint64_t *out)
{
    if (!json_is_integer(j) || json_integer_value(j) < 0) return false;
    *out = (uint64_t)json_integer_value(j);
    return true;
}

static int read_shape(const struct safetensors *s, struct st_tensor *t, const json_t *shape, uint64_t *bytes,
                      struct err *e)
{
    if (!json_is_array(shape)) return bad(s, t->name, "shape missing or no array", e);
    if (json_array_size(shape) > ST_DIMS) return bad(s, t->name, "more than 8 dimensions", e);
    t->ndim = (int)json_array_size(shape);
    uint64_t n = (uint64_t)t->size, d;
    for (int i = 0; i < t->ndim; i++) {
        if (!whole(json_array_get(shape, (size_t)i), &d)) return bad(s, t->name, "a dimension is no whole number", e);
        if (__builtin_mul_overflow(n, d, &n)) return bad(s, t->name, "its size overflows", e);
        t->shape[i] = (int64_t)d;
    }
    *bytes = n;
    return 0;
}

static int read_tensor(const struct safetensors *s, struct st_tensor *t, const json_t *j, struct err *e)
{
    const char *key;
    json_t *v;
    if (strlen(t->name) == 0 || strlen(t->name) > MAX_NAME)
        return bad(s, t->name, "name empty or longer than 1 KiB", e);
    if (!json_is_object(j)) return bad(s, t->name, "entry is no object", e);
    json_object_foreach((json_t *)j, key,
                        v) if (strcmp(key, "dtype") && strcmp(key, "shape") &&
                               strcmp(key, "data_offsets")) return err_set(e, E_SAFETENSORS,
                                                                           "%s: tensor %s: unknown key %s", s->path,
                                                                           err_quotez(t->name), err_quotez(key));
    const char *dtype = json_string_value(json_object_get(j, "dtype"));
    if (!dtype) return bad(s, t->name, "dtype missing or no string", e);
    int i = dtype_index(dtype);
    if (i < 0)
        return err_set(e, E_SAFETENSORS, "%s: tensor %s: unknown dtype %s", s->path, err_quotez(t->name),
                       err_quotez(dtype));
    t->dtype = dtypes[i].name;
    t->size = dtypes[i].size;
    uint64_t bytes = 0;
    int rc = read_shape(s, t, json_object_get(j, "shape"), &bytes, e);
    if (rc) return rc;
    const json_t *off = json_object_get(j, "data_offsets");
    if (!json_is_array(off) || json_array_size(off) != 2 || !whole(json_array_get(off, 0), &t->begin) ||
        !whole(json_array_get(off, 1), &t->end))
        return bad(s, t->name, "data_offsets are not two whole numbers", e);
    if (t->end < t->begin || t->end - t->begin != bytes)
        return err_set(
            e, E_SAFETENSORS, "%s: tensor %s: data_offsets [%llu, %llu], but dtype and shape make %llu bytes", s->path,
            err_quotez(t->name), (unsigned long long)t->begin, (unsigned long long)t->end, (unsigned long long)bytes);
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct st_tensor *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int place(struct safetensors *s, const unsigned char *data, uint64_t room, struct err *e)
{
    uint64_t at = 0;
    if (s->n) qsort(s->t, (size_t)s->n, sizeof *s->t, by_offset);
    for (int i = 0; i < s->n; i++) {
        struct st_tensor *t = &s->t[i];
        if (t->begin != at)
            return err_set(e, E_SAFETENSORS, "%s: tensor %s begins at %llu, expected %llu: %s", s->path,
                           err_quotez(t->name), (unsigned long long)t->begin, (unsigned long long)at,
                           t->begin > at ? "a hole" : "an overlap");
        if (t->end > room)
            return err_set(e, E_SAFETENSORS,
                           "%s: tensor %s ends at byte %llu of the data, the file has %llu; truncated?", s->path,
                           err_quotez(t->name), (unsigned long long)t->end, (unsigned long long)room);
        t->data = data + at;
        at = t->end;
    }
    if (at != room)
        return err_set(e, E_SAFETENSORS, "%s: %llu bytes follow the last tensor", s->path,
                       (unsigned long long)(room - at));
    return 0;
}

static int read_metadata(struct safetensors *s, json_t *m, struct err *e)
{
    const char *key;
    json_t *v;
    if (!json_is_object(m)) return err_set(e, E_SAFETENSORS, "%s: __metadata__ is no object", s->path);
    json_object_foreach(m, key, v) if (!json_is_string(v)) return err_set(
        e, E_SAFETENSORS, "%s: __metadata__ key %s is no string", s->path, err_quotez(key));
    s->metadata = json_incref(m);
    return 0;
}

/* ---- the header, entry by entry: a tree of the whole would take a hundred times its size ---- */
struct text {
    const char *p;
    size_t at, n;
};

static void blanks(struct text *h)
{
    while (h->at < h->n && h->p[h->at] && strchr(" \t\r\n", h->p[h->at])) h->at++;
}

/* Is c next, blanks apart? It is read over. */
static bool next_is(struct text *h, char c)
{
    blanks(h);
    if (h->at == h->n || h->p[h->at] != c) return false;
    h->at++;
    return true;
}

/* The text of the string or object that comes next, found by its quotes and brackets alone; empty if there is none. */
static struct str extent(struct text *h)
{
    blanks(h);
    size_t from = h->at;
    int depth = 0;
    bool quoted = false;
    for (; h->at < h->n; h->at++) {
        char c = h->p[h->at];
        if (quoted && c == '\\')
            h->at++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '{' || c == '['))
            depth++;
        else if (!quoted && (c == '}' || c == ']'))
            depth--;
        if (!quoted && depth <= 0) break;
    }
    if (h->at < h->n) h->at++;
    return (struct str){h->p + from, (h->at < h->n ? h->at : h->n) - from};
}

static int bad_header(const struct safetensors *s, const struct text *h, const char *what, struct err *e)
{
    return err_set(e, E_SAFETENSORS, "%s: header: byte %zu: %s", s->path, h->at, what);
}

static char *read_name(const struct safetensors *s, struct text *h, struct err *e)
{
    struct str text = extent(h);
    json_error_t why;
    json_t *j = text.n && *text.p == '"' ? json_loadb(text.p, text.n, JSON_DECODE_ANY, &why) : NULL;
    char *name = json_is_string(j) ? mem_dupz(json_string_value(j)) : NULL;
    if (!name) bad_header(s, h, "expected a name in quotes before it", e);
    json_decref(j);
    return name;
}

/* One "name": {...}. */
static int read_entry(struct safetensors *s, struct text *h, size_t *cap, struct err *e)
{
    char *name = read_name(s, h, e);
    if (!name) return -e->id;
    bool meta = !strcmp(name, "__metadata__");
    if (!next_is(h, ':')) bad_header(s, h, "expected ':'", e);
    struct str text = e->id ? (struct str){0} : extent(h);
    if (!e->id && (!text.n || *text.p != '{'))
        meta ? err_set(e, E_SAFETENSORS, "%s: __metadata__ is no object", s->path)
             : bad(s, name, "entry is no object", e);
    if (!e->id && text.n > (meta ? MAX_METADATA : MAX_ENTRY)) bad(s, name, "its entry in the header is too long", e);
    char *where = mem_printf("%s: header, entry %s", s->path, err_quotez(name));
    json_t *j = e->id ? NULL : json_parse(text.p, text.n, where, E_SAFETENSORS, e);
    free(where);
    if (j && meta) {
        if (s->metadata) bad_header(s, h, "two entries named __metadata__", e);
        if (!e->id) read_metadata(s, j, e);
    } else if (j) {
        s->t = mem_grow(s->t, cap, (size_t)s->n + 1, sizeof *s->t);
        s->t[s->n] = (struct st_tensor){.name = name};
        name = NULL;
        read_tensor(s, &s->t[s->n++], j, e);
    }
    json_decref(j);
    free(name);
    return -e->id;
}

static int unique(const struct safetensors *s, struct err *e)
{
    struct str *name = mem_alloc((size_t)s->n, sizeof *name);
    for (int i = 0; i < s->n; i++) name[i] = STRZ(s->t[i].name);
    long twice = str_doubled(name, (size_t)s->n);
    free(name);
    return twice < 0 ? 0 : bad(s, s->t[twice].name, "is there twice", e);
}

static int read_header(struct safetensors *s, struct text *h, struct err *e)
{
    size_t cap = 0;
    next_is(h, '{');
    if (!next_is(h, '}')) {
        do
            if (read_entry(s, h, &cap, e)) return -e->id;
        while (next_is(h, ','));
        if (!next_is(h, '}')) return bad_header(s, h, "expected ',' or '}'", e);
    }
    blanks(h);
    if (h->at != h->n) return bad_header(s, h, "text follows the object", e);
    return unique(s, e);
}

static int parse(struct safetensors *s, const unsigned char *data, size_t size, struct err *e)
{
    uint64_t n;
    if (size < 8) return err_set(e, E_SAFETENSORS, "%s: %zu bytes, too short for a header", s->path, size);
    memcpy(&n, data, 8);
    if (n > MAX_HEADER || n > size - 8)
        return err_set(e, E_SAFETENSORS, "%s: header of %llu bytes claimed, the file has %zu (limit %d)", s->path,
                       (unsigned long long)n, size - 8, MAX_HEADER);
    if (n < 2 || data[8] != '{') return err_set(e, E_SAFETENSORS, "%s: the header does not begin with '{'", s->path);
    struct text h = {(const char *)data + 8, 0, (size_t)n};
    int rc = read_header(s, &h, e);
    return rc ? rc : place(s, data + 8 + n, size - 8 - n, e);
}

struct safetensors *safetensors_parse(const void *data, size_t size, const char *name, struct err *e)
{
    struct safetensors *s = mem_alloc(1, sizeof *s);
    s->path = mem_dupz(name);
    if (parse(s, data, size, e) == 0) return s;
    safetensors_close(s);
    return NULL;
}

struct safetensors *safetensors_open(const char *path, struct err *e)
{
    struct filemap map;
    if (filemap_open(&map, path, e)) return NULL;
    struct safetensors *s = safetensors_parse(map.data, map.size, path, e);
    if (s)
        s->map = map;
    else
        filemap_close(&map);
    return s;
}

void safetensors_close(struct safetensors *s)
{
    if (!s) return;
    for (int i = 0; i < s->n; i++) free(s->t[i].name);
    free(s->t);
    json_decref(s->metadata);
    if (s->map.data) filemap_close(&s->map);
    free(s->path);
    free(s);
}

const struct st_tensor *safetensors_find(const struct safetensors *s, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (!strcmp(s->t[i].name, name)) return &s->t[i];
    return NULL;
}

const char *safetensors_meta(const struct safetensors *s, const char *key)
{
    return json_string_value(json_object_get(s->metadata, key));
}
