/* adapter_json.c: see adapter_json.h. */
#include "libcommon/peft/adapter_json.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/peft/adapter.h"
#include "libcommon/peft/match.h"
#include "libcommon/peft/method.h"

static void *value_of(const struct adapter *a, const struct json_key *k)
{
    return (k->shared ? (char *)&a->shared : (char *)a->config) + k->off;
}

static json_t *literal(const char *text) { return json_loads(text, JSON_DECODE_ANY, NULL); }

/* Index of s in "a|b|c", or -1. */
static int choice_of(const char *choices, const char *s)
{
    int i = 0;
    for (const char *p = choices; p && s && *p; i++) {
        size_t n = strcspn(p, "|");
        if (n == strlen(s) && !memcmp(p, s, n)) return i;
        p += n + (p[n] == '|');
    }
    return -1;
}

static json_t *choice_json(const char *choices, int i)
{
    const char *p = choices;
    for (; i > 0; i--) p += strcspn(p, "|") + 1;
    return json_stringn(p, strcspn(p, "|"));
}

/* ---- writing ---- */

static json_t *list_json(const struct strlist *l)
{
    json_t *t = json_array();
    for (int i = 0; i < l->n; i++) json_array_append_new(t, json_string(l->v[i]));
    return t;
}

/* PEFT resolves all-linear to names; they keep the order of the sites. Without a model they are names already. */
static json_t *targets_json(const struct adapter_opts *o, bool has_layers, const struct model *m, struct err *e)
{
    const struct strlist *target = &o->target;
    if (!m) return list_json(target);
    struct match *match = match_new(m, o, e);
    if (!match) return NULL;
    json_t *t;
    if (o->layers.n && !has_layers) {
        t = json_array();
        for (int i = 0; i < m->n_site; i++)
            if (match_site(match, &m->site[i])) json_array_append_new(t, json_string(m->site[i].path));
    } else if (match_regex(match)) {
        t = json_string(match_regex(match));
    } else if (target->n == 1 && !strcmp(target->v[0], "all-linear")) {
        int n;
        const char **leaf = match_leaves(m, &n);
        t = json_array();
        for (int i = 0; i < n; i++) json_array_append_new(t, json_string(leaf[i]));
        free(leaf);
    } else {
        t = list_json(target);
    }
    match_free(match);
    return t;
}

static json_t *exclude_json(const struct strlist *l, const struct model *m)
{
    char *expression = match_expression(m, l);
    json_t *t = !l->n ? NULL : expression ? json_string(expression) : list_json(l);
    free(expression);
    return t;
}

static json_t *layers_json(const struct strlist *l)
{
    json_t *t = l->n ? json_array() : json_null();
    for (int i = 0, first, last; i < l->n; i++)
        for (match_layers(l->v[i], &first, &last); first <= last; first++)
            json_array_append_new(t, json_integer(first));
    return t;
}

/* A whole number as an integer. */
static json_t *whole(double x) { return x == floor(x) ? json_integer((json_int_t)x) : json_real(x); }

static json_t *map_json(const struct strlist *l)
{
    json_t *t = json_object();
    for (int i = 0; i < l->n; i++) {
        const char *eq = strrchr(l->v[i], '=');
        json_object_setn_new(t, l->v[i], (size_t)(eq - l->v[i]), whole(strtod(eq + 1, NULL)));
    }
    return t;
}

static bool has_kind(const struct json_key *keys, enum json_kind kind)
{
    while (keys->name && keys->kind != kind) keys++;
    return keys->name != NULL;
}

static json_t *value_json(const struct adapter *a, const struct json_key *keys, const struct json_key *k,
                          const struct model *m, struct err *e)
{
    const void *v = value_of(a, k);
    const double x = k->kind == KEY_WHOLE || k->kind == KEY_REAL ? *(const double *)v : 0;
    switch (k->kind) {
    case KEY_INT:
        return json_integer(*(const int64_t *)v);
    case KEY_REAL:
        return json_real(x);
    case KEY_WHOLE:
        return whole(x);
    case KEY_BOOL:
        return json_boolean(*(const bool *)v);
    case KEY_MARK:
        return *(const bool *)v ? json_true() : NULL;
    case KEY_ENUM:
        return choice_json(k->choices, *(const int *)v);
    case KEY_STR:
        return *(char *const *)v ? json_string(*(char *const *)v) : json_null();
    case KEY_TARGETS:
        return targets_json(&a->shared, has_kind(keys, KEY_LAYERS), m, e);
    case KEY_EXCLUDE:
        return exclude_json(v, m);
    case KEY_LIST:
        return list_json(v);
    case KEY_NAMES:
        return ((const struct strlist *)v)->n ? list_json(v) : json_null();
    case KEY_LAYERS:
        return layers_json(v);
    case KEY_MAP:
        return map_json(v);
    default:
        return k->text ? literal(k->text) : NULL;
    }
}

