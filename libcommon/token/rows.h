/* rows: a stream of examples through row_example, by batches on several threads, the results in the order of the
 * stream. What becomes of a row is row.c's matter, where it goes is the caller's. */
#ifndef PEFT_TOKEN_ROWS_H
#define PEFT_TOKEN_ROWS_H
#include "libcommon/stream/stream.h"
#include "libcommon/token/row.h"

struct rows {
    const struct tokenizer *tokenizer;
    const struct row_policy *policy;
    struct stream_reader *in;
    const char *name; /* of the input, for messages */
    int threads;
    uint64_t limit; /* rows to read */
    /* Called for each row in order, one at a time, kept or not; on any of the threads. */
    int (*put)(void *ctx, const struct example *x, const struct row_tokens *r, struct err *e);
    void *ctx;
};
struct rows_count {
    uint64_t in, out, dropped[3]; /* dropped: by enum row_fate */
    uint64_t had_eos, straddles, truncated, cut_parts, lost_prompt;
    /* Rows of a template have its special tokens; what a row has more came out of a column. */
    uint64_t specials_all, specials_least, specials_least_rows, specials_rows;
};
/* The first row that fails, in the order of the stream, is the one reported, whichever thread met it. */
int rows_run(const struct rows *r, struct rows_count *count, struct err *e);
#endif
