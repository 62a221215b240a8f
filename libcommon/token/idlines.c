/* idlines: text filters around tokenizer_encode and tokenizer_decode. */
#include "libcommon/token/idlines.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/num.h"

/* The value of one JSON line, of the type expected. */
static json_t *parse(const char *s, size_t n, int type, const char *name, long long line, struct err *e)
{
    json_error_t je;
    json_t *j = json_loadb(s, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    if (j && json_typeof(j) == (json_type)type) return j;
    err_set(e, E_JSON, "%s:%lld: expected a JSON %s, found %s", name, line,
            type == JSON_STRING ? "string" : "array of ids", err_quote(s, n));
    json_decref(j);
    return NULL;
}

static int encode_line(const struct tokenizer *t, struct str s, bool bos, unsigned flags, bool json, struct u32vec *ids,
                       struct buf *b, struct err *e)
{
    ids->n = 0;
    if (bos) u32vec_add(ids, (uint32_t)tokenizer_bos(t));
    int rc = tokenizer_encode(t, s, flags, ids, NULL, e);
    if (rc < 0) return rc;
    b->n = 0;
    if (json) buf_addc(b, '[');
    for (size_t i = 0; i < ids->n; i++) {
        char num[16], *p = num + sizeof num;
        uint32_t x = ids->v[i];
        do *--p = (char)('0' + x % 10);
        while (x /= 10);
        if (i) buf_addc(b, json ? ',' : ' ');
        buf_add(b, p, (size_t)(num + sizeof num - p));
    }
    buf_addz(b, json ? "]\n" : "\n");
    return 0;
}

int64_t idlines_encode(const struct tokenizer *t, FILE *in, const char *name, bool bos, unsigned flags, bool json,
                       struct out *o, struct err *e)
{
    char *line = NULL;
    size_t cap = 0;
    struct u32vec ids = {0};
    struct buf b = {0};
    int64_t n = 0;
    int rc = 0;
    for (ssize_t len; rc == 0 && (len = getline(&line, &cap, in)) >= 0;) {
        struct str s = {line, (size_t)len};
        json_t *j = NULL;
        n++;
        if (s.n && s.p[s.n - 1] == '\n') s.n--;
        if (json) {
            j = parse(s.p, s.n, JSON_STRING, name, n, e);
            if (j) s = (struct str){json_string_value(j), json_string_length(j)};
        }
        rc = json && !j ? -e->id : encode_line(t, s, bos, flags, json, &ids, &b, e);
        if (rc < 0) err_prefix(e, "%s:%lld: ", name, (long long)n);
        json_decref(j);
        if (rc == 0) rc = out_write(o, b.p, b.n, e);
    }
    if (rc == 0 && ferror(in)) rc = err_sys(e, E_IO, "%s: read", name);
    free(line);
    free(ids.v);
    buf_fini(&b);
    return rc < 0 ? rc : n;
}

static int read_ids(const char *s, size_t n, bool json, struct u32vec *ids, const char *name, long long line,
                    struct err *e)
{
    ids->n = 0;
    if (json) {
        json_t *j = parse(s, n, JSON_ARRAY, name, line, e);
        for (size_t i = 0; j && i < json_array_size(j); i++) {
            json_int_t x = json_integer_value(json_array_get(j, i));
            if (!json_is_integer(json_array_get(j, i)) || x < 0 || x > UINT32_MAX)
                err_set(e, E_JSON, "%s:%lld: element %zu is no id", name, line, i);
            u32vec_add(ids, (uint32_t)x);
        }
        json_decref(j);
        return -e->id;
    }
    for (size_t i = 0; i < n;) {
        size_t k = i;
        uint64_t x;
        while (k < n && !strchr(" \t\r,", s[k])) k++;
        if (k > i) {
            if (!num_u64(s + i, k - i, &x) || x > UINT32_MAX)
                return err_set(e, E_TOKENIZER, "%s:%lld: %s is no id", name, line, err_quote(s + i, k - i));
            u32vec_add(ids, (uint32_t)x);
        }
        i = k + 1;
    }
    return 0;
}

int64_t idlines_decode(const struct tokenizer *t, FILE *in, const char *name, bool json, struct out *o, struct err *e)
{
    char *line = NULL;
    size_t cap = 0;
    struct u32vec ids = {0};
    struct buf b = {0};
    int64_t n = 0;
    int rc = 0;
    for (ssize_t len; rc == 0 && (len = getline(&line, &cap, in)) >= 0;) {
        n++;
        if (len && line[len - 1] == '\n') len--;
        b.n = 0;
        rc = read_ids(line, (size_t)len, json, &ids, name, n, e);
        if (rc == 0 && (rc = tokenizer_decode(t, ids.v, ids.n, false, true, &b, e)) < 0)
            err_prefix(e, "%s:%lld: ", name, (long long)n);
        if (rc == 0 && json) {
            json_t *s = json_stringn(b.p ? b.p : "", b.n);
            char *text = s ? json_dumps(s, JSON_ENCODE_ANY) : NULL;
            if (!text) rc = err_set(e, E_ENCODING, "%s:%lld: the ids do not decode to valid UTF-8", name, (long long)n);
            b.n = 0;
            if (text) buf_addz(&b, text);
            free(text);
            json_decref(s);
        }
        buf_addc(&b, '\n');
        if (rc == 0) rc = out_write(o, b.p, b.n, e);
    }
    if (rc == 0 && ferror(in)) rc = err_sys(e, E_IO, "%s: read", name);
    free(line);
    free(ids.v);
    buf_fini(&b);
    return rc < 0 ? rc : n;
}
