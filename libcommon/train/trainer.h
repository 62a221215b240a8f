/* trainer: a training run from its options to RUN/adapter.
 *
 * The step is the unit of everything: its rows are a pure function of (seed, epoch, step), its loss is the sum over its
 * trained tokens divided by their number, whatever the micro-batches, and a checkpoint stands between two steps. */
#ifndef PEFT_TRAIN_TRAINER_H
#define PEFT_TRAIN_TRAINER_H
#include "libcommon/base/tool.h"
#include "libcommon/data/packer.h"
#include "libcommon/eval/score.h"
#include "libcommon/peft/method.h"
#include "libcommon/train/run_log.h"
#include "libcommon/train/telemetry.h"
#include "libcommon/train/train_opts.h"

struct train_state { /* what a checkpoint carries besides arrays and the log */
    int64_t step;    /* steps done */
    int64_t updates; /* of them, not skipped: AdamW's t */
    int64_t skips;   /* skipped in all */
    int64_t skips_in_row;
    double log_loss; /* sum of step losses since the last record */
    int64_t log_steps, log_tokens;
    double log_norm; /* gradient norm of the last step */
    bool has_best;
    double best; /* value of --metric */
    int64_t best_step, bad_evals;
    bool stopped; /* early */
};

struct trainer {
    const struct train_opts *o;
    const struct opt_common *c;
    struct tool_run *run;
    const void *method_config; /* the method's options struct */
    const char *run_dir;
    char fingerprint[65]; /* of all that decides the result: options, data, base */

    struct device *dev;
    struct model *model;
    struct adapter *adapter;
    struct tokenizer *tok; /* NULL unless the evaluation generates */
    struct dataset train, eval;
    bool has_eval;
    enum dtype prec;

    struct decoder dec, gen; /* training and likelihood; generation */
    bool has_gen;
    struct gen_opts gen_opts;
    struct packer packer;
    struct plan opt_plan; /* gradient, moments, sum of squares */
    float *grad, *m, *v;
    double *sumsq;
    float *nll_host;
    float *host_m, *host_v; /* [adapter->size] */
    float *best;            /* [adapter->size] copy of the best adapter; NULL: none yet */
    uint32_t *perm;         /* [rows] order of the current epoch */
    int64_t perm_epoch;

    int64_t rows_per_step, steps_per_epoch, total_steps, warmup, save_every, eval_every;
    struct score_set scores;
    int metric_index; /* of --metric within its metric's results; -1: eval_loss, -2: none */
    const struct metric *metric;
    struct train_state s;
    struct run_log log;
    struct telemetry telemetry;
};

/* setup.c */
int train_setup(struct trainer *t, struct stream_reader *tokens, struct err *e);
int train_alloc(struct trainer *t, struct err *e); /* after --plan had its chance */
int train_plan_print(const struct trainer *t, FILE *f, struct err *e);
void train_free(struct trainer *t);
/* step.c */
int train_step(struct trainer *t, double *loss, double *grad_norm, struct err *e);
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
