/* per_module: values of modules by expressions, as PEFT's rank_pattern and alpha_pattern. */
#ifndef PEFT_PEFT_PER_MODULE_H
#define PEFT_PEFT_PER_MODULE_H
#include "libcommon/base/opt.h"
#include "libcommon/model/model.h"

struct adapter_opts;
/* For each site the number of the first "EXPRESSION=NUMBER" that matches the end of its path behind a dot, or all of
 * it; usual where none does. [m->n_site], malloc'ed; NULL: an error before, E_TARGET, a bad expression, or one that
 * stands there twice; E_CONFIG, a number that is not in [lo, hi], or not whole where it has to be. key: of the map, for
 * messages. One that matches no module among the targets is noted. */
double *per_module(const struct strlist *map, double usual, double lo, double hi, bool whole, const char *key,
                   const struct model *m, const struct adapter_opts *targets, struct err *e);
#endif
