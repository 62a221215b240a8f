/* opt_print: the resolved options as YAML, as text, and as a digest. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libcommon/base/digest.h"
#include "libcommon/base/opt_set.h"
#include "libcommon/base/out.h"
#include "libcommon/base/utf8.h"

const char *opt_text(const struct opt_set *s, const char *name)
{
    const struct opt_row *r = opt_row_named(s, name);
    if (!r || !r->dest || !opt_value_is_set(r)) return NULL;
    struct opt_set *state = (struct opt_set *)s; /* the buffers are a cache, not part of the value */
    struct buf *b = &state->text[state->next_text++ % (sizeof state->text / sizeof *state->text)];
    b->n = 0;
    opt_value_text(r, b);
    return buf_str(b);
}

/* A double-quoted YAML scalar; false if s is not UTF-8. */
static bool add_quoted(struct buf *b, const char *s)
{
    size_t n = strlen(s);
    buf_addc(b, '"');
    for (size_t i = 0; i < n;) {
        uint32_t c = 0;
        int len = utf8_next(s + i, n - i, &c);
        if (!len) return false;
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", (char)c);
        else if (c == '\n')
            buf_addz(b, "\\n");
        else if (c == '\t')
            buf_addz(b, "\\t");
        else if (c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff)
            buf_printf(b, "\\u%04x", c);
        else
            buf_add(b, s + i, (size_t)len);
        i += (size_t)len;
    }
    buf_addc(b, '"');
    return true;
}

/* Words that a YAML 1.1 reader would take for something else than text. */
static bool needs_quotes(const char *word)
{
    static const char *const special[] = {"yes", "no", "on", "off", "true", "false", "null", "y", "n"};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (!strcasecmp(word, special[i])) return true;
    return !((word[0] >= 'a' && word[0] <= 'z') || (word[0] >= 'A' && word[0] <= 'Z'));
}

/* The value as what is written keeps it: the same however the name of a file was spelled. */
static void record_text(const struct opt_row *r, char *(*spell)(const char *path), struct buf *b)
{
    if (!r->o->file || !opt_value_is_set(r)) {
        opt_value_text(r, b);
        return;
    }
    char *name = paths_in(*(char *const *)r->dest, spell);
    buf_addz(b, name);
    free(name);
}

/* Pairs as a map. */
static bool add_map(struct buf *b, const struct strlist *l)
{
    bool ok = true;
    buf_addc(b, '{');
    for (int i = 0; i < l->n && ok; i++) {
        const char *eq = strrchr(l->v[i], '=');
        char *name = mem_dup(l->v[i], (size_t)(eq - l->v[i]));
        if (i) buf_addz(b, ", ");
        ok = add_quoted(b, name);
        buf_printf(b, ": %s", eq + 1);
        free(name);
    }
    buf_addc(b, '}');
    return ok;
}

static bool add_value(struct buf *b, const struct opt_row *r, bool record)
{
    struct buf text = {0};
    bool ok = true;
    if (record)
        record_text(r, path_spelled, &text);
    else
        opt_value_text(r, &text);
    switch (r->o->type) {
    case OPT_FLAG:
    case OPT_BOOL:
        buf_addz(b, *(const bool *)r->dest ? "true" : "false");
        break;
    case OPT_INT:
    case OPT_FLOAT:
        buf_addz(b, opt_value_is_set(r) ? buf_str(&text) : "null");
        break;
    case OPT_ENUM:
        if (needs_quotes(buf_str(&text)))
            ok = add_quoted(b, text.p);
        else
            buf_addz(b, text.p);
        break;
    case OPT_STR:
        if (opt_value_is_set(r))
            ok = add_quoted(b, buf_str(&text));
        else
            buf_addz(b, "null");
        break;
    case OPT_LIST: {
        const struct strlist *l = r->dest;
        buf_addc(b, '[');
        for (int i = 0; i < l->n && ok; i++) {
            if (i) buf_addz(b, ", ");
            ok = add_quoted(b, l->v[i]);
        }
        buf_addc(b, ']');
        break;
    }
    case OPT_MAP:
        ok = add_map(b, r->dest);
        break;
    }
    buf_fini(&text);
    return ok;
}

/* Does path lie in the map prefix ("" is the top)? Then what follows it, else NULL. */
static const char *within(const char *path, const char *prefix)
{
    size_t n = strlen(prefix);
    if (!path || strncmp(path, prefix, n) != 0) return NULL;
    return !n ? path : path[n] == '.' ? path + n + 1 : NULL;
}

