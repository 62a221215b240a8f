/* opt_yaml: config files. The one place that includes libfyaml, and of it only the event parser: no document is built,
 * so that no alias can be expanded and no tree can grow; anchors, aliases and tags are refused. Scalars are typed by
 * the row that they bind to, never by how they look. All mistakes of a file are reported together. */
#include <libfyaml.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libcommon/base/opt_set.h"
#include "libcommon/base/out.h"
#include "libcommon/base/utf8.h"

enum { MAX_BYTES = 1 << 20, MAX_DEPTH = 32, MAX_KEYS = 4096, MAX_KEY_BYTES = 256, MAX_ERRORS = 20 };

struct walk {
    struct opt_set *set;
    struct fy_parser *parser;
    const char *name; /* of the file, in messages */
    const char *text;
    size_t n;
    struct buf path;  /* where we are: "peft.lora" */
    int line, column; /* of the last event; from 1 */
    int keys, depth;
    struct buf errors;
    int n_errors;
    bool stop; /* what follows cannot be read with sense */
};

static void __attribute__((format(printf, 2, 3))) mistake(struct walk *w, const char *fmt, ...)
{
    if (w->n_errors++ >= MAX_ERRORS) return;
    buf_printf(&w->errors, "%s%s:%d:%d: ", w->errors.n ? "\n" : "", w->name, w->line, w->column);
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&w->errors, fmt, ap);
    va_end(ap);
}

/* For a path that is known, so that it needs no quotes. */
static const char *path_here(struct walk *w) { return buf_str(&w->path); }

/* The next event, NULL at the end or after a mistake that ends the reading. Free it with drop. */
static struct fy_event *next(struct walk *w)
{
    if (w->stop) return NULL;
    struct fy_event *ev = fy_parser_parse(w->parser);
    if (!ev) {
        w->stop = true;
        return NULL;
    }
    struct fy_token *t = fy_event_get_token(ev);
    const struct fy_mark *m = t ? fy_token_start_mark(t) : NULL;
    if (m) w->line = m->line + 1, w->column = m->column + 1;
    if (ev->type == FYET_ALIAS) mistake(w, "aliases (*name) are not supported; write the value out");
    if (fy_event_get_anchor_token(ev))
        mistake(w, "anchors (&name) are not supported; write the value out where it is needed");
    if (fy_event_get_tag_token(ev)) mistake(w, "tags (!name) are not supported; the key alone decides the type");
    return ev;
}

static void drop(struct walk *w, struct fy_event *ev)
{
    if (ev) fy_parser_event_free(w->parser, ev);
}

static bool opens(const struct fy_event *ev)
{
    return ev->type == FYET_MAPPING_START || ev->type == FYET_SEQUENCE_START;
}
static bool closes(const struct fy_event *ev) { return ev->type == FYET_MAPPING_END || ev->type == FYET_SEQUENCE_END; }

static bool enter(struct walk *w)
{
    if (++w->depth <= MAX_DEPTH) return true;
    mistake(w, "nested deeper than %d levels", MAX_DEPTH);
    w->stop = true;
    return false;
}

/* Pass over what ev opened, if anything. */
static void skip(struct walk *w, const struct fy_event *ev)
{
    int from = w->depth;
    bool inside = opens(ev) && enter(w);
    while (inside) {
        struct fy_event *x = next(w);
        if (!x || (opens(x) && !enter(w)) || (closes(x) && --w->depth == from)) inside = false;
        drop(w, x);
    }
}

struct scalar {
    const char *text;
    size_t n;
    bool plain;
};

static struct scalar scalar_of(struct fy_event *ev)
{
    struct scalar v = {"", 0, true};
    struct fy_token *t = fy_event_get_token(ev);
    if (ev->type != FYET_SCALAR || !t) return v;
    v.text = fy_token_get_text(t, &v.n);
    if (!v.text) v = (struct scalar){"", 0, true};
    v.plain = fy_token_scalar_style(t) == FYSS_PLAIN || fy_token_scalar_style(t) == FYSS_ANY;
    return v;
}

static bool is_one_of(struct scalar v, const char *const *words)
{
    for (; *words; words++)
        if (strlen(*words) == v.n && !strncasecmp(v.text, *words, v.n)) return true;
    return false;
}

static bool is_null(struct scalar v)
{
    static const char *const words[] = {"", "~", "null", NULL};
    return v.plain && is_one_of(v, words);
}

static bool is_block(struct fy_event *ev)
{
    struct fy_token *t = ev->type == FYET_SCALAR ? fy_event_get_token(ev) : NULL;
    int style = t ? fy_token_scalar_style(t) : FYSS_PLAIN;
    return style == FYSS_LITERAL || style == FYSS_FOLDED;
}

