/* words: a text as a sequence of words, and two of them as small numbers so that comparing words costs nothing. */
#ifndef PEFT_EVAL_WORDS_H
#define PEFT_EVAL_WORDS_H
#include "libcommon/base/mem.h"

struct words { /* {0} is empty and valid; views into the text that was split */
    struct str *v;
    size_t n, cap;
};
void words_split(struct words *w, struct str text); /* at white space, as str.split(); replaces w's content */
void words_add(struct words *w, struct str word);
void words_fini(struct words *w);

/* ids of a.n words of a, then b.n of b, equal words equal ids, counted from 0; returns how many different ones there
 * are. ids has room for a.n + b.n. */
uint32_t words_ids(const struct words *a, const struct words *b, uint32_t *ids);
/* Sum over the different ids of min(times in the first na of ids, times in the nb that follow). */
size_t words_common(const uint32_t *ids, size_t na, size_t nb, uint32_t n_different);
#endif
