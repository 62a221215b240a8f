/* mp: msgpack as the stream uses it: the only file that sees msgpack-c.
 *
 * One encoding per value, so that digests are stable: integers and lengths in their shortest form, floats as f64, NaN
 * only as 0x7ff8000000000000, text as valid UTF-8 str, map keys are str and unique, no ext types. mp_scan checks that,
 * together with depth and container sizes, before msgpack-c sees a byte: its unpacker allocates from declared counts.
 */
#ifndef PEFT_STREAM_MP_H
#define PEFT_STREAM_MP_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "libcommon/base/mem.h"

/* MP_OBJECTS_MAX: in one value, those inside of it counted; decoded they take some 4 MiB. */
enum { MP_DEPTH_MAX = 32, MP_ARRAY_MAX = 65536, MP_MAP_MAX = 1024, MP_OBJECTS_MAX = 1 << 17 };

/* Length in bytes of the canonical object at p[0..n), or 0 with *why saying what is wrong ("map with two equal keys").
 */
size_t mp_scan(const void *p, size_t n, const char **why);

/* ---- writing: append to a buffer ---- */
void mp_put_nil(struct buf *b);
void mp_put_bool(struct buf *b, bool x);
void mp_put_int(struct buf *b, int64_t x);
void mp_put_uint(struct buf *b, uint64_t x);
void mp_put_f64(struct buf *b, double x);
void mp_put_str(struct buf *b, const char *s, size_t n);
void mp_put_strz(struct buf *b, const char *s);
void mp_put_lossy(struct buf *b, const char *s, size_t n); /* each byte that belongs to no character becomes U+FFFD */
void mp_put_bin(struct buf *b, const void *p, size_t n);
void mp_put_array(struct buf *b, uint32_t n); /* n objects follow */
void mp_put_map(struct buf *b, uint32_t n);   /* n times key, value follow */

/* ---- reading: a tree over scanned bytes; text and binary stay where they are ---- */
struct mp_tree; /* owns the nodes of one object */
struct mp_value;
struct mp_tree *mp_tree_new(void);
void mp_tree_free(struct mp_tree *t);
/* The object of p[0..n), which mp_scan accepted. Valid until the next call. NULL: msgpack-c refused it. */
const struct mp_value *mp_parse(struct mp_tree *t, const void *p, size_t n);
bool mp_is_nil(const struct mp_value *v);
bool mp_bool(const struct mp_value *v, bool *x);
bool mp_uint(const struct mp_value *v, uint64_t *x);
bool mp_int(const struct mp_value *v, int64_t *x);
bool mp_f64(const struct mp_value *v, double *x);
bool mp_str(const struct mp_value *v, struct str *s);
bool mp_bin(const struct mp_value *v, struct str *s);
bool mp_array(const struct mp_value *v, uint32_t *n);
bool mp_map(const struct mp_value *v, uint32_t *n);
const struct mp_value *mp_at(const struct mp_value *array, uint32_t i);
struct str mp_key(const struct mp_value *map, uint32_t i);
const struct mp_value *mp_val(const struct mp_value *map, uint32_t i);
void mp_put_value(struct buf *b, const struct mp_value *v); /* the same bytes again */
json_t *mp_json(const struct mp_value *v);                  /* new reference; binary becomes a list of bytes */
#endif
