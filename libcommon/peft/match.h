/* match: which modules are adapted, by PEFT's rules. An entry of target_modules is a module's name, its path, or the
 * end of its path behind a dot; a single string that is no such name is a regular expression for the whole path, as
 * Python's re.fullmatch reads it; "all-linear" is every projection of the layers. exclude_modules takes away what it
 * names likewise, and layers_to_transform all layers but some, unless the target is a whole path. */
#ifndef PEFT_PEFT_MATCH_H
#define PEFT_PEFT_MATCH_H
#include <stdbool.h>
#include "libcommon/base/err.h"
#include "libcommon/base/opt.h"
#include "libcommon/model/model.h"

struct adapter_opts {
    struct strlist target;         /* names, "all-linear", "auto", or one expression */
    struct strlist exclude;        /* names, or one expression; none: nothing */
    struct strlist layers;         /* numbers, or spans of them: "4-11"; none: all */
    struct strlist layers_pattern; /* names of the list that the numbers count in, as expressions; none: any */
};

struct match;
/* E_TARGET: an empty list, a bad expression, one that matches nothing or other modules too, or a name that is no
 * projection of the model (with the nearest one as a hint); a layer that the model does not have; nothing is left. */
struct match *match_new(const struct model *m, const struct adapter_opts *o, struct err *e);
/* E_CONFIG if more than names is said: of a method whose files have no place for it. */
int match_names_only(const struct adapter_opts *o, const char *method, struct err *e);
/* Is it a projection that is adapted? s is one of the model's table. */
bool match_site(const struct match *m, const struct site *s);
const char *match_regex(const struct match *m); /* the expression of target_modules; NULL: names */
void match_free(struct match *m);
/* Does an entry of a list name the site? */
bool match_entry(const char *entry, const struct site *s);
/* Names of the projections, each once, in the order of the sites; malloc'ed array of borrowed strings. */
const char **match_leaves(const struct model *m, int *n);
/* The expression that a list was before it was cut at its commas; NULL: names, as all are without a model. malloc'ed.
 */
char *match_expression(const struct model *m, const struct strlist *l);
/* "3" or "4-11". */
bool match_layers(const char *text, int *first, int *last);
/* Notes on entries of exclude_modules that name nothing. */
void match_note(const struct model *m, const struct adapter_opts *o);
#endif
