/* json: see json.h. */
#include "libcommon/format/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/out.h"

enum { MAX_DEPTH = 64, MANY = 1000000 };

/* jansson recurses: bound the nesting before it sees the text. Returns the offset of the bracket that is too deep, or
 * n. */
static size_t too_deep(const char *s, size_t n)
{
    int depth = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"') {
            for (i++; i < n && s[i] != '"'; i++)
                if (s[i] == '\\') i++;
        } else if (s[i] == '{' || s[i] == '[') {
            if (++depth > MAX_DEPTH) return i;
        } else if (s[i] == '}' || s[i] == ']') {
            depth--;
        }
    }
    return n;
}

/* Does the text hold more values than a file of its size needs? Each takes a hundred bytes of memory or more, an object
 * three times that, and "{}" is two bytes. What is counted bounds them: commas and opening brackets. */
static bool too_many(const char *s, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"') {
            for (i++; i < n && s[i] != '"'; i++)
                if (s[i] == '\\') i++;
        } else if (s[i] == ',' || s[i] == '[') {
            count++;
        } else if (s[i] == '{') {
            count += 3;
        }
    }
    return count > MANY + n / 16;
}

static int line_of(const char *s, size_t at)
{
    int line = 1;
    for (size_t i = 0; i < at; i++) line += s[i] == '\n';
    return line;
}

json_t *json_parse(const char *text, size_t n, const char *name, enum err_id id, struct err *e)
{
    if (n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
        err_set(e, id, "%s: begins with a byte order mark, which JSON does not have", name);
        err_hint(e, "save it as UTF-8 without one");
        return NULL;
    }
    size_t deep = too_deep(text, n);
    if (deep < n) {
        err_set(e, id, "%s:%d: nested deeper than %d levels", name, line_of(text, deep), MAX_DEPTH);
        return NULL;
    }
    if (too_many(text, n)) {
        err_set(e, id, "%s: holds more values than a file of %zu bytes may (%zu)", name, n, MANY + n / 16);
        return NULL;
    }
    json_error_t je;
    json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES, &je);
    if (!j && json_error_code(&je) == json_error_numeric_overflow)
        j = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &je);
    if (!j) {
        err_set(e, id, "%s:%d:%d: %s", name, je.line, je.column, err_quotez(je.text));
        return NULL;
    }
    if (!json_is_object(j)) {
        err_set(e, id, "%s:1:1: an array, expected an object", name);
        json_decref(j);
        return NULL;
    }
    return j;
}

json_t *json_parse_file(const char *path, size_t max, enum err_id id, struct err *e)
{
    size_t n;
    char *text = file_read(path, max, &n, e);
    if (!text) return NULL;
    json_t *j = json_parse(text, n, path, id, e);
    free(text);
    return j;
}

json_t *json_real_or_null(double x) { return isfinite(x) ? json_real(x) : json_null(); }
