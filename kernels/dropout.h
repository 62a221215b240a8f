/* dropout: the mask of a linear's low-rank input, the same for both twins.
 *
 * The mask is a pure function of (seed, step, key, uid, column): not of packing, batch shape, threads or device.
 * Column c of token uid takes word c % 4 of Philox(counter = {c / 4, uid low, uid high, step}, dropout_key(seed, key))
 * and is dropped when that word is below p * 2^32. What is kept is scaled by 1 / (1 - p), so the expectation does not
 * change. */
#ifndef KERNELS_DROPOUT_H
#define KERNELS_DROPOUT_H
#include "kernels/philox.h"

/* The seed and the key of a low-rank path mixed to 64 bits (the finalizer of splitmix64). */
PHILOX_FN uint64_t dropout_key(uint64_t seed, uint64_t key)
{
    uint64_t z = seed + 0x9E3779B97F4A7C15ull * (key | 1);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

/* Words below it are dropped; p in [0, 1). */
PHILOX_FN uint32_t dropout_threshold(float p) { return (uint32_t)((double)p * 4294967296.0); }

/* The factors (0 or 1/(1-p)) of columns 4*quad .. 4*quad+3 of one token. */
PHILOX_FN void dropout_factors(uint64_t key, uint32_t step, uint64_t uid, uint32_t quad, uint32_t threshold,
                               float keep_scale, float out[4])
{
    const uint32_t ctr[4] = {quad, (uint32_t)uid, (uint32_t)(uid >> 32), step};
    const uint32_t k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    uint32_t w[4];
    philox4x32(ctr, k, w);
    for (int i = 0; i < 4; i++) out[i] = w[i] < threshold ? 0.0f : keep_scale;
}
#endif
