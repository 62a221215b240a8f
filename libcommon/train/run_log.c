/* run_log.c: see run_log.h. */
#include "libcommon/train/run_log.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"

struct run_row *run_log_add(struct run_log *g, const char *event, int64_t step, double epoch)
{
    g->row = mem_grow(g->row, &g->cap, g->n + 1, sizeof *g->row);
    struct run_row *r = &g->row[g->n++];
    *r = (struct run_row){.event = mem_dupz(event), .step = step, .epoch = epoch};
    return r;
}

void run_row_put(struct run_row *r, const char *key, double value)
{
    r->v = mem_grow(r->v, &r->cap, (size_t)r->n + 1, sizeof *r->v);
    r->v[r->n].key = mem_dupz(key);
    r->v[r->n++].value = value;
}

static void drop_rows(struct run_log *g)
{
    for (; g->n; g->n--) {
        struct run_row *r = &g->row[g->n - 1];
        for (int k = 0; k < r->n; k++) free(r->v[k].key);
        free(r->v);
        free(r->event);
    }
}

int run_log_emit(struct run_log *g, size_t i, struct err *e)
{
    const struct run_row *r = &g->row[i];
    struct named_value *v = mem_alloc((size_t)r->n, sizeof *v);
    for (int k = 0; k < r->n; k++) v[k] = (struct named_value){r->v[k].key, r->v[k].value};
    struct record rec = {.kind = STREAM_METRICS,
                         .metrics = {.event = r->event, .step = r->step, .epoch = r->epoch, .n = r->n, .metric = v}};
    struct err lost = {0};
    if (g->out && stream_put(g->out, &rec, &lost) < 0) {
        msg_warn("stdout: %s; the run goes on without it", lost.msg);
        stream_abort(g->out, &lost);
        g->out = NULL;
    }
    int rc = g->file ? stream_put(g->file, &rec, e) : 0;
    free(v);
    return rc;
}

/* Doubles print with 17 digits, which read back as the same bits; what is not finite has no JSON number. */
static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_string(isnan(x) ? "nan" : x > 0 ? "inf" : "-inf");
}
static double number_read(const json_t *j)
{
    if (json_is_number(j)) return json_number_value(j);
    const char *s = json_string_value(j);
    return s && !strcmp(s, "inf") ? INFINITY : s && !strcmp(s, "-inf") ? -INFINITY : NAN;
}

json_t *run_log_json(const struct run_log *g)
{
    json_t *all = json_array();
    for (size_t i = 0; i < g->n; i++) {
        const struct run_row *r = &g->row[i];
        json_t *v = json_array();
        for (int k = 0; k < r->n; k++)
            json_array_append_new(v, json_pack("[s, o]", r->v[k].key, number(r->v[k].value)));
        json_array_append_new(all, json_pack("[s, I, o, o]", r->event, (json_int_t)r->step, number(r->epoch), v));
    }
    return all;
}

int run_log_read(struct run_log *g, const json_t *in, struct err *e)
{
    drop_rows(g);
    for (size_t i = 0; i < json_array_size(in); i++) {
        const json_t *r = json_array_get(in, i), *v = json_array_get(r, 3);
        const char *event = json_string_value(json_array_get(r, 0));
        if (!event || !json_is_array(v))
            return err_set(e, E_CHECKPOINT, "metric record %zu of the checkpoint is malformed", i);
        struct run_row *row = run_log_add(g, event, json_integer_value(json_array_get(r, 1)),
                                          number_read(json_array_get(r, 2)));
        for (size_t k = 0; k < json_array_size(v); k++) {
            const json_t *kv = json_array_get(v, k);
            const char *key = json_string_value(json_array_get(kv, 0));
            if (!key) return err_set(e, E_CHECKPOINT, "metric record %zu of the checkpoint is malformed", i);
            run_row_put(row, key, number_read(json_array_get(kv, 1)));
        }
    }
    return 0;
}

void run_log_fini(struct run_log *g)
{
    drop_rows(g);
    free(g->row);
    *g = (struct run_log){0};
}