/* The map prefix: first its own values, then the maps in it, each where a row first names it. */
static bool print_map(const struct opt_set *s, FILE *f, const char *prefix, int depth, bool record)
{
    bool ok = true;
    for (int i = 0; i < s->n && ok; i++) {
        const struct opt_row *r = &s->rows[i];
        const char *key = within(r->path, prefix);
        if (!key || strchr(key, '.') || (record && !strcmp(r->o->section, "runtime"))) continue;
        struct buf b = {0};
        ok = add_value(&b, r, record);
        fprintf(f, "%*s%s: %s  # --%s: %s\n", 2 * depth, "", key, buf_str(&b), r->o->name,
                r->o->help ? r->o->help : "");
        buf_fini(&b);
    }
    for (int i = 0; i < s->n && ok; i++) {
        const char *key = within(s->rows[i].path, prefix), *dot = key ? strchr(key, '.') : NULL;
        if (!dot) continue;
        char *child = mem_dup(s->rows[i].path, (size_t)(dot - s->rows[i].path));
        bool first = true;
        for (int k = 0; k < i; k++) first = first && !within(s->rows[k].path, child);
        if (first) {
            fprintf(f, "%*s%.*s:\n", 2 * depth, "", (int)(dot - key), key);
            ok = print_map(s, f, child, depth + 1, record);
        }
        free(child);
    }
    return ok;
}

int opt_print_yaml(const struct opt_set *s, FILE *f, bool record)
{
    return print_map(s, f, "", 0, record) ? 0 : -E_ENCODING;
}

int opt_print_value(const struct opt_set *s, const char *key, FILE *f, struct err *e)
{
    const struct opt_row *r = opt_row_at(s, key);
    const struct config_key *other = r ? NULL : opt_config_key(key);
    if (other) {
        err_set(e, E_USAGE, "--get %s: %s does not read this key", key, s->tool);
        return other->note ? -e->id : err_hint(e, "it is one of %s", other->tools);
    }
    if (!r) {
        err_set(e, E_USAGE, "--get: unknown key %s", err_quotez(key));
        const char *near = opt_nearest_path(s, key);
        return near ? err_hint(e, "did you mean %s?", near) : -e->id;
    }
    if (!opt_value_is_set(r)) {
        err_set(e, E_CONFIG, "%s: has no value", key);
        return err_hint(e, "set it in the file of -c, or give --%s", r->o->name);
    }
    struct buf b = {0};
    opt_value_text(r, &b);
    fprintf(f, "%s\n", buf_str(&b));
    buf_fini(&b);
    return 0;
}

void opt_each(const struct opt_set *s, opt_visit *visit, void *ctx)
{
    for (int i = 0; i < s->n; i++) {
        const struct opt_row *r = &s->rows[i];
        if (!r->path || r->o->free || r->o->file || !strcmp(r->o->section, "runtime")) continue;
        struct buf b = {0};
        opt_value_text(r, &b);
        visit(ctx, r->path, r->o->type, opt_value_is_set(r) ? buf_str(&b) : NULL);
        buf_fini(&b);
    }
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

int opt_digest(const struct opt_set *s, unsigned char sha256[32])
{
    char **line = mem_alloc((size_t)s->n, sizeof *line);
    int n = 0;
    for (int i = 0; i < s->n; i++) {
        const struct opt_row *r = &s->rows[i];
        if (!r->path || !strcmp(r->o->section, "runtime")) continue;
        struct buf b = {0}, v = {0};
        record_text(r, path_note, &v);
        buf_printf(&b, "%s%s", r->o->name, opt_value_is_set(r) ? "=" : "");
        for (size_t k = 0; k < v.n; k++) { /* a line break in a value must not look like another line */
            if (v.p[k] == '\n')
                buf_addz(&b, "\\n");
            else if (v.p[k] == '\\')
                buf_addz(&b, "\\\\");
            else
                buf_addc(&b, v.p[k]);
        }
        buf_addc(&b, '\n');
        buf_fini(&v);
        line[n++] = buf_str(&b);
    }
    qsort(line, (size_t)n, sizeof *line, by_text);
    struct sha256 *h = sha256_new();
    for (int i = 0; i < n; i++) {
        sha256_add(h, line[i], strlen(line[i]));
        free(line[i]);
    }
    free(line);
    sha256_done(h, sha256);
    return 0;
}