int adapter_json_write(const struct adapter *a, const struct json_key *keys, const struct model *m, json_t *out,
                       struct err *e)
{
    for (const struct json_key *k = keys; k->name; k++) {
        json_t *v = value_json(a, keys, k, m, e);
        if (v)
            json_object_set_new(out, k->name, v);
        else if (e->id)
            return -e->id;
    }
    return 0;
}

/* ---- reading ---- */

static bool says_nothing(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) || (json_is_object(v) && !json_object_size(v)) ||
           (json_is_array(v) && !json_array_size(v)) || (json_is_string(v) && !json_string_length(v));
}

static int refuse(const char *name, const json_t *v, struct err *e)
{
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    err_set(e, E_VERSION, "adapter_config.json: %s is %s, which this version does not support", err_quotez(name),
            text ? err_quotez(text) : "set");
    free(text);
    return -e->id;
}

/* A string, or a list of them, as the adapter's own. */
static int read_list(struct adapter *a, struct strlist *l, const char *name, const json_t *v, struct err *e)
{
    const size_t n = json_is_string(v) ? 1 : json_array_size(v);
    if (n > 4096 || (!json_is_string(v) && !json_is_array(v)))
        return err_set(e, E_ADAPTER, "adapter_config.json: %s is neither a string nor a list of names", name);
    *l = (struct strlist){0, adapter_own(a, mem_alloc(n + 1, sizeof *l->v))};
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_is_string(v) ? v : json_array_get(v, i);
        if (!json_is_string(s)) return err_set(e, E_ADAPTER, "adapter_config.json: %s[%zu] is no string", name, i);
        l->v[l->n++] = adapter_own(a, mem_dupz(json_string_value(s)));
    }
    return 0;
}

static int read_number(const struct json_key *k, void *to, const json_t *v, struct err *e)
{
    const double x = json_number_value(v);
    const bool whole = k->kind == KEY_INT;
    if (!json_is_number(v) || (whole && x != floor(x)) || ((k->lo != 0 || k->hi != 0) && !(x >= k->lo && x <= k->hi)))
        return err_set(e, E_ADAPTER, "adapter_config.json: %s is not a %s from %g to %g", k->name,
                       whole ? "whole number" : "number", k->lo, k->hi);
    if (whole)
        *(int64_t *)to = (int64_t)x;
    else
        *(double *)to = x;
    return 0;
}

static int read_layers(struct adapter *a, const struct json_key *k, struct strlist *l, const json_t *v, struct err *e)
{
    const size_t n = json_is_array(v) ? json_array_size(v) : 1;
    *l = (struct strlist){0, adapter_own(a, mem_alloc(n + 1, sizeof *l->v))};
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_integer(x) || json_integer_value(x) < 0 || json_integer_value(x) > INT_MAX)
            return err_set(e, E_ADAPTER, "adapter_config.json: %s is neither a number nor a list of them", k->name);
        l->v[l->n++] = adapter_own(a, mem_printf("%d", (int)json_integer_value(x)));
    }
    return 0;
}

static int read_map(struct adapter *a, const struct json_key *k, struct strlist *l, const json_t *v, struct err *e)
{
    const size_t n = json_object_size(v);
    const char *name;
    json_t *x;
    if (!json_is_object(v)) return err_set(e, E_ADAPTER, "adapter_config.json: %s is no object", k->name);
    *l = (struct strlist){0, adapter_own(a, mem_alloc(n + 1, sizeof *l->v))};
    json_object_foreach((json_t *)v, name, x)
    {
        const double value = json_number_value(x);
        if (!json_is_number(x) || value < k->lo || value > k->hi)
            return err_set(e, E_ADAPTER, "adapter_config.json: %s[%s] is not a number from %g to %g", k->name,
                           err_quotez(name), k->lo, k->hi);
        l->v[l->n++] = adapter_own(a, mem_printf("%s=%.17g", name, value));
    }
    return 0;
}

