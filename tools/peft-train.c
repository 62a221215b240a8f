/* peft-train: train an adapter on a tokens stream.
 * Reads tokens (FILE or stdin); writes a run directory, and the metrics as a stream on stdout when that is no terminal.
 *   peft-tok -m model.gguf examples.mpz | peft-train -m model.gguf -c config.yaml -o run | peft-log */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/num.h"
#include "libcommon/base/out.h"
#include "libcommon/train/rundir.h"
#include "libcommon/train/trainer.h"

struct options {
    struct opt_common c;
    struct train_opts t;
};

/* Replay what a resumed run already has, so that both streams are whole. */
static int open_logs(struct trainer *t, const struct stream_reader *in, struct err *e)
{
    struct stream_info info = {.kind = STREAM_METRICS, .has_base = true, .eos = -1};
    memcpy(info.base, t->model->digest, sizeof info.base);
    char *path = path_join(t->run_dir, "metrics.mpz");
    t->job->log.file = stream_create_live(path, &info, t->run, in, e);
    free(path);
    if (!t->job->log.file) return -e->id;
    stream_upstream(t->job->log.file, in);
    if (!isatty(STDOUT_FILENO)) {
        t->job->log.out = stream_create(NULL, false, &info, t->run, in, e);
        if (!t->job->log.out) return -e->id;
        stream_upstream(t->job->log.out, in);
    }
    int rc = telemetry_open(t, in, e);
    for (size_t i = 0; i < t->job->log.n && !rc; i++) rc = run_log_emit(&t->job->log, i, e);
    return rc;
}

static int write_config(const struct trainer *t, struct err *e)
{
    char *path = path_join(t->run_dir, "config.yaml"), *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    int rc = f ? 0 : err_set(e, E_NOMEM, "out of memory");
    if (!rc) rc = opt_print_yaml(t->run->set, f, true) ? err_set(e, E_IO, "%s: cannot write", path) : 0;
    if (f) fclose(f);
    struct out o = {0};
    if (!rc) rc = out_open(&o, path, true, false, e);
    if (!rc) rc = out_write(&o, text, n, e);
    if (!rc) rc = out_commit(&o, e);
    if (rc) out_abort(&o);
    free(text);
    free(path);
    return rc;
}

/* END on the streams, or ABORT with the reason. */
static int close_logs(struct trainer *t, int rc, struct err *e)
{
    struct accounting a = {.in = t->job->log.n, .out = t->job->log.n};
    if (!rc) telemetry_put(t, "end");
    telemetry_close(t, rc ? e : NULL);
    if (rc) {
        stream_abort(t->job->log.out, e);
        stream_abort(t->job->log.file, e);
        return rc;
    }
    struct err lost = {0};
    if (t->job->log.out && stream_finish(t->job->log.out, &a, NULL, &lost)) msg_warn("stdout: %s", lost.msg);
    return stream_finish(t->job->log.file, &a, NULL, e);
}

static int train(struct trainer *t, struct rundir *dir, struct stream_reader *in, struct err *e)
{
    int rc = train_setup(t, in, e);
    if (rc) return rc;
    if (t->o->plan || t->c->dry_run) return train_plan_print(t, stdout, e);
    int done = t->o->resume ? rundir_finished(t->run_dir, t->fingerprint, e) : 0;
    if (done < 0) return done;
    if (done) return msg_note("%s: finished already; nothing to do", t->run_dir), 0;
    rc = train_alloc(t, e);
    if (!rc) rc = rundir_make(dir, e);
    if (!rc) rc = write_config(t, e);
    if (rc) return rc;
    rc = open_logs(t, in, e);
    if (!rc) rc = train_loop(t, e);
    rc = close_logs(t, rc, e);
    if (!rc) rc = train_finish(t, e);
    if (rc) return rc;
    msg_account(t->train.n, t->train.n, 0, "");
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    msg_note("%s: %lld steps, adapter of step %lld, peak memory %s", t->run_dir, (long long)t->job->s.step,
             (long long)(t->job->s.has_best ? t->job->s.best_step : t->job->s.step),
             num_bytes((uint64_t)use.ru_maxrss * 1024));
    return 0;
}

static int run(struct tool_run *r, void *opts, struct err *e)
{
    struct options *o = opts;
    uint64_t size;
    if (o->t.device_memory && !o->t.plan) return err_set(e, E_USAGE, "--device-memory goes with --plan");
    if (o->t.device_memory && !num_size(o->t.device_memory, strlen(o->t.device_memory), &size))
        return err_set(e, E_USAGE, "--device-memory: found %s, expected a size such as 24G",
                       err_quotez(o->t.device_memory));
    bool needs_dir = !o->t.plan && !o->c.dry_run;
    if (needs_dir && !o->c.output) {
        err_set(e, E_USAGE, "no run directory");
        return err_hint(e, "-o RUN; or --plan to see what the run would need");
    }
    struct rundir dir = {0};
    int rc = needs_dir ? rundir_open(&dir, o->c.output, o->t.resume, o->c.force, e) : 0;
    struct stream_reader *in = rc ? NULL : stream_open_all(&r->operands, STREAM_TOKENS, e);
    if (in) {
        struct trainer t = {.o = &o->t, .c = &o->c, .run = r, .run_dir = o->c.output ? o->c.output : "."};
        rc = train(&t, &dir, in, e);
        stream_close(in);
        train_free(&t);
    }
    rundir_close(&dir);
    return in ? rc : -e->id;
}

int main(int argc, char **argv)
{
    /* the tool's own, the methods' and the optimizers', each with a block of its own, and the end */
    struct opt_group *groups = mem_alloc((size_t)(peft_method_count() + optim_count()) + 5, sizeof *groups);
    int n = 0;
    groups[n++] = (struct opt_group){opt_common_rows, offsetof(struct options, c), 0};
    groups[n++] = (struct opt_group){train_opt_rows, offsetof(struct options, t), 0};
    groups[n++] = (struct opt_group){quantize_opt_rows, offsetof(struct options, t.quantize), 0};
    n += optim_groups(groups + n);
    peft_method_groups(groups + n);
    const struct tool tool = {
        .name = "peft-train",
        .summary = "train an adapter on a tokens stream",
        .usage = "[OPTION]... -m MODEL -o RUN [TOKENS...]",
        .example = "peft-tok -m model.gguf examples.mpz | peft-train -m model.gguf -c config.yaml -o run | peft-log",
        .groups = groups,
        .opts_size = sizeof(struct options),
        .max_operands = -1,
        .run = run,
        .sigpipe_ignored = 1,
    };
    int rc = tool_main(&tool, argc, argv);
    free(groups);
    return rc;
}
