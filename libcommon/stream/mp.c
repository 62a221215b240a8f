/* mp: see mp.h. Encoding and decoding are msgpack-c's; what may be decoded is decided by mp_scan. */
#include "libcommon/stream/mp.h"
#include <math.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/utf8.h"

/* ---- scan ---- */
struct scan {
    const unsigned char *p, *end;
    const char *why;
    int objects;
};

static uint64_t be(const unsigned char *p, int n)
{
    uint64_t x = 0;
    for (int i = 0; i < n; i++) x = x << 8 | p[i];
    return x;
}

static bool fail(struct scan *s, const char *why)
{
    if (!s->why) s->why = why;
    return false;
}

/* A big-endian number of n bytes after the type byte. */
static bool number(struct scan *s, int n, uint64_t *x)
{
    if (s->end - s->p < n) return fail(s, "object cut short");
    *x = be(s->p, n);
    s->p += n;
    return true;
}

static bool bytes(struct scan *s, uint64_t n, bool text)
{
    if ((uint64_t)(s->end - s->p) < n) return fail(s, "object cut short");
    if (text && utf8_valid((const char *)s->p, (size_t)n) != n) return fail(s, "text is not valid UTF-8");
    s->p += n;
    return true;
}

static bool object(struct scan *s, int depth);

static bool items(struct scan *s, uint64_t n, int depth)
{
    if (n > MP_ARRAY_MAX || n > (uint64_t)(s->end - s->p)) return fail(s, "array too large");
    while (n--)
        if (!object(s, depth)) return false;
    return true;
}

static bool pairs(struct scan *s, uint64_t n, int depth)
{
    if (n > MP_MAP_MAX || 2 * n > (uint64_t)(s->end - s->p)) return fail(s, "map too large");
    enum { FEW = 16 }; /* keys that are compared with each other faster than they are sorted */
    static const char twice[] = "map with two equal keys";
    struct str key[MP_MAP_MAX];
    for (uint64_t i = 0; i < n; i++) {
        const unsigned char *at = s->p;
        if (at == s->end) return fail(s, "object cut short");
        if (!((*at >= 0xa0 && *at <= 0xbf) || *at == 0xd9)) return fail(s, "map key is not a short str");
        if (!object(s, depth)) return false;
        at += *at == 0xd9 ? 2 : 1;
        key[i] = (struct str){(const char *)at, (size_t)(s->p - at)};
        for (uint64_t j = 0; j < i && n <= FEW; j++)
            if (str_same(key[j], key[i])) return fail(s, twice);
        if (!object(s, depth)) return false;
    }
    return n <= FEW || str_doubled(key, (size_t)n) < 0 || fail(s, twice);
}

static bool object(struct scan *s, int depth)
{
    if (s->p == s->end) return fail(s, "object cut short");
    if (depth > MP_DEPTH_MAX) return fail(s, "nested too deep");
    if (++s->objects > MP_OBJECTS_MAX) return fail(s, "more than 131072 objects in one record");
    unsigned c = *s->p++;
    uint64_t x;
    if (c <= 0x7f || c >= 0xe0 || c == 0xc0 || c == 0xc2 || c == 0xc3) return true;
    if (c <= 0x8f) return pairs(s, c & 15, depth + 1);
    if (c <= 0x9f) return items(s, c & 15, depth + 1);
    if (c <= 0xbf) return bytes(s, c & 31, true);
    static const char longer[] = "number or length not in its shortest form";
    switch (c) {
    case 0xc4:
        return number(s, 1, &x) && bytes(s, x, false);
    case 0xc5:
        return number(s, 2, &x) && (x > 0xff || fail(s, longer)) && bytes(s, x, false);
    case 0xc6:
        return number(s, 4, &x) && (x > 0xffff || fail(s, longer)) && bytes(s, x, false);
    case 0xcb: {
        if (!number(s, 8, &x)) return false;
        bool nan = (x & 0x7fffffffffffffffu) > 0x7ff0000000000000u;
        return !nan || x == 0x7ff8000000000000u || fail(s, "NaN not in its one form");
    }
    case 0xcc:
        return number(s, 1, &x) && (x > 0x7f || fail(s, longer));
    case 0xcd:
        return number(s, 2, &x) && (x > 0xff || fail(s, longer));
    case 0xce:
        return number(s, 4, &x) && (x > 0xffff || fail(s, longer));
    case 0xcf:
        return number(s, 8, &x) && (x > 0xffffffff || fail(s, longer));
    case 0xd0:
        return number(s, 1, &x) && ((int8_t)x < -32 || fail(s, longer));
    case 0xd1:
        return number(s, 2, &x) && ((int16_t)x < -128 || fail(s, longer));
    case 0xd2:
        return number(s, 4, &x) && ((int32_t)x < -32768 || fail(s, longer));
    case 0xd3:
        return number(s, 8, &x) && ((int64_t)x < INT32_MIN || fail(s, longer));
    case 0xd9:
        return number(s, 1, &x) && (x > 31 || fail(s, longer)) && bytes(s, x, true);
    case 0xda:
        return number(s, 2, &x) && (x > 0xff || fail(s, longer)) && bytes(s, x, true);
    case 0xdb:
        return number(s, 4, &x) && (x > 0xffff || fail(s, longer)) && bytes(s, x, true);
    case 0xdc:
        return number(s, 2, &x) && (x > 15 || fail(s, longer)) && items(s, x, depth + 1);
    case 0xdd:
        return number(s, 4, &x) && (x > 0xffff || fail(s, longer)) && items(s, x, depth + 1);
    case 0xde:
        return number(s, 2, &x) && (x > 15 || fail(s, longer)) && pairs(s, x, depth + 1);
    default:
        return fail(s, "type that the format does not use");
    }
}

