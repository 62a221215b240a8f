/* jsonl: see jsonl.h. jansson decides what is valid JSON; a walk over the text then finds how the top-level numbers are
 * spelled, which jansson does not keep. */
#include "libcommon/format/jsonl.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 64 };

struct jsonl {
    struct textlines lines;
    struct input *in;
    json_t *doc; /* of the last row; strings point into it */
    struct str *key, *value;
    const char **type;
    size_t key_cap, value_cap, type_cap;
};

struct jsonl *jsonl_open(struct input *in, enum encoding enc)
{
    struct jsonl *j = mem_alloc(1, sizeof *j);
    j->in = in;
    textlines_init(&j->lines, in, enc);
    return j;
}

struct textlines *jsonl_lines(struct jsonl *j) { return &j->lines; }

void jsonl_close(struct jsonl *j)
{
    if (!j) return;
    json_decref(j->doc);
    textlines_fini(&j->lines);
    free(j->key);
    free(j->value);
    free(j->type);
    free(j);
}

/* Deepest nesting of the text, strings apart. */
static int depth_of(struct str s)
{
    int depth = 0, most = 0;
    bool quoted = false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            if (++depth > most) most = depth;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return most;
}

/* Where the value that begins at *i of a valid document ends; *i moves behind it. Its text without blanks around. */
static struct str value_text(struct str s, size_t *i)
{
    while (strchr(" \t\r\n:", s.p[*i])) ++*i;
    size_t from = *i, to = from;
    int depth = 0;
    bool quoted = false;
    for (; *i < s.n; ++*i) {
        char c = s.p[*i];
        if (quoted) {
            if (c == '\\')
                ++*i;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth-- == 0) break;
        } else if (c == ',' && depth == 0) {
            break;
        }
        if (quoted || !strchr(" \t\r\n", c)) to = *i + 1;
    }
    return (struct str){s.p + from, to - from};
}

const char *jsonl_type(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_STRING:
        return "string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "boolean";
    case JSON_NULL:
        return "null";
    case JSON_ARRAY:
        return "list";
    default:
        return "object";
    }
}

/* Skip a key and the colon behind it: a key is a string, so it ends at the first quote that is not escaped. */
static void skip_key(struct str s, size_t *i)
{
    while (s.p[*i] != '"') ++*i;
    for (++*i; s.p[*i] != '"'; ++*i)
        if (s.p[*i] == '\\') ++*i;
    ++*i;
    while (s.p[*i] != ':') ++*i;
    ++*i;
}

static int wrong(struct str line, const char *name, uint64_t number, const json_error_t *je, struct err *e)
{
    bool nul = json_error_code(je) == json_error_null_character || json_error_code(je) == json_error_null_byte_in_key;
    err_set(e, E_JSON, "%s:%llu:%d: %s", name, (unsigned long long)number, je->column > 0 ? je->column : 1,
            nul ? "a string holds a NUL character (\\u0000), which is not text" : err_quotez(je->text));
    if (nul) return err_hint(e, "take them out with: sed 's/\\\\u0000//g'");
    size_t k = 0;
    while (k < line.n && strchr(" \t\r\n", line.p[k])) k++;
    if (k < line.n && line.p[k] == '[')
        return err_hint(e, "expected one JSON object a line; a list becomes lines with: jq -c '.[]'");
    if (k < line.n && line.p[k] == '{')
        return err_hint(e, "expected one whole JSON object a line; a document over several lines "
                           "becomes one with: jq -c .");
    return err_hint(e, "expected one JSON object a line");
}

int jsonl_parse(struct jsonl *j, struct str line, const char *name, uint64_t number, struct jsonl_row *row,
                struct err *e)
{
    json_error_t je;
    const char *key;
    json_t *v;
    while (line.n && strchr("\r\n", line.p[line.n - 1])) line.n--;
    if (depth_of(line) > DEPTH_MAX)
        return err_set(e, E_JSON, "%s:%llu: nested deeper than %d levels", name, (unsigned long long)number, DEPTH_MAX);
    json_decref(j->doc);
    j->doc = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &je);
    /* an integer above 64 bits is a number too: its text is what counts */
    if (!j->doc && json_error_code(&je) == json_error_numeric_overflow)
        j->doc = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &je);
    if (!j->doc) return wrong(line, name, number, &je, e);
    if (!json_is_object(j->doc)) {
        snprintf(je.text, sizeof je.text, "expected an object, found a %s", jsonl_type(j->doc));
        je.column = 1;
        return wrong(line, name, number, &je, e);
    }
    size_t n = json_object_size(j->doc), k = 0, at = 0;
    j->key = mem_grow(j->key, &j->key_cap, n + 1, sizeof *j->key);
    j->value = mem_grow(j->value, &j->value_cap, n + 1, sizeof *j->value);
    j->type = mem_grow(j->type, &j->type_cap, n + 1, sizeof *j->type);
    while (line.p[at] != '{') at++;
    json_object_foreach(j->doc, key, v)
    { /* in the order of the text */
        skip_key(line, &at);
        struct str text = value_text(line, &at);
        j->key[k] = STRZ(key);
        j->type[k] = jsonl_type(v);
        if (json_is_string(v))
            text = (struct str){json_string_value(v), json_string_length(v)};
        else if (json_is_array(v) || json_is_object(v) || json_is_null(v))
            text = (struct str){NULL, 0};
        j->value[k++] = text;
    }
    *row = (struct jsonl_row){number, (int)n, j->key, j->value, j->type, line, j->doc};
    return 1;
}

int jsonl_next(struct jsonl *j, struct jsonl_row *row, struct err *e)
{
    struct str s;
    for (;;) {
        int rc = textlines_next(&j->lines, &s, e);
        if (rc <= 0) return rc;
        size_t k = 0;
        while (k < s.n && strchr(" \t\r\n", s.p[k])) k++;
        if (k < s.n) return jsonl_parse(j, s, input_name(j->in), j->lines.number, row, e);
    }
}
