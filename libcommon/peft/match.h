/* match: which modules `target_modules` names, by PEFT's rules: a list matches the last part of a module's path, a
 * single string that is no module name is a regular expression for the whole path, "all-linear" is every projection of
 * the layers. */
#ifndef PEFT_PEFT_MATCH_H
#define PEFT_PEFT_MATCH_H
#include <stdbool.h>
#include "libcommon/base/err.h"
#include "libcommon/base/opt.h"

struct match;
/* E_TARGET: an empty list, a bad expression, or a name that is no module (with the nearest one as a hint). */
struct match *match_new(const struct strlist *target, struct err *e);
/* "model.layers.0.self_attn.q_proj", "q_proj" */
bool match_module(const struct match *m, const char *path, const char *name);
bool match_is_regex(const struct match *m);
void match_free(struct match *m);
#endif
