/* jsonrecord: see jsonrecord.h. One loop over the field table, like record.c. */
#include "libcommon/stream/jsonrecord.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/stream/record.h"

#define TO(r, f, type) (*(type *)(void *)((char *)(r) + (f)->off))

static int wrong(const struct field *f, const char *what, const char **why)
{
    static _Thread_local char text[160];
    snprintf(text, sizeof text, "%s: expected %s", f->key, what);
    *why = text;
    return -1;
}

static bool uint_of(const json_t *v, uint64_t most, uint64_t *x)
{
    json_int_t i = json_integer_value(v);
    *x = (uint64_t)i;
    return json_is_integer(v) && i >= 0 && (uint64_t)i <= most;
}

/* Finite, or "NaN" and the infinities as json_number spells them. */
static bool number_of(const json_t *v, double *x)
{
    const char *s = json_string_value(v);
    *x = json_number_value(v);
    if (!s) return json_is_number(v);
    *x = !strcmp(s, "NaN") ? (double)NAN : !strcmp(s, "-Infinity") ? -(double)INFINITY : (double)INFINITY;
    return !strcmp(s, "NaN") || !strcmp(s, "Infinity") || !strcmp(s, "-Infinity");
}

static void count_to(struct record *r, const struct field *f, size_t n)
{
    *(uint32_t *)(void *)((char *)r + f->n_off) = (uint32_t)n;
}

static int get_ids(struct record *r, const struct field *f, const json_t *v, struct json_room *m, const char **why)
{
    size_t n = json_array_size(v);
    uint64_t x;
    m->ids = mem_grow(m->ids, &m->ids_cap, n + 1, sizeof *m->ids);
    for (size_t i = 0; i < n; i++, m->ids[i - 1] = (uint32_t)x)
        if (!uint_of(json_array_get(v, i), UINT32_MAX, &x)) return wrong(f, "a list of token ids", why);
    TO(r, f, uint32_t *) = m->ids;
    count_to(r, f, n);
    return json_is_array(v) ? 0 : wrong(f, "a list of token ids", why);
}

static int get_mask(struct record *r, const struct field *f, const json_t *v, struct json_room *m, const char **why)
{
    size_t n = json_array_size(v);
    uint64_t x;
    m->mask = mem_grow(m->mask, &m->mask_cap, n + 1, 1);
    for (size_t i = 0; i < n; i++, m->mask[i - 1] = (uint8_t)x)
        if (!uint_of(json_array_get(v, i), 1, &x)) return wrong(f, "a list of 0 and 1", why);
    TO(r, f, uint8_t *) = m->mask;
    if (!json_is_array(v) || n != r->tokens.n) return wrong(f, "a list of 0 and 1, as long as ids", why);
    return 0;
}

static int get_scores(struct record *r, const struct field *f, json_t *v, struct json_room *m, const char **why)
{
    const char *key;
    json_t *x;
    size_t n = 0;
    if (!json_is_object(v)) return wrong(f, "an object of numbers", why);
    m->value = mem_grow(m->value, &m->value_cap, json_object_size(v) + 1, sizeof *m->value);
    json_object_foreach(v, key, x)
    {
        m->value[n].key = key;
        if (!number_of(x, &m->value[n++].value)) return wrong(f, "an object of numbers", why);
    }
    TO(r, f, struct named_value *) = m->value;
    count_to(r, f, n);
    return 0;
}

static int get_parts(struct record *r, const struct field *f, const json_t *v, struct json_room *m, const char **why)
{
    size_t n = json_array_size(v);
    m->part = mem_grow(m->part, &m->part_cap, n + 1, sizeof *m->part);
    for (size_t i = 0; i < n; i++) {
        const json_t *p = json_array_get(v, i), *text = json_object_get(p, "text"),
                     *train = json_object_get(p, "train");
        if (json_object_size(p) != 2 || !json_is_string(text) || !json_is_boolean(train))
            return wrong(f, "a list of objects with text and train", why);
        m->part[i] = (struct part){{json_string_value(text), json_string_length(text)}, json_is_true(train)};
    }
    TO(r, f, struct part *) = m->part;
    count_to(r, f, n);
    return json_is_array(v) && n ? 0 : wrong(f, "a list of parts", why);
}