/* libfyaml (0.7.12) takes lines that stand under the key itself for the text of its block scalar (| or >), and gets
 * their length wrong: the keys after an empty one would vanish. The first line of text must stand deeper than the key.
 */
static bool is_indented(const struct walk *w, struct fy_event *ev, int key_column)
{
    struct fy_token *t = fy_event_get_token(ev);
    size_t at = fy_token_start_mark(t)->input_pos, end = fy_token_end_mark(t)->input_pos, indent = 0;
    for (; at < end && at < w->n; at++) {
        char c = w->text[at];
        if (c == '\n' || c == '\r')
            indent = 0;
        else if (c == ' ')
            indent++;
        else
            return indent >= (size_t)key_column; /* columns count from 1 */
    }
    return true;
}

/* ---- binding ---------------------------------------------------------------------------------- */

static void bind_scalar(struct walk *w, struct opt_row *r, struct scalar v)
{
    static const char *const truth[] = {"true", "false", NULL}, *const yaml11[] = {"yes", "no", "on", "off",
                                                                                   "y",   "n",  NULL};
    if (is_null(v)) return;
    bool boolean = r->o->type == OPT_BOOL || r->o->type == OPT_FLAG;
    if (boolean && !is_one_of(v, truth)) {
        const char *hint = is_one_of(v, yaml11) ? " (YAML 1.2 has no yes, no, on and off)" : "";
        mistake(w, "%s: found %s, expected true or false%s", path_here(w), err_quote(v.text, v.n), hint);
        return;
    }
    struct buf why = {0};
    if (!opt_value_set(w->set, r, v.text, v.n, OPT_FROM_CONFIG, &why))
        mistake(w, "%s: %s", path_here(w), buf_str(&why));
    buf_fini(&why);
}

static void bind_elements(struct walk *w, struct opt_row *r, const struct strlist *l)
{
    struct buf why = {0};
    if (!w->stop && !opt_value_set_list(w->set, r, l, OPT_FROM_CONFIG, &why))
        mistake(w, "%s: %s", path_here(w), buf_str(&why));
    buf_fini(&why);
}

static void bind_sequence(struct walk *w, struct opt_row *r)
{
    struct strlist l = {0};
    size_t cap = 0;
    bool good = true, done = false;
    while (!done) {
        struct fy_event *ev = next(w);
        done = !ev || closes(ev);
        if (ev && !done) {
            struct scalar v = scalar_of(ev);
            bool fits = ev->type == FYET_SCALAR && !is_block(ev) && v.n && !is_null(v) && !memchr(v.text, '\0', v.n) &&
                        l.n < MAX_KEYS;
            if (!fits && good)
                mistake(w, "%s: found an element that is no plain value, expected a list of names", path_here(w));
            good = good && fits;
            if (fits) {
                l.v = mem_grow(l.v, &cap, (size_t)l.n + 1, sizeof *l.v);
                l.v[l.n++] = mem_dup(v.text, v.n);
            }
            skip(w, ev);
        }
        drop(w, ev);
    }
    if (good) bind_elements(w, r, &l);
    for (int i = 0; i < l.n; i++) free(l.v[i]);
    free(l.v);
}

/* A map of names and numbers, as a list of "name=number". */
static void bind_map(struct walk *w, struct opt_row *r)
{
    struct strlist l = {0};
    size_t cap = 0;
    bool good = true, done = false;
    while (!done) {
        struct fy_event *key = next(w);
        done = !key || closes(key);
        if (key && !done) skip(w, key);
        struct fy_event *value = done ? NULL : next(w);
        if (value) {
            const struct scalar k = scalar_of(key), v = scalar_of(value);
            const bool fits = key->type == FYET_SCALAR && value->type == FYET_SCALAR && !is_block(key) && k.n && v.n &&
                              !memchr(k.text, '\0', k.n) && !memchr(v.text, '\0', v.n) && l.n < MAX_KEYS;
            if (!fits && good)
                mistake(w, "%s: found an element that is no number, expected a map of numbers", path_here(w));
            good = good && fits;
            if (fits) {
                l.v = mem_grow(l.v, &cap, (size_t)l.n + 1, sizeof *l.v);
                l.v[l.n++] = mem_printf("%.*s=%.*s", (int)k.n, k.text, (int)v.n, v.text);
            }
            skip(w, value);
        }
        drop(w, key);
        drop(w, value);
    }
    if (good) bind_elements(w, r, &l);
    for (int i = 0; i < l.n; i++) free(l.v[i]);
    free(l.v);
}

