/* prune: which values of a change are kept, the others become zero. */
#ifndef PEFT_MERGE_PRUNE_H
#define PEFT_MERGE_PRUNE_H
#include <stdint.h>

/* The floor(density n) largest in size; of equal ones the first. */
void prune_small(double *x, long n, double density);
/* Each with the probability density, divided by it; element i by a draw that is a pure function of (seed, i). */
void prune_random(double *x, long n, double density, uint64_t seed);
#endif
