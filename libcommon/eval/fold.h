/* fold: the text equivalences that the metrics' reference implementations, which are Python programs, apply: white
 * space, lower case and SQuAD's normalisation, each equal to Python's str methods on every code point of Unicode 14. */
#ifndef PEFT_EVAL_FOLD_H
#define PEFT_EVAL_FOLD_H
#include "libcommon/base/mem.h"

/* Length of the white space character at s.p (as str.isspace), 0 if there is none. */
size_t fold_space(struct str s);
struct str fold_strip(struct str s); /* str.strip(); a view */
/* out := str.lower() of s; bytes that are not UTF-8 become U+FFFD. */
void fold_lower(struct str s, struct buf *out);
/* out := SQuAD's normalize_answer: lower case, without ASCII punctuation, without the words a, an, the, white space
 * single. */
void fold_squad(struct str s, struct buf *out);
#endif
