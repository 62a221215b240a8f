/* loop.c: the steps of a run, what happens between them, and how a signal ends it. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "libcommon/base/msg.h"
#include "libcommon/base/num.h"
#include "libcommon/train/trainer.h"

static volatile sig_atomic_t asked; /* signal that asks the run to save and stop */

static void on_signal(int sig)
{
    asked = sig;
    /* a second one ends the process at once */
    signal(sig, SIG_DFL);
}

static void catch_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&sa.sa_mask);
    const int sigs[] = {SIGTERM, SIGINT, SIGUSR1, SIGHUP};
    for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++) {
        struct sigaction old;
        bool nohup = sigs[i] == SIGHUP && !sigaction(SIGHUP, NULL, &old) && old.sa_handler == SIG_IGN;
        if (!nohup) sigaction(sigs[i], &sa, NULL);
    }
}

static int log_train(struct trainer *t, struct err *e)
{
    double epoch = (double)t->job->s.step / (double)t->steps_per_epoch;
    struct run_row *r = run_log_add(&t->job->log, "train", t->job->s.step, epoch);
    if (t->job->s.log_steps) run_row_put(r, "loss", t->job->s.log_loss / (double)t->job->s.log_steps);
    run_row_put(r, "learning_rate", train_rate(t, t->job->s.step - 1));
    if (t->job->s.log_steps) run_row_put(r, "grad_norm", t->job->s.log_norm);
    run_row_put(r, "trained_tokens", (double)t->job->s.log_tokens);
    run_row_put(r, "total_steps", (double)t->total_steps);
    if (t->job->s.skips) run_row_put(r, "steps_skipped", (double)t->job->s.skips);
    t->job->s.log_loss = 0;
    t->job->s.log_steps = t->job->s.log_tokens = 0;
    telemetry_put(t, "train");
    return run_log_emit(&t->job->log, t->job->log.n - 1, e);
}

static int evaluate(struct trainer *t, struct err *e)
{
    double from = telemetry_clock();
    int rc = train_evaluate(t, e);
    t->telemetry.eval_seconds += telemetry_clock() - from;
    return rc;
}

static void progress(const struct trainer *t, double loss, double t0, int64_t step0)
{
    double rate = (double)(t->job->s.step - step0) / (telemetry_clock() - t0 + 1e-9);
    double left = (double)(t->total_steps - t->job->s.step) / (rate + 1e-9);
    msg_progress("step %lld/%lld  epoch %.2f  loss %.4f  %.2f steps/s  %d:%02d left", (long long)t->job->s.step,
                 (long long)t->total_steps, (double)t->job->s.step / (double)t->steps_per_epoch, loss, rate,
                 (int)(left / 60), (int)left % 60);
}

/* Is this step (done) one that the period, or the end of an epoch for a period of 0, asks for? */
static bool due(const struct trainer *t, int64_t every)
{
    return t->job->s.step % (every ? every : t->steps_per_epoch) == 0;
}

int train_loop(struct trainer *t, struct err *e)
{
    catch_signals();
    double t0 = telemetry_clock();
    int64_t step0 = t->job->s.step;
    int rc = 0;
    bool saved = true;
    while (t->job->s.step < t->total_steps && !t->job->s.stopped && !rc && !asked) {
        double loss, norm, from = telemetry_clock();
        rc = train_step(t, &loss, &norm, e);
        if (rc) break;
        telemetry_step(t, telemetry_clock() - from);
        saved = false;
        if (!t->job->s.skips_in_row) { /* a skipped step is counted as such, and its NaN would hide the others */
            t->job->s.log_loss += loss;
            t->job->s.log_steps++;
            t->job->s.log_norm = norm;
        }
        bool last = t->job->s.step == t->total_steps;
        if (t->job->s.step % t->o->logging_steps == 0 || last) rc = log_train(t, e);
        if (!rc && t->has_eval && (due(t, t->eval_every) || last)) rc = evaluate(t, e);
        if (!rc && (due(t, t->save_every) || last || t->job->s.stopped)) {
            rc = train_save(t, e);
            saved = true;
        }
        progress(t, loss, t0, step0);
    }
    msg_progress(NULL);
    if (!rc && !asked && !t->job->s.updates && t->job->s.skips) {
        rc = err_set(e, E_DIVERGED, "all %lld steps had a non-finite loss or gradient: nothing was trained",
                     (long long)t->job->s.skips);
        err_hint(e, "look at the base model, or try --precision f32");
    }
    if (rc || !asked) return rc;
    if (!saved) rc = train_save(t, e);
    if (rc) return rc;
    return err_set(e, E_INTR, "signal %d: checkpoint saved at step %lld of %lld", (int)asked, (long long)t->job->s.step,
                   (long long)t->total_steps),
           err_hint(e, "run the same command with --resume to continue");
}
