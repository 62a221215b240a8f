/* config_table: see config_table.h. */
#include "libcommon/model/config_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/model/model_internal.h"

#define DIM_MAX (1 << 20)

void config_raw_init(struct config_raw *r)
{
    *r = (struct config_raw){0};
    for (size_t at = 0; at < offsetof(struct config_raw, rope_type); at += sizeof(double))
        *(double *)((char *)r + at) = NAN;
}

/* ---- one key ------------------------------------------------------------------------------- */

/* Is the word in the space-separated list? */
static bool word_in(const char *list, const char *s, size_t n)
{
    for (const char *p = list; *p;) {
        size_t len = strcspn(p, " ");
        if (n == len && !memcmp(p, s, n)) return true;
        p += len + (p[len] == ' ');
    }
    return false;
}

const struct config_row *config_row_of(const struct config_file *f, const char *key)
{
    for (int i = 0; i < f->n; i++) {
        const struct config_row *row = &f->row[i];
        size_t n = strlen(row->key);
        bool same = row->key[n - 1] == '*' ? !strncmp(row->key, key, n - 1) : !strcmp(row->key, key);
        if (same && (!row->only || word_in(row->only, f->family, strlen(f->family)))) return row;
    }
    return NULL;
}

static const char *show(struct config_value v, char buf[32])
{
    if (v.kind == VALUE_TEXT) return err_quote(v.text.p, v.text.n);
    if (v.kind == VALUE_OTHER) return v.text.p;
    if (v.kind == VALUE_BOOL) return v.number ? "true" : "false";
    snprintf(buf, 32, "%.9g", v.number);
    return v.kind == VALUE_NUMBER ? buf : "empty";
}

/* Is the value one of the list's, or a text the whole list? Numbers are compared with the precision of a float. */
static bool is_neutral(const char *list, struct config_value v)
{
    char buf[32];
    if (v.kind == VALUE_TEXT || v.kind == VALUE_BOOL) {
        struct str s = v.kind == VALUE_TEXT ? v.text : STRZ(show(v, buf));
        return word_in(list, s.p, s.n) || (s.n == strlen(list) && !memcmp(s.p, list, s.n));
    }
    for (const char *p = list; v.kind == VALUE_NUMBER && *p; p += strcspn(p, " "), p += *p == ' ') {
        char *end;
        double x = strtod(p, &end);
        if (end > p && (*end == ' ' || !*end) && (float)x == (float)v.number) return true;
    }
    return false;
}

enum err_id config_malformed(const struct config_file *f) { return f->kind == WEIGHTS_GGUF ? E_GGUF : E_MODEL; }

/* What stands before the message about a key that is in a table. */
#define AT(key) f->path, f->place, f->prefix, key

static int unsupported(const struct config_file *f, const char *key, struct config_value v, const char *list,
                       struct err *e)
{
    char buf[32];
    err_set(e, E_ARCH, "%s: %s%s%s is %s, which is not supported", AT(key), show(v, buf));
    return *list ? err_hint(e, "supported: %s", list) : err_hint(e, "supported: only models without this key");
}

static int unknown(const struct config_file *f, const char *key, struct config_value v, struct err *e)
{
    char buf[32], *name = mem_printf("%s%s", f->prefix, key);
    err_set(e, E_ARCH, "%s: %skey %s (%s) is not known; it may change the arithmetic", f->path, f->place,
            err_quotez(name), show(v, buf));
    free(name);
    return err_hint(e, "if it says nothing about how the model computes, take it out of the file%s",
                    f->kind == WEIGHTS_HF ? ", or set it to null" : "");
}

static int store(const struct config_file *f, struct config_raw *r, const struct config_row *row, struct config_value v,
                 struct err *e)
{
    char buf[32];
    double *at = (double *)((char *)r + row->off);
    if (v.kind != (row->kind == ROW_FLAG ? VALUE_BOOL : VALUE_NUMBER))
        return err_set(e, config_malformed(f), "%s: %s%s%s is %s, expected %s", AT(row->key), show(v, buf),
                       row->kind == ROW_FLAG ? "true or false" : "a number");
    if (!isnan(*at) && *at != v.number)
        return err_set(e, config_malformed(f), "%s: %s%s%s is %.9g, another key for the same says %.9g", AT(row->key),
                       v.number, *at);
    *at = v.number;
    return 0;
}

