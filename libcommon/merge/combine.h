/* combine: several LoRA adapters of one base become one, as peft's add_weighted_adapter does it (0.21): the sum of
 * their A and of their B (linear), their concatenation (cat), the closest update of a rank to the sum of their updates
 * (svd); the first and the last also of pruned values: TIES (Yadav et al. 2023), DARE (Yu et al. 2024), magnitudes.
 * A negative weight subtracts.
 *
 * Where peft draws a mask, ours is a pure function of seed, module and the adapter's place; of equal magnitudes the
 * first count as larger. Sums are f64, one thread. */
#ifndef PEFT_MERGE_COMBINE_H
#define PEFT_MERGE_COMBINE_H
#include "libcommon/peft/lora_set.h"

#define COMBINE_CHOICES                                                                                           \
    "linear|cat|svd|ties|ties_svd|dare_linear|dare_linear_svd|dare_ties|dare_ties_svd|magnitude_prune|magnitude_" \
    "prune_svd"
enum combine_how { /* in the order of COMBINE_CHOICES */
                   COMBINE_LINEAR,
                   COMBINE_CAT,
                   COMBINE_SVD,
                   COMBINE_TIES,
                   COMBINE_TIES_SVD,
                   COMBINE_DARE_LINEAR,
                   COMBINE_DARE_LINEAR_SVD,
                   COMBINE_DARE_TIES,
                   COMBINE_DARE_TIES_SVD,
                   COMBINE_PRUNE,
                   COMBINE_PRUNE_SVD
};
#define MAJORITY_CHOICES "total|frequency"
struct combine {
    enum combine_how how;
    double density; /* of what is pruned: the share that stays, (0, 1]; combine_prunes says whether it counts */
    int rank;       /* of ..._svd; 0: the largest rank of the adapters */
    bool by_number; /* ties: the sign of most adapters wins, not that of the sum */
    uint64_t seed;  /* of DARE's masks */
    bool force;     /* also of different bases */
};
bool combine_prunes(enum combine_how how);
bool combine_elects(enum combine_how how); /* is there a majority of signs? */
bool combine_decomposes(enum combine_how how);

/* in [n] with weight [n] into out, zeroed; every pair of out has the factor 1. E_MISMATCH: other bases, shapes, or
 * ranks where one is needed. */
int combine(const struct combine *c, const struct lora_set *in, const double *weight, int n, struct lora_set *out,
            struct err *e);

/* u diag(s) v of delta [out][in] as a pair of rank p->r (combine.c, extract.c): B = u diag(s), A = v; zeros where the
 * matrix has not so many. */
int combine_decompose(const double *delta, struct lora_pair *p, struct err *e);
#endif
