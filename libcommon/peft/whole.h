/* whole: what methods share whose parameters are weights and biases themselves, of modules of any kind: they begin as
 * the model's values and stand for them (hooks_replace). Roles are enum hook_weight. */
#ifndef PEFT_PEFT_WHOLE_H
#define PEFT_PEFT_WHOLE_H
#include "libcommon/peft/adapter.h"

/* Weights and biases of the modules that target_modules names: each a name, a path or the end of one; "all": every
 * module, "all-linear": the projections. Names of the tensors: before, the module's path, behind, ".weight" or ".bias".
 * E_TARGET: a name that is none (with the nearest), an expression. */
int whole_declare(struct adapter *a, const struct model *m, const char *before, const char *behind, struct err *e);
int whole_start(const struct adapter *a, const struct model *m, uint64_t seed, float *host, struct err *e);
int whole_bind(const struct adapter *a, struct hooks *h, struct err *e);
int whole_merge(const struct adapter *a, const float *data, const struct site *s, bool bias, float *w, int rows,
                int cols, double factor, struct err *e);
#endif
