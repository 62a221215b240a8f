/* merge_verify: does a merged model compute what its base with the adapter computes? Logits of both at the positions
 * that predict the target of a few rows of data (the last prompt position and on; at most 64 of a row), both in f32 on
 * the CPU. */
#ifndef PEFT_MERGE_MERGE_VERIFY_H
#define PEFT_MERGE_MERGE_VERIFY_H
#include "libcommon/model/decoder.h"

struct verify_row {
    int32_t *ids;
    int n, first; /* logits of tokens first .. n-2 (n-1 if there is no target) */
};
struct merge_verify {
    struct verify_row *row;
    int n;
    /* results */
    long positions, agree;    /* agree: the largest logit is the same token's */
    double max_abs, mean_abs; /* of the differences of logits */
    double spread;            /* largest |logit - mean| of the base: what the differences are small against */
};

/* Read up to max rows of a tokens stream, or of an examples stream, which is tokenized with the base's tokenizer.
 * E_NOROWS, E_MISMATCH. */
int merge_verify_read(struct merge_verify *v, const char *path, const struct model *base, int max, struct err *e);
/* Fill the results: base with the adapter's hooks against made. */
int merge_verify_run(struct merge_verify *v, struct model *base, const struct hooks *hooks, struct model *made,
                     struct err *e);
void merge_verify_free(struct merge_verify *v);
#endif
