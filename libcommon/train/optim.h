/* optim: what an optimizer is to the trainer: arrays of state beside the parameters, options, and one step. One file
 * per optimizer, one line in optims.def. */
#ifndef PEFT_TRAIN_OPTIM_H
#define PEFT_TRAIN_OPTIM_H
#include "libcommon/base/opt.h"
#include "kernels/ops.h"

enum { OPTIM_STATES = 4 };
struct optim {
    const char *name;
    int n_state;
    const char *state[OPTIM_STATES]; /* names of the arrays, each [parameters] f32, in the plan and in checkpoints */
    const struct opt *opts;
    size_t opts_size;
    /* What the host must say of update t (from 1) in the step's scalars. */
    void (*begin)(const void *opts, int64_t t, struct step_dev *s);
    /* One step over n parameters with the rate in s times `rate`; nothing if s->skip. enum dev_status. */
    int (*step)(const struct ops *ops, const struct op_ctx *cx, float *p, const float *g, float *const *state, long n,
                const void *opts, float rate, const struct step_dev *s);
};
extern const struct optim *const optims[]; /* ended by NULL */
const struct optim *optim_find(const char *name);
const char *optim_names(void);
int optim_count(void);
int optim_groups(struct opt_group *from); /* option groups of all, each with a block of its own; how many */
#endif