/* A string is an expression to PEFT even if it looks like a name, which then is the whole path. */
static int read_exclude(struct adapter *a, const struct json_key *k, struct strlist *l, const json_t *v,
                        const struct model *m, struct err *e)
{
    *l = (struct strlist){0};
    if (json_is_null(v)) return 0;
    int rc = read_list(a, l, k->name, v, e);
    if (rc || !json_is_string(v)) return rc;
    char *expression = match_expression(m, l);
    if (!expression) l->v[0] = adapter_own(a, mem_printf("(%s)", l->v[0]));
    free(expression);
    return 0;
}

static int read_value(struct adapter *a, const struct json_key *k, void *to, const json_t *v, const struct model *m,
                      struct err *e)
{
    switch (k->kind) {
    case KEY_INT:
    case KEY_REAL:
    case KEY_WHOLE:
        return read_number(k, to, v, e);
    case KEY_BOOL:
    case KEY_MARK:
        if (!json_is_boolean(v)) return err_set(e, E_ADAPTER, "adapter_config.json: %s is no boolean", k->name);
        *(bool *)to = json_is_true(v);
        return 0;
    case KEY_ENUM: {
        const int i = choice_of(k->choices, json_string_value(v));
        if (i < 0) return refuse(k->name, v, e);
        *(int *)to = i;
        return 0;
    }
    case KEY_STR:
        if (!json_is_null(v) && !json_is_string(v))
            return err_set(e, E_ADAPTER, "adapter_config.json: %s is no string", k->name);
        *(char **)to = json_is_string(v) ? adapter_own(a, mem_dupz(json_string_value(v))) : NULL;
        return 0;
    case KEY_LIST:
        if (json_is_string(v)) return refuse(k->name, v, e); /* one expression */
        return read_list(a, to, k->name, v, e);
    case KEY_NAMES:
        return json_is_null(v) ? 0 : read_list(a, to, k->name, v, e);
    case KEY_EXCLUDE:
        return read_exclude(a, k, to, v, m, e);
    case KEY_LAYERS:
        return json_is_null(v) ? 0 : read_layers(a, k, to, v, e);
    case KEY_MAP:
        return read_map(a, k, to, v, e);
    case KEY_TARGETS:
        if (json_is_array(v) && !json_array_size(v))
            return err_set(e, E_ADAPTER, "adapter_config.json: %s is empty", k->name);
        return read_list(a, to, k->name, v, e);
    default:
        return 0;
    }
}

static int read_key(struct adapter *a, const struct json_key *k, const json_t *v, const struct model *m, struct err *e)
{
    const bool value = k->kind < KEY_NEUTRAL;
    json_t *fixed = k->text && (!value || !v || json_is_null(v)) ? literal(k->text) : NULL;
    int rc = 0;
    if (value) {
        if (fixed)
            rc = read_value(a, k, value_of(a, k), fixed, m, e);
        else if (!v)
            rc = err_set(e, E_ADAPTER, "adapter_config.json: %s is missing", k->name);
        else
            rc = read_value(a, k, value_of(a, k), v, m, e);
    } else if (k->kind == KEY_ACCEPT) {
        if (v && !json_equal(v, fixed) && choice_of(k->choices, json_string_value(v)) < 0) rc = refuse(k->name, v, e);
    } else if (k->kind == KEY_NEUTRAL) {
        if (!says_nothing(v) && !json_equal(v, fixed)) rc = refuse(k->name, v, e);
    }
    json_decref(fixed);
    return rc;
}

int adapter_json_read(struct adapter *a, const struct json_key *keys, const char *const *common, const struct model *m,
                      const json_t *in, struct err *e)
{
    for (const struct json_key *k = keys; k->name; k++) {
        int rc = read_key(a, k, json_object_get(in, k->name), m, e);
        if (rc) return rc;
    }
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)in, name, v)
    {
        bool known = says_nothing(v);
        for (const struct json_key *k = keys; k->name && !known; k++) known = !strcmp(k->name, name);
        for (int i = 0; common[i] && !known; i++) known = !strcmp(common[i], name);
        if (!known) return refuse(name, v, e);
    }
    return 0;
}