static void bind(struct walk *w, struct opt_row *r, struct fy_event *ev)
{
    if (r->line) mistake(w, "%s: set a second time, first on line %d", path_here(w), r->line);
    r->line = w->line;
    if (ev->type == FYET_SCALAR) {
        bind_scalar(w, r, scalar_of(ev));
    } else if (ev->type == FYET_SEQUENCE_START && (r->o->type == OPT_LIST || r->o->type == OPT_MAP)) {
        bind_sequence(w, r);
    } else if (ev->type == FYET_MAPPING_START && r->o->type == OPT_MAP) {
        bind_map(w, r);
    } else {
        if (ev->type != FYET_ALIAS)
            mistake(w, "%s: found a %s, expected one value", path_here(w),
                    ev->type == FYET_MAPPING_START ? "map" : "list");
        skip(w, ev);
    }
}

/* A key without a row here. */
static void pass_over(struct walk *w, const struct config_key *k, struct fy_event *ev)
{
    if (opt_key_owned(k, w->set->tool) && !(ev->type == FYET_SCALAR && is_null(scalar_of(ev)))) {
        struct scalar v = scalar_of(ev);
        buf_printf(&w->set->notes, "%s: %s\1%s\n", k->path, ev->type == FYET_SCALAR ? err_quote(v.text, v.n) : "...",
                   k->note ? k->note : "this build does not act on it");
    }
    skip(w, ev);
}

/* ---- walking ---------------------------------------------------------------------------------- */

/* Does any key lie below path? */
static bool is_map_path(const struct walk *w, const char *path)
{
    size_t n = strlen(path);
    for (const struct config_key *k = opt_config_keys; k->path; k++)
        if (!strncmp(k->path, path, n) && k->path[n] == '.') return true;
    for (int i = 0; i < w->set->n; i++) {
        char *p;
        bool below = false;
        for (int k = 0; !below && (p = opt_path(w->set->rows[i].o, k)); k++) {
            below = !strncmp(p, path, n) && p[n] == '.';
            free(p);
        }
        if (below) return true;
    }
    return false;
}

static bool is_method_map(const struct walk *w, const char *path)
{
    char *inside = mem_printf("%s.", path);
    const bool is = opt_key_of_method(w->set, inside);
    free(inside);
    return is;
}

static void walk_value(struct walk *w, struct fy_event *ev);

static void walk_pair(struct walk *w, struct fy_event *key)
{
    struct scalar k = scalar_of(key);
    size_t from = w->path.n;
    if (++w->keys > MAX_KEYS) {
        mistake(w, "more than %d keys", MAX_KEYS);
        w->stop = true;
        return;
    }
    if (key->type != FYET_SCALAR || is_block(key) || k.n == 0 || k.n > MAX_KEY_BYTES || memchr(k.text, '\0', k.n)) {
        if (key->type != FYET_ALIAS)
            mistake(w, "found a key that is no name, expected a word of at most %d bytes", MAX_KEY_BYTES);
        skip(w, key);
        struct fy_event *value = next(w);
        if (value) skip(w, value);
        drop(w, value);
        return;
    }
    if (from) buf_addc(&w->path, '.');
    buf_add(&w->path, k.text, k.n);
    int line = w->line, column = w->column;
    struct fy_event *value = next(w);
    if (value && is_block(value) && !is_indented(w, value, column)) {
        mistake(w, "%s: the text after | or > must be indented deeper than its key", err_quotez(path_here(w)));
    } else if (value) {
        const char *path = buf_str(&w->path);
        struct opt_row *r = opt_row_at(w->set, path);
        const struct config_key *foreign = opt_config_key(path);
        if (r)
            bind(w, r, value);
        else if (foreign)
            pass_over(w, foreign, value);
        else if (is_map_path(w, path))
            walk_value(w, value);
        else if (value->type == FYET_MAPPING_START && is_method_map(w, path))
            skip(w, value);
        else {
            w->line = line, w->column = column;
            struct buf ours = {0};
            bool known = opt_foreign_key(path, &ours);
            const char *near = !known && w->n_errors < MAX_ERRORS ? opt_nearest_path(w->set, path) : NULL;
            if (known)
                mistake(w, "unknown key %s; %s", err_quotez(path_here(w)), buf_str(&ours));
            else
                mistake(w, "unknown key %s%s%s%s", err_quotez(path_here(w)), near ? "; did you mean " : "",
                        near ? near : "", near ? "?" : "");
            buf_fini(&ours);
            skip(w, value);
        }
    }
    drop(w, value);
    w->path.n = from;
}

