/* tty: a stream for people: one line per event or record as it comes, a progress line with the loss so far, and a
 * summary. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/msg.h"
#include "libcommon/sink/sink.h"
#include "libcommon/sink/spark.h"
#include "libcommon/stream/jsontext.h"

enum { SPARK_WIDTH = 40, TEXT_MAX = 160 };

struct best { /* of one metric of the eval events */
    char name[64];
    double first, last, least, most;
    int64_t least_step, most_step;
};

struct view {
    const struct sink_job *j;
    struct buf line;
    double *loss; /* of the train events */
    size_t n_loss, cap;
    struct best best[16];
    int n_best;
    int64_t step;
    uint64_t n, right; /* records; predictions equal to their target */
};

static double metric(const struct metric_row *m, const char *key)
{
    for (int i = 0; i < m->n; i++)
        if (!strcmp(m->metric[i].key, key)) return m->metric[i].value;
    return (double)NAN;
}

static void note_eval(struct view *v, const struct metric_row *m)
{
    for (int i = 0; i < m->n; i++) {
        double x = m->metric[i].value;
        int k = 0;
        while (k < v->n_best && strncmp(v->best[k].name, m->metric[i].key, sizeof v->best[k].name - 1)) k++;
        if (k == (int)(sizeof v->best / sizeof *v->best)) continue;
        struct best *b = &v->best[k];
        if (k == v->n_best) {
            snprintf(b->name, sizeof b->name, "%s", m->metric[i].key);
            b->first = b->least = b->most = x;
            b->least_step = b->most_step = m->step;
            v->n_best++;
        }
        b->last = x;
        if (x < b->least) b->least = x, b->least_step = m->step;
        if (x > b->most) b->most = x, b->most_step = m->step;
    }
}

static void clip(struct buf *b, struct str s)
{
    size_t n = s.n > TEXT_MAX ? TEXT_MAX : s.n;
    while (n < s.n && n > 0 && ((unsigned char)s.p[n] & 0xc0) == 0x80) n--; /* not inside a character */
    plain_text(b, (struct str){s.p, n});
    if (n < s.n) buf_addz(b, "...");
}

static void metrics_line(struct view *v, const struct metric_row *m)
{
    struct buf *b = &v->line;
    v->step = m->step;
    plain_text(b, STRZ(m->event));
    while (b->n < 10) buf_addc(b, ' ');
    buf_printf(b, " step %-6lld epoch %-6.2f", (long long)m->step, m->epoch);
    for (int i = 0; i < m->n; i++) {
        buf_addz(b, "  ");
        plain_text(b, STRZ(m->metric[i].key));
        buf_printf(b, " %.5g", m->metric[i].value);
    }
    double loss = metric(m, "loss");
    if (!strcmp(m->event, "eval")) note_eval(v, m);
    if (strcmp(m->event, "train") || isnan(loss)) return;
    v->loss = mem_grow(v->loss, &v->cap, v->n_loss + 1, sizeof *v->loss);
    v->loss[v->n_loss++] = loss;
}

static void telemetry_line(struct buf *b, const struct telemetry_row *t)
{
    plain_text(b, STRZ(t->event));
    while (b->n < 10) buf_addc(b, ' ');
    buf_printf(b, " step %-6lld %9.1f s", (long long)t->step, t->seconds);
    for (int i = 0; i < t->n; i++) {
        buf_addz(b, "  ");
        plain_text(b, STRZ(t->metric[i].key));
        buf_printf(b, " %.5g", t->metric[i].value);
    }
}