static int store_text(const struct config_file *f, struct config_raw *r, const struct config_row *row,
                      struct config_value v, struct err *e)
{
    char *at = (char *)r + row->off;
    if (v.kind != VALUE_TEXT || !word_in(row->arg, v.text.p, v.text.n)) return unsupported(f, row->key, v, row->arg, e);
    if (*at && (strlen(at) != v.text.n || memcmp(at, v.text.p, v.text.n)))
        return err_set(e, config_malformed(f), "%s: %s%s%s is %s, another key for the same says %s", AT(row->key),
                       err_quote(v.text.p, v.text.n), at);
    snprintf(at, sizeof r->rope_type, "%.*s", (int)v.text.n, v.text.p);
    return 0;
}

int config_key(const struct config_file *f, struct config_raw *r, const char *key, struct config_value v, struct err *e)
{
    if (v.kind == VALUE_NOTHING) return 0;
    const struct config_row *row = config_row_of(f, key);
    const bool says_nothing = v.kind == VALUE_EMPTY || (v.kind == VALUE_BOOL && !v.number);
    if (!row) return says_nothing ? 0 : unknown(f, key, v, e);
    switch (row->kind) {
    case ROW_NUMBER:
    case ROW_FLAG:
        return store(f, r, row, v, e);
    case ROW_TEXT:
        return store_text(f, r, row, v, e);
    case ROW_NEUTRAL:
        return v.kind == VALUE_EMPTY || (says_nothing && !word_in(row->arg, "true", 4)) || is_neutral(row->arg, v)
                   ? 0
                   : unsupported(f, key, v, row->arg, e);
    case ROW_HANDLED:
    case ROW_IGNORED:
        break;
    }
    return 0;
}

/* ---- what the values mean together --------------------------------------------------------- */

/* The key that fills a field. */
static const char *key_of(const struct config_file *f, size_t off)
{
    for (int i = 0; i < f->n; i++)
        if (f->row[i].kind <= ROW_TEXT && f->row[i].off == off) return f->row[i].key;
    return "?";
}
#define FIELD(field) AT(key_of(f, offsetof(struct config_raw, field)))

static int refuse_number(const struct config_file *f, size_t off, double v, const char *want, struct err *e)
{
    if (isnan(v)) return err_set(e, config_malformed(f), "%s: %s%s%s is missing", AT(key_of(f, off)));
    return err_set(e, config_malformed(f), "%s: %s%s%s is %.9g, expected %s", AT(key_of(f, off)), v, want);
}

/* Everything is checked here once, so that no later product of dimensions can overflow an int. */
static int dimensions(struct model_config *c, const struct config_file *f, const struct config_raw *r, struct err *e)
{
#define DIM(field, limit)                                    \
    {                                                        \
        offsetof(struct config_raw, field), limit, &c->field \
    }
    const struct {
        size_t off;
        int max, *to;
    } dim[] = {DIM(C, DIM_MAX), DIM(L, LAYERS_MAX), DIM(H, 4096),   DIM(K, 4096),
               DIM(D, 1024),    DIM(F, DIM_MAX),    DIM(V, 1 << 22)};
#undef DIM
    for (size_t i = 0; i < sizeof dim / sizeof *dim; i++) {
        double v = *(const double *)((const char *)r + dim[i].off);
        char want[32];
        snprintf(want, sizeof want, "1 to %d", dim[i].max);
        if (!(v >= 1 && v <= dim[i].max && v == floor(v))) return refuse_number(f, dim[i].off, v, want, e);
        *dim[i].to = (int)v;
    }
    if (c->H % c->K)
        return err_set(e, config_malformed(f), "%s: %d attention heads are no multiple of %d key/value heads", f->path,
                       c->H, c->K);
    if (c->D % 2) return err_set(e, config_malformed(f), "%s: the head width %d is odd", f->path, c->D);
    return 0;
}

