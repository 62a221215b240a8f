/* packer: rows of a data set as the host arrays of one decoder call. */
#ifndef PEFT_DATA_PACKER_H
#define PEFT_DATA_PACKER_H
#include "libcommon/data/dataset.h"
#include "libcommon/model/decoder.h"

/* Host arrays for one decoder call, filled row by row. */
struct packer {
    struct batch b;
    int32_t *ids, *pos, *q_start, *q_len, *row, *label, *virtual_row, *virtual_id;
    int32_t *kv_start, *kv_len, *cache_row; /* with a prefix */
    struct span *span, *label_span;         /* [b.n_span] */
    float *weight;                          /* [n] all the same: packer_weight */
    uint64_t *uid;
    long T_max;
    int B_max, n_virtual, last_span;
    bool prefix; /* the virtual tokens are keys and values alone */
};
/* hooks: whose virtual tokens every row begins with; or NULL. They count as tokens of T_max. */
void packer_init(struct packer *p, long T_max, int B_max, const struct hooks *hooks);
/* Rows are of n_span kinds (dataset_row.span, below n_span): a call has them one kind after another. Once, while the
 * packer is empty. */
void packer_spans(struct packer *p, int n_span);
void packer_clear(struct packer *p);
/* The rows that follow are of this kind; 0: there are rows of a later one already. Without packer_spans all will do. */
int packer_enter(struct packer *p, int span);
/* Append a row if it fits (1), else nothing (0). labels: also its label rows. */
int packer_add(struct packer *p, const struct dataset *d, size_t row, bool labels);
/* Append the first n tokens of any row, without label rows; -1: it does not fit, else the index of its first own token.
 */
long packer_tokens(struct packer *p, const int32_t *ids, uint32_t n, uint64_t row);
void packer_want(struct packer *p, long token);     /* this token gets logits */
void packer_weight(struct packer *p, float weight); /* factor of every label row's loss */
void packer_fini(struct packer *p);
#endif
