/* telemetry.c: see telemetry.h. */
#include "libcommon/train/telemetry.h"
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include "libcommon/base/msg.h"
#include "libcommon/base/out.h"
#include "libcommon/train/trainer.h"

double telemetry_clock(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void put(struct trainer *t, const char *event, double now, const struct named_value *v, int n)
{
    struct telemetry *g = &t->telemetry;
    struct record r = {
        .kind = STREAM_TELEMETRY,
        .telemetry = {.event = event, .step = t->job->s.step, .seconds = now - g->start, .n = n, .metric = v}};
    struct err lost = {0};
    if (!g->file || stream_put(g->file, &r, &lost) == 0) return;
    msg_warn("%s/telemetry.mpz: %s; the run goes on without it", t->run_dir, lost.msg);
    stream_abort(g->file, &lost);
    g->file = NULL;
}

int telemetry_open(struct trainer *t, const struct stream_reader *in, struct err *e)
{
    struct stream_info info = {.kind = STREAM_TELEMETRY, .has_base = true, .eos = -1};
    memcpy(info.base, t->model->digest, sizeof info.base);
    char *path = path_join(t->run_dir, "telemetry.mpz");
    t->telemetry = (struct telemetry){.start = telemetry_clock()};
    t->telemetry.file = stream_create_live(path, &info, t->run, in, e);
    free(path);
    if (!t->telemetry.file) return -e->id;
    stream_upstream(t->telemetry.file, in);
    put(t, "start", t->telemetry.start, &(struct named_value){"total_steps", (double)t->total_steps}, 1);
    return 0;
}

static void add(struct telemetry_sum *s, double seconds, uint64_t tokens, uint64_t labels)
{
    s->seconds += seconds;
    s->steps++;
    s->tokens += tokens;
    s->labels += labels;
}

void telemetry_step(struct trainer *t, double seconds)
{
    uint64_t tokens = 0, labels = 0;
    size_t first, n = train_step_rows(t, t->job->s.step - 1, &first);
    for (size_t i = first; i < first + n; i++) {
        tokens += t->train.row[t->perm[i]].n;
        labels += t->train.row[t->perm[i]].n_label;
    }
    add(&t->telemetry.all, seconds, tokens, labels);
    add(&t->telemetry.last, seconds, tokens, labels);
}

static double ratio(double a, double b) { return b > 0 ? a / b : 0; }

void telemetry_put(struct trainer *t, const char *event)
{
    struct telemetry *g = &t->telemetry;
    const struct telemetry_sum *s = strcmp(event, "end") ? &g->last : &g->all;
    double now = telemetry_clock();
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    const struct named_value v[] = {{"tokens_per_second", ratio((double)s->tokens, s->seconds)},
                                    {"trained_tokens_per_second", ratio((double)s->labels, s->seconds)},
                                    {"seconds_per_step", ratio(s->seconds, (double)s->steps)},
                                    {"eval_fraction", ratio(g->eval_seconds, now - g->start)},
                                    {"peak_rss_bytes", (double)use.ru_maxrss * 1024}};
    put(t, event, now, v, sizeof v / sizeof *v);
    g->last = (struct telemetry_sum){0};
}

void telemetry_close(struct trainer *t, const struct err *why)
{
    struct telemetry *g = &t->telemetry;
    struct err lost = {0};
    if (why)
        stream_abort(g->file, why);
    else if (g->file && stream_finish(g->file, NULL, NULL, &lost))
        msg_warn("%s/telemetry.mpz: %s", t->run_dir, lost.msg);
    g->file = NULL;
}