/* The value of a section: a map, or a sequence of maps, which counts as their sum. */
static void walk_value(struct walk *w, struct fy_event *ev)
{
    if (ev->type == FYET_SCALAR && is_null(scalar_of(ev))) return;
    if (ev->type == FYET_ALIAS) return;
    if (!opens(ev)) {
        struct scalar v = scalar_of(ev);
        if (w->path.n)
            mistake(w, "%s: found %s, expected a map of keys", path_here(w), err_quote(v.text, v.n));
        else
            mistake(w, "found %s, expected a map of keys", err_quote(v.text, v.n));
        return;
    }
    if (!enter(w)) return;
    for (bool done = false; !done;) {
        struct fy_event *x = next(w);
        done = !x || closes(x);
        if (!done && ev->type == FYET_MAPPING_START)
            walk_pair(w, x);
        else if (!done)
            walk_value(w, x);
        drop(w, x);
    }
    w->depth--;
}

static void walk_stream(struct walk *w)
{
    int documents = 0;
    struct fy_event *ev;
    while ((ev = next(w))) {
        if (ev->type == FYET_DOCUMENT_START && ++documents > 1) {
            mistake(w, "found a second document, expected one");
            w->stop = true;
        } else if (ev->type == FYET_SCALAR || ev->type == FYET_ALIAS || opens(ev)) {
            walk_value(w, ev);
        }
        drop(w, ev);
    }
}

/* What libfyaml itself found wrong. */
static void add_diagnostics(struct walk *w, struct fy_diag *diag)
{
    void *it = NULL;
    struct fy_diag_error *d;
    bool any = false;
    while ((d = fy_diag_errors_iterate(diag, &it))) {
        w->line = d->line > 0 ? d->line : 1;
        w->column = d->column > 0 ? d->column : 1;
        mistake(w, "not YAML: %s", d->msg);
        any = true;
    }
    if (!any && fy_parser_get_stream_error(w->parser)) mistake(w, "not YAML");
}

/* Refuse early what no YAML file may hold, and point at it. */
static bool is_text(struct walk *w, const char *text, size_t n)
{
    w->line = w->column = 1;
    for (size_t i = 0; i < n;) {
        uint32_t c = 0;
        int len = utf8_next(text + i, n - i, &c);
        bool control = (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || (c >= 0x7f && c < 0xa0 && c != 0x85);
        if (!len || control) {
            mistake(w, "found byte 0x%02x, expected UTF-8 text", (unsigned char)text[i]);
            return false;
        }
        if (c == '\n')
            w->line++, w->column = 1;
        else
            w->column++;
        i += (size_t)len;
    }
    return true;
}

static void read_yaml(struct walk *w, const char *text, size_t n)
{
    struct fy_diag_cfg diag_cfg;
    fy_diag_cfg_default(&diag_cfg);
    struct fy_diag *diag = fy_diag_create(&diag_cfg);
    if (diag) fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg cfg = {
        .search_path = "", .flags = FYPCF_QUIET | FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE, .diag = diag};
    w->parser = diag ? fy_parser_create(&cfg) : NULL;
    if (w->parser && !fy_parser_set_string(w->parser, text, n)) {
        w->line = w->column = 1;
        walk_stream(w);
        add_diagnostics(w, diag);
    } else {
        mistake(w, "cannot be read: libfyaml failed");
    }
    if (w->parser) fy_parser_destroy(w->parser);
    if (diag) fy_diag_destroy(diag);
}

int opt_config_text(struct opt_set *s, const char *name, const char *text, size_t n, struct err *e)
{
    if (n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) text += 3, n -= 3; /* positions count without the mark */
    struct walk w = {.set = s, .name = name, .text = text, .n = n, .line = 1, .column = 1};
    for (int i = 0; i < s->n; i++) s->rows[i].line = 0;
    if (n > MAX_BYTES)
        mistake(&w, "larger than %d bytes", MAX_BYTES);
    else if (is_text(&w, text, n) && n)
        read_yaml(&w, text, n);
    if (w.n_errors > MAX_ERRORS) buf_printf(&w.errors, "\n%s: and %d more mistakes", name, w.n_errors - MAX_ERRORS);
    if (w.n_errors) err_set(e, E_CONFIG, "%s", buf_str(&w.errors));
    buf_fini(&w.errors);
    buf_fini(&w.path);
    return -e->id;
}

int opt_config_file(struct opt_set *s, const char *path, struct err *e)
{
    bool is_stdin = !strcmp(path, "-");
    size_t n;
    char *text = file_read(is_stdin ? "/dev/stdin" : path, MAX_BYTES, &n, e);
    if (!text) return -e->id;
    opt_config_text(s, is_stdin ? "<stdin>" : path, text, n, e);
    free(text);
    return -e->id;
}