size_t mp_scan(const void *p, size_t n, const char **why)
{
    struct scan s = {.p = p, .end = (const unsigned char *)p + n};
    if (object(&s, 1)) return (size_t)(s.p - (const unsigned char *)p);
    *why = s.why;
    return 0;
}

/* ---- writing ---- */
static int sink(void *b, const char *p, size_t n)
{
    buf_add(b, p, n);
    return 0;
}
static msgpack_packer packer(struct buf *b)
{
    msgpack_packer k;
    msgpack_packer_init(&k, b, sink);
    return k;
}

void mp_put_nil(struct buf *b)
{
    msgpack_packer k = packer(b);
    msgpack_pack_nil(&k);
}
void mp_put_bool(struct buf *b, bool x)
{
    msgpack_packer k = packer(b);
    if (x)
        msgpack_pack_true(&k);
    else
        msgpack_pack_false(&k);
}
void mp_put_int(struct buf *b, int64_t x)
{
    msgpack_packer k = packer(b);
    msgpack_pack_int64(&k, x);
}
void mp_put_uint(struct buf *b, uint64_t x)
{
    msgpack_packer k = packer(b);
    msgpack_pack_uint64(&k, x);
}
void mp_put_f64(struct buf *b, double x)
{
    if (isnan(x)) { /* sign and payload of a NaN depend on the machine */
        buf_add(b, "\xcb\x7f\xf8\0\0\0\0\0\0", 9);
        return;
    }
    msgpack_packer k = packer(b);
    msgpack_pack_double(&k, x);
}
void mp_put_str(struct buf *b, const char *s, size_t n)
{
    msgpack_packer k = packer(b);
    msgpack_pack_str(&k, n);
    buf_add(b, s, n);
}
void mp_put_strz(struct buf *b, const char *s) { mp_put_str(b, s, strlen(s)); }
void mp_put_lossy(struct buf *b, const char *s, size_t n)
{
    struct buf t = {0};
    size_t i = utf8_valid(s, n);
    if (i == n) {
        mp_put_str(b, s, n);
        return;
    }
    buf_add(&t, s, i);
    while (i < n) {
        buf_add(&t, "\xef\xbf\xbd", 3);
        i++;
        size_t k = utf8_valid(s + i, n - i);
        buf_add(&t, s + i, k);
        i += k;
    }
    mp_put_str(b, t.p, t.n);
    buf_fini(&t);
}
void mp_put_bin(struct buf *b, const void *p, size_t n)
{
    msgpack_packer k = packer(b);
    msgpack_pack_bin(&k, n);
    buf_add(b, p, n);
}
void mp_put_array(struct buf *b, uint32_t n)
{
    msgpack_packer k = packer(b);
    msgpack_pack_array(&k, n);
}
void mp_put_map(struct buf *b, uint32_t n)
{
    msgpack_packer k = packer(b);
    msgpack_pack_map(&k, n);
}

/* ---- reading: struct mp_value is msgpack_object under a name of ours ---- */
struct mp_tree {
    msgpack_unpacked u;
};
static const msgpack_object *obj(const struct mp_value *v) { return (const msgpack_object *)(const void *)v; }
static const struct mp_value *val(const msgpack_object *o) { return (const struct mp_value *)(const void *)o; }

