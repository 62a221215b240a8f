/* report.c: see report.h. */
#include "libcommon/eval/report.h"
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/msg.h"
#include "libcommon/base/num.h"
#include "libcommon/format/json.h"

void report_notes(const struct report *r)
{
    for (int i = 0; i < r->scores->n; i++) {
        const struct metric *m = r->scores->m[i];
        double v[METRIC_RESULTS];
        struct buf b = {0};
        m->get(&r->scores->sum[i], v);
        for (int k = 0; m->results[k]; k++) buf_printf(&b, "%s%s %.2f", k ? "  " : "", m->results[k], v[k]);
        if (m->signature) buf_printf(&b, "  %s", m->signature);
        msg_note("%s", buf_str(&b));
        buf_fini(&b);
    }
}

json_t *report_json(const struct report *r)
{
    json_t *o = json_object();
    json_object_set_new(o, "rows", json_integer((json_int_t)r->set->n));
    if (r->has_adapter)
        json_object_set_new(o, "trained_rows",
                            r->trained_rows ? json_integer((json_int_t)*r->trained_rows) : json_null());
    json_object_set_new(o, "generated_tokens", json_integer((json_int_t)r->generated_tokens));
    if (r->has_nll) {
        json_object_set_new(o, "label_tokens", json_integer((json_int_t)r->labels));
        json_object_set_new(o, "loss", r->labels ? json_real(r->nll / (double)r->labels) : json_null());
    }
    for (int i = 0; i < r->scores->n; i++) {
        const struct metric *m = r->scores->m[i];
        double v[METRIC_RESULTS];
        m->get(&r->scores->sum[i], v);
        for (int k = 0; m->results[k]; k++) json_object_set_new(o, m->results[k], json_real_or_null(v[k]));
        if (!m->signature) continue;
        char key[48];
        snprintf(key, sizeof key, "%s_signature", m->name);
        json_object_set_new(o, key, json_string(m->signature));
    }
    return o;
}

/* "em=80" -> the metric, the figure's index in it, and the bound. */
static int parse_min(const struct score_set *s, const char *text, int *which, int *index, double *bound, struct err *e)
{
    const char *eq = strchr(text, '=');
    char name[48] = "";
    if (eq && (size_t)(eq - text) < sizeof name) memcpy(name, text, (size_t)(eq - text));
    const struct metric *m = eq ? metric_find_result(name, index) : NULL;
    if (!m || !num_f64(eq + 1, strlen(eq + 1), bound))
        return err_set(e, E_USAGE, "--min: %s, expected FIGURE=NUMBER such as em=80", err_quotez(text));
    for (*which = 0; *which < s->n; ++*which)
        if (s->m[*which] == m) return 0;
    err_set(e, E_USAGE, "--min: %s is not computed", name);
    return err_hint(e, "add %s to --metrics", m->name);
}

int report_min_check(const struct score_set *s, const struct strlist *min, struct err *e)
{
    int rc = 0, which = 0, index = 0;
    double bound;
    for (int i = 0; i < min->n && !rc; i++) rc = parse_min(s, min->v[i], &which, &index, &bound, e);
    return rc;
}

int report_min(const struct report *r, const struct strlist *min, struct err *e)
{
    for (int i = 0; i < min->n; i++) {
        int which = 0, index = 0;
        double bound, v[METRIC_RESULTS];
        int rc = parse_min(r->scores, min->v[i], &which, &index, &bound, e);
        if (rc) return rc;
        const struct metric *m = r->scores->m[which];
        m->get(&r->scores->sum[which], v);
        bool ok = m->lower_is_better ? v[index] <= bound : v[index] >= bound;
        if (!ok)
            return err_set(e, E_NEGATIVE, "%s is %.4g, %s %.4g was asked for", m->results[index], v[index],
                           m->lower_is_better ? "at most" : "at least", bound);
    }
    return 0;
}
