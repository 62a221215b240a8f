/* view: tokenised rows for people: which tokens are trained on, and how long the rows are. Text only, no stream. */
#ifndef PEFT_TOKEN_VIEW_H
#define PEFT_TOKEN_VIEW_H
#include "libcommon/base/out.h"
#include "libcommon/token/row.h"

/* One row: its tokens parted by U+00B7, the trained ones in [brackets] or, with color, on a green ground. */
int view_row(const struct tokenizer *t, uint64_t row, const struct row_tokens *r, bool color, struct out *o,
             struct err *e);

struct view_stats {
    uint64_t rows, tokens, trained;
    struct u32vec len; /* of each row */
};
void view_stats_add(struct view_stats *s, const struct row_tokens *r);
/* Counts, quantiles and a histogram of the rows' lengths; or the counts and quantiles as one JSON object. Sorts s->len.
 */
int view_stats_print(struct view_stats *s, bool json, struct out *o, struct err *e);
void view_stats_fini(struct view_stats *s);
#endif
