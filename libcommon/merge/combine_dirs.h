/* combine_dirs: combine by the words of a command line: "DIR" or "DIR:WEIGHT", a weight of 1 by default. */
#ifndef PEFT_MERGE_COMBINE_DIRS_H
#define PEFT_MERGE_COMBINE_DIRS_H
#include "libcommon/base/opt.h"
#include "libcommon/merge/combine.h"

/* factor: on all weights. target: where the result will be, which replaces none of them. m: see lora_set_read, or NULL.
 * E_USAGE: no adapter, or a weight that is none; E_POLICY: the target; else as lora_set_read and combine. */
int combine_dirs(const struct combine *c, const struct strlist *words, double factor, const char *target,
                 const struct model *m, struct lora_set *out, struct err *e);
#endif
