/* match: which modules `target_modules` names, by PEFT's rules: an entry of a list is a module's name, its path, or the
 * end of its path behind a dot; a single string that is no such name is a regular expression for the whole path, as
 * Python's re.fullmatch reads it; "all-linear" is every projection of the layers. */
#ifndef PEFT_PEFT_MATCH_H
#define PEFT_PEFT_MATCH_H
#include <stdbool.h>
#include "libcommon/base/err.h"
#include "libcommon/base/opt.h"
#include "libcommon/model/model.h"

struct match;
/* E_TARGET: an empty list, a bad expression, one that matches nothing or other modules too, or a name that is no
 * projection of the model (with the nearest one as a hint). */
struct match *match_new(const struct model *m, const struct strlist *target, struct err *e);
/* Is it a projection that is named? s is one of the model's table. */
bool match_site(const struct match *m, const struct site *s);
const char *match_regex(const struct match *m); /* the expression; NULL: names */
void match_free(struct match *m);
/* Does an entry of a list name the site? */
bool match_entry(const char *entry, const struct site *s);
/* Names of the projections, each once, in the order of the sites; malloc'ed array of borrowed strings. */
const char **match_leaves(const struct model *m, int *n);
#endif
