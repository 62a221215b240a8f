/* tty: a stream for people: one line per event or record as it comes, a progress line with the loss so far, and a
 * summary. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
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
    int64_t step, total, first_step; /* total: 0 if unknown */
    double first_time;               /* when the first step was met */
    uint64_t n, right;               /* records; predictions equal to their target */
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void note_step(struct view *v, int64_t step)
{
    v->step = step;
    if (v->first_time > 0 || !step) return;
    v->first_time = seconds();
    v->first_step = step;
}

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
    note_step(v, m->step);
    plain_text(b, STRZ(m->event));
    while (b->n < 10) buf_addc(b, ' ');
    buf_printf(b, " step %-6lld epoch %-6.2f", (long long)m->step, m->epoch);
    for (int i = 0; i < m->n; i++) {
        if (!strcmp(m->metric[i].key, "total_steps")) { /* the progress line has it */
            v->total = (int64_t)m->metric[i].value;
            continue;
        }
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

static void telemetry_line(struct view *v, const struct telemetry_row *t)
{
    struct buf *b = &v->line;
    note_step(v, t->step);
    for (int i = 0; i < t->n; i++)
        if (!strcmp(t->metric[i].key, "total_steps")) v->total = (int64_t)t->metric[i].value;
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
        telemetry_line(v, &r->telemetry);
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
    if (!msg_is_terminal() || !v->step) return;
    struct buf b = {0};
    double passed = seconds() - v->first_time, rate = (double)(v->step - v->first_step) / (passed + 1e-9);
    buf_printf(&b, "step %lld", (long long)v->step);
    if (v->total) buf_printf(&b, "/%lld", (long long)v->total);
    if (v->n_loss) buf_printf(&b, "  loss %.4g", v->loss[v->n_loss - 1]);
    if (passed > 1 && rate > 0) buf_printf(&b, "  %.2f steps/s", rate);
    if (passed > 1 && rate > 0 && v->total > v->step) {
        int left = (int)((double)(v->total - v->step) / rate);
        buf_printf(&b, "  %d:%02d left", left / 60, left % 60);
    }
    buf_addz(&b, "  ");
    spark_line(&b, v->loss, v->n_loss, SPARK_WIDTH, v->j->utf8);
    msg_progress("%s", buf_str(&b));
    buf_fini(&b);
}

/* Fit the line to a terminal: figures go on in further lines, a text is cut. */
static void fit(struct buf *line, int columns, bool figures)
{
    struct buf b = {0};
    int at = 0;
    for (size_t i = 0; i < line->n;) {
        const char *p = line->p + i, *gap = memmem(p + 1, line->n - i - 1, "  ", 2);
        size_t n = gap && figures ? (size_t)(gap - p) : line->n - i;
        int wide = 0;
        for (size_t k = 0; k < n; k++) wide += ((unsigned char)p[k] & 0xc0) != 0x80 && p[k] != '\n';
        if (figures && at && at + wide > columns) {
            buf_addz(&b, "\n         ");
            at = 9;
        }
        if (!figures && wide > columns) {
            for (size_t k = 0; at < columns - 3 || (k < n && ((unsigned char)p[k] & 0xc0) == 0x80); k++) {
                at += ((unsigned char)p[k] & 0xc0) != 0x80;
                buf_addc(&b, p[k]);
            }
            buf_addz(&b, "...\n");
        } else {
            buf_add(&b, p, n);
        }
        at += wide;
        i += n;
    }
    buf_fini(line);
    *line = b;
}

static void summary(struct view *v, bool whole)
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
    if (!whole) {
        buf_printf(b, "%llu records of %s up to here\n", (unsigned long long)v->n, stream_kind_names[kind]);
        return;
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
        int columns = j->terminal ? msg_columns(STDOUT_FILENO) : 0;
        if (columns > 20) fit(&v.line, columns, stream_is_log(r.kind));
        msg_progress(NULL);
        w = out_write(j->out, v.line.p, v.line.n, e);
        if (w == 0 && stream_is_log(r.kind)) w = out_flush(j->out, e);
        if (w < 0) break;
        if (stream_is_log(r.kind)) progress(&v);
    }
    msg_progress(NULL);
    if (w == 0 && (rc == 0 || v.n)) { /* also of a stream that was interrupted: it is what there is */
        struct err second = {0};
        summary(&v, rc == 0);
        w = out_write(j->out, v.line.p, v.line.n, rc < 0 ? &second : e);
    }
    free(v.loss);
    buf_fini(&v.line);
    return rc < 0 ? rc : w;
}

const struct sink sink_tty = {.name = "tty", .run = run};
