/* parts: see parts.h. */
#include "libcommon/format/parts.h"
#include <jansson.h>
#include <string.h>
#include "libcommon/format/jsonl.h"

static json_t *field(const struct row *row, const char *name) { return json_object_get(row->object, name); }

bool row_has(const struct row *row, const char *name) { return field(row, name) != NULL; }

static int wrong(const struct row *row, size_t part, const char *what, struct err *e)
{
    if (part)
        err_set(e, E_JSON, "%s:%llu: parts: part %zu: %s", row->file, (unsigned long long)row->line, part, what);
    else
        err_set(e, E_JSON, "%s:%llu: parts: %s", row->file, (unsigned long long)row->line, what);
    return err_hint(e, "\"parts\": [{\"text\": \"Q: a\\nA:\", \"train\": false}, {\"text\": \" b\", \"train\": true}]; "
                       "with --prompt and --target it is a column like any other");
}

static int part_read(const struct row *row, size_t i, const json_t *j, struct part *to, struct err *e)
{
    char what[128];
    const char *key;
    json_t *v, *text = json_object_get(j, "text"), *train = json_object_get(j, "train");
    if (!json_is_object(j)) {
        snprintf(what, sizeof what, "is a %s, expected an object with text and train", jsonl_type(j));
        return wrong(row, i, what, e);
    }
    json_object_foreach((json_t *)(uintptr_t)j, key, v)
    {
        if (!strcmp(key, "text") || !strcmp(key, "train")) continue;
        snprintf(what, sizeof what, "unknown field %.80s", err_quotez(key));
        return wrong(row, i, what, e);
    }
    if (!text || !train) return wrong(row, i, text ? "field train is missing" : "field text is missing", e);
    if (!json_is_string(text)) {
        snprintf(what, sizeof what, "text is a %s, expected a string", jsonl_type(text));
        return wrong(row, i, what, e);
    }
    if (!json_is_boolean(train)) {
        snprintf(what, sizeof what, "train is a %s, expected true or false", jsonl_type(train));
        return wrong(row, i, what, e);
    }
    *to = (struct part){{json_string_value(text), json_string_length(text)}, json_is_true(train)};
    return 0;
}

int row_parts(const struct row *row, struct part_list *p, struct err *e)
{
    const json_t *list = field(row, "parts");
    char what[64];
    if (!json_is_array(list)) {
        snprintf(what, sizeof what, "is a %s, expected a list", jsonl_type(list));
        return wrong(row, 0, what, e);
    }
    size_t n = json_array_size(list);
    if (n == 0 || n > 65536) return wrong(row, 0, n ? "more than 65536 parts" : "the list is empty", e);
    p->v = mem_grow(p->v, &p->cap, n, sizeof *p->v);
    p->n = (uint32_t)n;
    for (size_t i = 0; i < n; i++)
        if (part_read(row, i + 1, json_array_get(list, i), &p->v[i], e)) return -e->id;
    return parts_last(p->v, p->n) < 0 ? wrong(row, 0, "none is to be trained on", e) : 0;
}

#define NAME_RULE "a name is 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or a digit"

int row_adapter_wrong(const struct row *row, const char *column, struct str s, struct err *e)
{
    err_set(e, E_JSON, "%s:%llu: %s is %s, expected the name of an adapter", row->file, (unsigned long long)row->line,
            column, err_quote(s.p, s.n));
    return err_hint(e, NAME_RULE);
}

int row_adapter(const struct row *row, const char **name, struct err *e)
{
    const json_t *j = field(row, "adapter");
    *name = json_string_value(j);
    if (!j || json_is_null(j)) return 0;
    if (*name && adapter_name_ok(*name)) return 0;
    if (*name) return row_adapter_wrong(row, "adapter", STRZ(*name), e);
    err_set(e, E_JSON, "%s:%llu: adapter is a %s, expected a name or null", row->file, (unsigned long long)row->line,
            jsonl_type(j));
    return err_hint(e, NAME_RULE);
}