/* Values that a file may give although only one is computed. */
static int heads(const struct model_config *c, const struct config_file *f, const struct config_raw *r, struct err *e)
{
    if (!isnan(r->Dv) && r->Dv != c->D) {
        err_set(e, E_ARCH, "%s: %s%s%s is %.9g, keys are %d wide", FIELD(Dv), r->Dv, c->D);
        return err_hint(e, "supported: keys and values of the same width");
    }
    if (!isnan(r->rope_dims) && r->rope_dims != c->D) {
        err_set(e, E_ARCH, "%s: %s%s%s is %.9g, a head is %d wide", FIELD(rope_dims), r->rope_dims, c->D);
        return err_hint(e, "supported: heads that are rotated whole");
    }
    double s = r->attn_scale * sqrt(c->D);
    if (r->attn_scale && !isnan(s) && !(fabs(s - 1) < 1e-5)) {
        err_set(e, E_ARCH, "%s: %s%s%s is %.9g", FIELD(attn_scale), r->attn_scale);
        return err_hint(e, "supported: 1 / sqrt(head width), here %.9g", 1 / sqrt(c->D));
    }
    return 0;
}

static bool is_length(double tokens) { return tokens >= 0 && tokens < 1 << 28 && tokens == floor(tokens); }

int config_finish(struct model_config *c, const struct config_file *f, const struct config_raw *raw, struct err *e)
{
    struct config_raw r = *raw;
    if (isnan(r.K)) r.K = r.H;
    if (isnan(r.D)) r.D = floor(r.C / r.H);
    if (isnan(r.rope_theta)) r.rope_theta = 10000;
    int rc = dimensions(c, f, &r, e);
    if (!rc) rc = heads(c, f, &r, e);
    if (rc) return rc;
    if (!(r.norm_eps > 0 && r.norm_eps < 1))
        return refuse_number(f, offsetof(struct config_raw, norm_eps), r.norm_eps, "a number between 0 and 1", e);
    c->norm_eps = (float)r.norm_eps;
    if (isnan(r.max_pos)) r.max_pos = 2048;
    if (isnan(r.window)) r.window = 0;
    if (!is_length(r.max_pos) || r.max_pos < 1)
        return refuse_number(f, offsetof(struct config_raw, max_pos), r.max_pos, "a length in tokens", e);
    if (!is_length(r.window))
        return refuse_number(f, offsetof(struct config_raw, window), r.window, "a length in tokens, or 0 for none", e);
    c->max_pos = (int)r.max_pos;
    c->window = (int)r.window;
    c->window_unclear = true; /* until the format says which layers have it */
    return rope_configure(c, f, &r, e);
}

int model_config_read(struct model_config *c, const struct arch *a, const struct weights *w, struct err *e)
{
    *c = (struct model_config){0};
    snprintf(c->arch, sizeof c->arch, "%s", a->name);
    c->tied = !weights_find(w, "lm_head.weight");
    if (w->kind == WEIGHTS_GGUF) return config_read_gguf(c, w, a->gguf_name, e);
    char family[FAMILY_MAX];
    return config_arch_hf(w, family, e) ? config_read_hf(c, w, family, e) : -e->id;
}

int model_check_rows(const struct model_config *c, long longest, struct err *e)
{
    if (longest <= c->max_pos) return 0;
    err_set(e, E_MISMATCH, "the longest row has %ld tokens, the model was made for %d", longest, c->max_pos);
    return err_hint(e, "peft-tok --max-len %d cuts longer rows, --truncate says where", c->max_pos);
}

int model_check_length(const struct model *m, long longest, struct err *e)
{
    const int window = m->cfg.window;
    const bool computed = !m->cfg.window_unclear && dev_kind(m->dev) == DEVICE_CPU;
    if (!window || longest <= window || computed) return 0;
    err_set(e, E_ARCH, "rows of up to %ld tokens do not fit the model's sliding window of %d, which is not computed %s",
            longest, window, m->cfg.window_unclear ? "for this architecture" : "on this device");
    if (!m->cfg.window_unclear) err_hint(e, "--device cpu computes it");
    return err_hint(e, "leave out or cut longer rows (peft-tok --max-len %d); tokens that are generated count, too",
                    window);
}