static void record_line(struct view *v, const struct record *r)
{
    struct buf *b = &v->line;
    const struct prediction *p = &r->prediction;
    uint32_t trained = 0;
    switch (r->kind) {
    case STREAM_METRICS:
        metrics_line(v, &r->metrics);
        break;
    case STREAM_TELEMETRY:
        telemetry_line(b, &r->telemetry);
        break;
    case STREAM_EXAMPLES:
        buf_printf(b, "%llu  ", (unsigned long long)r->example.row);
        clip(b, r->example.prompt);
        buf_addz(b, " | ");
        clip(b, r->example.target);
        break;
    case STREAM_TOKENS:
        for (uint32_t i = 0; i < r->tokens.n; i++) trained += r->tokens.mask[i];
        buf_printf(b, "%llu  %u tokens, %u of the prompt, %u trained on  ", (unsigned long long)r->tokens.row,
                   r->tokens.n, r->tokens.n_prompt, trained);
        clip(b, r->tokens.prompt);
        buf_addz(b, " | ");
        clip(b, r->tokens.target);
        break;
    default: {
        struct str t = p->target, g = p->text;
        while (t.n && t.p[0] == ' ') t.p++, t.n--;
        while (g.n && g.p[0] == ' ') g.p++, g.n--;
        bool same = t.n == g.n && !memcmp(t.p, g.p, t.n);
        v->right += same;
        buf_printf(b, "%s %llu  ", same ? "=" : "!", (unsigned long long)p->row);
        clip(b, p->prompt);
        buf_addz(b, " | ");
        clip(b, p->text);
        if (!same) {
            buf_addz(b, " | expected ");
            clip(b, p->target);
        }
    }
    }
    buf_addc(b, '\n');
}

static void progress(struct view *v)
{
    if (!msg_is_terminal() || !v->n_loss) return;
    struct buf b = {0};
    spark_line(&b, v->loss, v->n_loss, SPARK_WIDTH, v->j->utf8);
    msg_progress("step %lld  loss %.4g  %s", (long long)v->step, v->loss[v->n_loss - 1], buf_str(&b));
    buf_fini(&b);
}

static void summary(struct view *v)
{
    struct buf *b = &v->line;
    const struct accounting *a = stream_accounting(v->j->in);
    enum stream_kind kind = stream_info_of(v->j->in)->kind;
    b->n = 0;
    if (v->n_loss) {
        buf_printf(b, "loss       %.4g -> %.4g  ", v->loss[0], v->loss[v->n_loss - 1]);
        spark_line(b, v->loss, v->n_loss, SPARK_WIDTH, v->j->utf8);
        buf_addc(b, '\n');
    }
    for (int i = 0; i < v->n_best; i++) {
        struct best *s = &v->best[i];
        plain_text(b, STRZ(s->name));
        buf_printf(b, "  %.5g -> %.5g  (least %.5g at step %lld, most %.5g at step %lld)\n", s->first, s->last,
                   s->least, (long long)s->least_step, s->most, (long long)s->most_step);
    }
    buf_printf(b, "%llu records of %s; in=%llu out=%llu dropped=%llu", (unsigned long long)v->n,
               stream_kind_names[kind], (unsigned long long)a->in, (unsigned long long)a->out,
               (unsigned long long)a->dropped);
    if (a->reasons[0]) {
        buf_addz(b, " reason=");
        plain_text(b, STRZ(a->reasons));
    }
    if (kind == STREAM_PREDICTIONS && v->n)
        buf_printf(b, "; %llu equal to their target (%.1f %%)", (unsigned long long)v->right,
                   100.0 * (double)v->right / (double)v->n);
    buf_addc(b, '\n');
}

static int run(const struct sink_job *j, struct err *e)
{
    struct view v = {.j = j};
    struct record r;
    int rc, w = 0;
    while ((rc = stream_next(j->in, &r, e)) == 1) {
        v.n++;
        v.line.n = 0;
        record_line(&v, &r);
        msg_progress(NULL);
        w = out_write(j->out, v.line.p, v.line.n, e);
        if (w == 0 && stream_is_log(r.kind)) w = out_flush(j->out, e);
        if (w < 0) break;
        if (r.kind == STREAM_METRICS) progress(&v);
    }
    msg_progress(NULL);
    if (rc == 0) {
        summary(&v);
        w = out_write(j->out, v.line.p, v.line.n, e);
    }
    free(v.loss);
    buf_fini(&v.line);
    return rc < 0 ? rc : w;
}

const struct sink sink_tty = {.name = "tty", .run = run};
