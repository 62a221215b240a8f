/* normalize: apply the normalisers of a tokenizer in order, keeping for each byte the offset that it came from. */
#include <string.h>

#include "libcommon/token/impl.h"
#include "libcommon/token/unicode.h"

static void put(struct norm_buf *o, const char *s, size_t n, const uint32_t *map, uint32_t at, bool want_map)
{
    buf_add(&o->text, s, n);
    if (want_map)
        for (size_t i = 0; i < n; i++) u32vec_add(&o->map, map ? map[i] : at);
}

static const char *find(const char *s, const char *end, const char *what, size_t n)
{
    return n == 1 ? memchr(s, *what, (size_t)(end - s)) : memmem(s, (size_t)(end - s), what, n);
}

bool tokenizer_normalize(const struct tokenizer *t, const char *s, size_t n, uint32_t base, unsigned flags,
                         struct norm_buf *a, struct norm_buf *b, struct norm_buf **result)
{
    struct norm_buf *in = NULL, *out = a;
    bool want_map = (flags & NORM_MAP) != 0;
    if (n == 0) return false;
    for (int i = 0; i < t->n_norm; i++) {
        const struct norm *o = &t->norm[i];
        if (o->type == NORM_NFC && unicode_nfc_plain(s, n)) continue;
        if (o->type == NORM_PREPEND && (flags & NORM_BARE)) continue;
        if (o->type == NORM_REPLACE && !find(s, s + n, o->from, o->n_from)) continue;
        if (!in && want_map) { /* the first change: the map of the text as it is */
            b->map.n = 0;
            for (size_t k = 0; k < n; k++) u32vec_add(&b->map, base + (uint32_t)k);
        }
        const uint32_t *map = want_map ? (in ? in->map.v : b->map.v) : NULL;
        out->text.n = out->map.n = 0;
        if (o->type == NORM_NFC) {
            unicode_nfc(s, n, &out->text, want_map ? &out->map : NULL, map);
        } else if (o->type == NORM_PREPEND) {
            put(out, o->to, o->n_to, NULL, map ? map[0] : 0, want_map);
            put(out, s, n, map, 0, want_map);
        } else {
            const char *p = s, *end = s + n, *q;
            for (; (q = find(p, end, o->from, o->n_from)) != NULL; p = q + o->n_from) {
                put(out, p, (size_t)(q - p), map ? map + (p - s) : NULL, 0, want_map);
                put(out, o->to, o->n_to, NULL, map ? map[q - s] : 0, want_map);
            }
            put(out, p, (size_t)(end - p), map ? map + (p - s) : NULL, 0, want_map);
        }
        in = out;
        out = in == a ? b : a;
        s = in->text.p;
        n = in->text.n;
        if (n == 0) break;
    }
    *result = in;
    return in != NULL;
}
