/* optim_adamw: AdamW (Loshchilov & Hutter 2019), in torch.optim.AdamW's order of operations. */
#include <math.h>
#include "libcommon/train/optim.h"

struct adamw_opts {
    double weight_decay, beta1, beta2, eps;
};

static const struct opt rows[] = {
    OPT(struct adamw_opts, weight_decay, "weight-decay", OPT_FLOAT, "training", .arg = "X", .def = "0", .lo = 0,
        .hi = 10, .help = "decoupled weight decay of AdamW"),
    OPT(struct adamw_opts, beta1, "beta1", OPT_FLOAT, "training", .arg = "X", .key = "training.adam_beta1",
        .def = "0.9", .lo = 0, .hi = 0.999999, .help = "decay of AdamW's first moment"),
    OPT(struct adamw_opts, beta2, "beta2", OPT_FLOAT, "training", .arg = "X", .key = "training.adam_beta2",
        .def = "0.999", .lo = 0, .hi = 0.9999999, .help = "decay of AdamW's second moment"),
    OPT(struct adamw_opts, eps, "eps", OPT_FLOAT, "training", .arg = "X", .key = "training.adam_epsilon", .def = "1e-8",
        .lo = 1e-30, .hi = 1, .help = "AdamW's epsilon"),
    OPT_END};

static void begin(const void *opts, int64_t t, struct step_dev *s)
{
    const struct adamw_opts *o = opts;
    s->bias1 = 1.0 - pow((double)(float)o->beta1, (double)t);
    s->bias2 = 1.0 - pow((double)(float)o->beta2, (double)t);
}

static int step(const struct ops *ops, const struct op_ctx *cx, float *p, const float *g, float *const *state, long n,
                const void *opts, float rate, const struct step_dev *s)
{
    const struct adamw_opts *o = opts;
    const struct adamw hp = {.beta1 = (float)o->beta1,
                             .beta2 = (float)o->beta2,
                             .eps = (float)o->eps,
                             .weight_decay = (float)o->weight_decay,
                             .rate = rate};
    return ops->adamw(cx, p, state[0], state[1], g, n, &hp, s);
}

const struct optim optim_adamw = {
    .name = "adamw",
    .n_state = 2,
    .state = {"exp_avg", "exp_avg_sq"},
    .opts = rows,
    .opts_size = sizeof(struct adamw_opts),
    .begin = begin,
    .step = step,
};
