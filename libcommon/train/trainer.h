/* trainer: a training run from its options to RUN/adapter.
 *
 * The step is the unit of everything: its rows are a pure function of (seed, epoch, step), its loss is the sum over its
 * trained tokens divided by their number, whatever the micro-batches, and a checkpoint stands between two steps. */
#ifndef PEFT_TRAIN_TRAINER_H
#define PEFT_TRAIN_TRAINER_H
#include "libcommon/base/tool.h"
#include "libcommon/data/packer.h"
#include "libcommon/eval/score.h"
#include "libcommon/data/packer.h"
#include "libcommon/peft/compose.h"
#include "libcommon/train/optim.h"
#include "libcommon/train/run_log.h"
#include "libcommon/train/telemetry.h"
#include "libcommon/train/train_opts.h"
#include "libcommon/train/train_state.h"

/* One adapter in training: its parameters, optimizer, gradient, best values and log. */
struct job {
    struct adapter *adapter;
    const struct optim *optim;
    const void *optim_opts;
    /* A step's gradient is the sum of its micro-batches' gradients in their order, each summed on its own (in part). */
    float *grad, *part;
    float *state[OPTIM_STATES];      /* of the optimizer */
    float *host_state[OPTIM_STATES]; /* [adapter->n_trained] for checkpoints */
    float *best;                     /* [adapter->size] copy of the best adapter; NULL: none yet */
    struct plan plan;                /* of all this on the device */
    struct train_state s;
    struct run_log log;
};
enum { TRAIN_JOBS = 1 }; /* several adapters at once: the loops are there, the rows' spans are not yet */

struct trainer {
    const struct train_opts *o;
    const struct opt_common *c;
    struct tool_run *run;
    const char *run_dir;
    char fingerprint[65]; /* of all that decides the result: options, data, base */
    char *identity;       /* the same in words (identity.h) */

    struct device *dev;
    struct model *model;
    struct composition adapters; /* the job's, which is not owned here, and frozen ones beside it */
    int trained;                 /* index of the job's */
    const char *start;           /* directory that the job's begins with; NULL: fresh */
    struct hooks hooks;          /* of all of them */
    struct tokenizer *tok;       /* NULL unless the evaluation generates */
    struct dataset train, eval;
    bool has_eval;
    enum dtype prec;

    struct decoder dec, gen; /* training and likelihood; generation */
    bool has_gen;
    struct gen_opts gen_opts;
    struct u32vec ends; /* gen_opts.ends */
    struct packer packer;
    uint32_t *perm; /* [rows] order of the current epoch */
    int64_t perm_epoch;

    int64_t rows_per_step, steps_per_epoch, total_steps, warmup, save_every, eval_every;
    struct score_set scores;
    int metric_index; /* of --metric within its metric's results; -1: eval_loss, -2: none */
    const struct metric *metric;
    struct job job[TRAIN_JOBS];
    struct telemetry telemetry;
};

/* setup.c */
int train_setup(struct trainer *t, struct stream_reader *tokens, struct err *e);
int train_alloc(struct trainer *t, struct err *e); /* after --plan had its chance */
int train_plan_print(const struct trainer *t, FILE *f, struct err *e);
void train_free(struct trainer *t);
/* step.c */
int train_step(struct trainer *t, double *loss, double *grad_norm, struct err *e);
/* Rows of a step (from 0): their number, and the first as an index into the epoch's order. */
size_t train_step_rows(const struct trainer *t, int64_t step, size_t *first);
double train_rate(const struct trainer *t, int64_t step);
/* evaluate.c */
int train_evaluate(struct trainer *t, struct err *e);
/* state.c */
int train_save(struct trainer *t, struct err *e);
int train_restore(struct trainer *t, const char *path, struct err *e);
int train_finish(struct trainer *t, struct err *e); /* RUN/adapter, manifest.json */
/* loop.c: the whole run; E_INTR after a signal, with a checkpoint saved. */
int train_loop(struct trainer *t, struct err *e);
#endif