static int get(struct record *r, const struct field *f, json_t *v, struct json_room *m, const char **why)
{
    uint64_t u;
    switch (f->type) {
    case FIELD_U64:
        return uint_of(v, INT64_MAX, &TO(r, f, uint64_t)) ? 0 : wrong(f, "a whole number", why);
    case FIELD_U32:
        if (!uint_of(v, UINT32_MAX, &u)) return wrong(f, "a whole number", why);
        TO(r, f, uint32_t) = (uint32_t)u;
        return 0;
    case FIELD_I64:
        TO(r, f, int64_t) = json_integer_value(v);
        return json_is_integer(v) ? 0 : wrong(f, "a whole number", why);
    case FIELD_F64:
        TO(r, f, double) = json_number_value(v);
        return json_is_number(v) ? 0 : wrong(f, "a number", why);
    case FIELD_TEXT:
    case FIELD_LOSSY:
        TO(r, f, struct str) = (struct str){json_string_value(v), json_string_length(v)};
        return json_is_string(v) ? 0 : wrong(f, "a string", why);
    case FIELD_NAME:
        TO(r, f, const char *) = json_string_value(v);
        return json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v) ? 0 : wrong(f, "a name", why);
    case FIELD_IDS:
        return get_ids(r, f, v, m, why);
    case FIELD_MASK:
        return get_mask(r, f, v, m, why);
    case FIELD_SCORES:
        return get_scores(r, f, v, m, why);
    case FIELD_PARTS:
        return get_parts(r, f, v, m, why);
    }
    return wrong(f, "a field of a known type", why);
}

/* What a record may leave out, as others make it. */
static bool may_lack(const struct record *r, const struct field *f)
{
    static const char *const of_tokens[] = {"n_prompt", "prompt", "target"};
    if (!strcmp(f->key, "row")) return true;
    if (f->when == WHEN_PAIR) return r->example.n_parts > 0;
    if (f->when != WHEN_ALWAYS) return true;
    for (int i = 0; r->kind == STREAM_TOKENS && i < 3; i++)
        if (!strcmp(f->key, of_tokens[i])) return true;
    return false;
}

static const struct field *field_named(const struct field *f, int n, const char *key)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(f[i].key, key)) return &f[i];
    return NULL;
}

int json_record_kind(const json_t *o)
{
    for (int kind = 0; kind < STREAM_KINDS; kind++) {
        int n;
        const char *key;
        json_t *v;
        const struct field *f = record_fields((enum stream_kind)kind, &n);
        const struct record parts = {.kind = (enum stream_kind)kind,
                                     .example.n_parts = json_object_get(o, "parts") != NULL};
        bool fits = json_object_size(o) > 0;
        json_object_foreach((json_t *)(uintptr_t)o, key, v) fits = fits && field_named(f, n, key);
        for (int i = 0; i < n && fits; i++) fits = json_object_get(o, f[i].key) || may_lack(&parts, &f[i]);
        if (fits) return kind;
    }
    return -1;
}

int json_record_get(struct record *r, const json_t *o, uint64_t row, struct json_room *m, const char **why)
{
    int n;
    const char *key;
    json_t *v;
    const struct field *f = record_fields(r->kind, &n);
    *r = (struct record){.kind = r->kind};
    if (r->kind == STREAM_EXAMPLES) r->example.n_parts = json_object_get(o, "parts") != NULL; /* instead of the pair */
    json_object_foreach((json_t *)(uintptr_t)o, key, v)
    {
        static _Thread_local char text[160];
        if (field_named(f, n, key)) continue;
        snprintf(text, sizeof text, "unknown field %.80s", err_quotez(key));
        *why = text;
        return -1;
    }
    if (n && !strcmp(f[0].key, "row")) TO(r, &f[0], uint64_t) = row;
    for (int i = 0; i < n; i++) {
        if (!(v = json_object_get(o, f[i].key))) {
            if (!may_lack(r, &f[i])) return wrong(&f[i], "this field", why);
            continue;
        }
        if (r->kind == STREAM_EXAMPLES && f[i].when == WHEN_PAIR && r->example.n_parts)
            return wrong(&f[i], "parts or a pair, not both", why);
        if (get(r, &f[i], v, m, why)) return -1;
    }
    if (r->kind == STREAM_TOKENS && !json_object_get(o, "n_prompt"))
        while (r->tokens.n_prompt < r->tokens.n && !r->tokens.mask[r->tokens.n_prompt]) r->tokens.n_prompt++;
    return 0;
}

void json_room_fini(struct json_room *m)
{
    free(m->ids);
    free(m->mask);
    free(m->part);
    free(m->value);
}