struct mp_tree *mp_tree_new(void)
{
    struct mp_tree *t = mem_alloc(1, sizeof *t);
    msgpack_unpacked_init(&t->u);
    return t;
}
void mp_tree_free(struct mp_tree *t)
{
    if (!t) return;
    msgpack_unpacked_destroy(&t->u);
    free(t);
}
const struct mp_value *mp_parse(struct mp_tree *t, const void *p, size_t n)
{
    size_t off = 0;
    return msgpack_unpack_next(&t->u, p, n, &off) == MSGPACK_UNPACK_SUCCESS && off == n ? val(&t->u.data) : NULL;
}
bool mp_is_nil(const struct mp_value *v) { return obj(v)->type == MSGPACK_OBJECT_NIL; }
bool mp_bool(const struct mp_value *v, bool *x)
{
    if (obj(v)->type != MSGPACK_OBJECT_BOOLEAN) return false;
    *x = obj(v)->via.boolean;
    return true;
}
bool mp_uint(const struct mp_value *v, uint64_t *x)
{
    if (obj(v)->type != MSGPACK_OBJECT_POSITIVE_INTEGER) return false;
    *x = obj(v)->via.u64;
    return true;
}
bool mp_int(const struct mp_value *v, int64_t *x)
{
    if (obj(v)->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
        *x = obj(v)->via.i64;
        return true;
    }
    uint64_t u;
    if (!mp_uint(v, &u) || u > INT64_MAX) return false;
    *x = (int64_t)u;
    return true;
}
bool mp_f64(const struct mp_value *v, double *x)
{
    if (obj(v)->type != MSGPACK_OBJECT_FLOAT64) return false;
    *x = obj(v)->via.f64;
    return true;
}
bool mp_str(const struct mp_value *v, struct str *s)
{
    if (obj(v)->type != MSGPACK_OBJECT_STR) return false;
    *s = (struct str){obj(v)->via.str.ptr, obj(v)->via.str.size};
    return true;
}
bool mp_bin(const struct mp_value *v, struct str *s)
{
    if (obj(v)->type != MSGPACK_OBJECT_BIN) return false;
    *s = (struct str){obj(v)->via.bin.ptr, obj(v)->via.bin.size};
    return true;
}
bool mp_array(const struct mp_value *v, uint32_t *n)
{
    if (obj(v)->type != MSGPACK_OBJECT_ARRAY) return false;
    *n = obj(v)->via.array.size;
    return true;
}
bool mp_map(const struct mp_value *v, uint32_t *n)
{
    if (obj(v)->type != MSGPACK_OBJECT_MAP) return false;
    *n = obj(v)->via.map.size;
    return true;
}
const struct mp_value *mp_at(const struct mp_value *a, uint32_t i) { return val(&obj(a)->via.array.ptr[i]); }
struct str mp_key(const struct mp_value *m, uint32_t i)
{
    const msgpack_object *k = &obj(m)->via.map.ptr[i].key;
    return (struct str){k->via.str.ptr, k->via.str.size};
}
const struct mp_value *mp_val(const struct mp_value *m, uint32_t i) { return val(&obj(m)->via.map.ptr[i].val); }
void mp_put_value(struct buf *b, const struct mp_value *v)
{
    msgpack_packer k = packer(b);
    msgpack_pack_object(&k, *obj(v));
}

json_t *mp_json(const struct mp_value *v)
{
    const msgpack_object *o = obj(v);
    json_t *j;
    switch (o->type) {
    case MSGPACK_OBJECT_BOOLEAN:
        return json_boolean(o->via.boolean);
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        return o->via.u64 <= INT64_MAX ? json_integer((json_int_t)o->via.u64) : json_real((double)o->via.u64);
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        return json_integer(o->via.i64);
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        return isfinite(o->via.f64) ? json_real(o->via.f64) : json_null();
    case MSGPACK_OBJECT_STR:
        return json_stringn(o->via.str.ptr, o->via.str.size);
    case MSGPACK_OBJECT_BIN:
        j = json_array();
        for (uint32_t i = 0; i < o->via.bin.size; i++)
            json_array_append_new(j, json_integer((unsigned char)o->via.bin.ptr[i]));
        return j;
    case MSGPACK_OBJECT_ARRAY:
        j = json_array();
        for (uint32_t i = 0; i < o->via.array.size; i++) json_array_append_new(j, mp_json(mp_at(v, i)));
        return j;
    case MSGPACK_OBJECT_MAP:
        j = json_object();
        for (uint32_t i = 0; i < o->via.map.size; i++) {
            struct str s = mp_key(v, i);
            char *key = mem_dup(s.p, s.n);
            json_object_set_new(j, key, mp_json(mp_val(v, i)));
            free(key);
        }
        return j;
    default:
        return json_null();
    }
}
