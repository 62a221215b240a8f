/* rng: counter-based random numbers (Philox 4x32-10, Salmon et al. 2011). Every value is a pure function of (seed,
 * stream, index): there is no state to save, and a resumed or re-threaded run draws the same numbers. */
#ifndef PEFT_BASE_RNG_H
#define PEFT_BASE_RNG_H
#include <stdint.h>

/* One stream per use, so that no two uses share numbers. Values are part of the format: never renumber. */
enum rng_stream { RNG_SHUFFLE = 1, RNG_INIT = 2, RNG_DROPOUT = 3, RNG_SPLIT = 4, RNG_SAMPLE = 5, RNG_PRUNE = 6 };

uint64_t rng_u64(uint64_t seed, uint32_t stream, uint64_t index);
double rng_unit(uint64_t seed, uint32_t stream, uint64_t index);   /* [0, 1) */
double rng_normal(uint64_t seed, uint32_t stream, uint64_t index); /* N(0, 1), Box-Muller */
/* perm[0..n): a permutation that is a pure function of (seed, epoch). */
void rng_permute(uint32_t *perm, uint32_t n, uint64_t seed, uint64_t epoch);
/* of a byte string (split by group); same on every machine */
uint64_t rng_hash(uint64_t seed, const void *data, uint64_t n);
#endif
