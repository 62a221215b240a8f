/* rng: numbers drawn from Philox. The layout of counter and key is part of the format (a resumed run must draw the
 * same): key = seed; counter = (index, stream, 0). Only the hash uses counters that are data. */
#include "libcommon/base/rng.h"

#include <math.h>
#include <string.h>

#include "kernels/philox.h"

static void draw(uint64_t seed, uint32_t stream, uint64_t index, uint32_t out[4])
{
    const uint32_t ctr[4] = {(uint32_t)index, (uint32_t)(index >> 32), stream, 0};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    philox4x32(ctr, key, out);
}

static uint64_t word64(uint32_t lo, uint32_t hi) { return (uint64_t)hi << 32 | lo; }

uint64_t rng_u64(uint64_t seed, uint32_t stream, uint64_t index)
{
    uint32_t r[4];
    draw(seed, stream, index, r);
    return word64(r[0], r[1]);
}

double rng_unit(uint64_t seed, uint32_t stream, uint64_t index)
{
    return (double)(rng_u64(seed, stream, index) >> 11) * 0x1p-53;
}

double rng_normal(uint64_t seed, uint32_t stream, uint64_t index)
{
    uint32_t r[4];
    draw(seed, stream, index, r);
    double u = (double)((word64(r[0], r[1]) >> 11) + 1) * 0x1p-53; /* (0, 1]: the logarithm stays finite */
    double v = (double)(word64(r[2], r[3]) >> 11) * 0x1p-53;
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v);
}

/* Fisher-Yates. The draw x -> floor(x * m / 2^64) favours no value by more than m / 2^64. */
void rng_permute(uint32_t *perm, uint32_t n, uint64_t seed, uint64_t epoch)
{
    for (uint32_t i = 0; i < n; i++) perm[i] = i;
    for (uint32_t i = n; i-- > 1;) {
        uint64_t x = rng_u64(seed, RNG_SHUFFLE, epoch << 32 | i);
        uint32_t j = (uint32_t)(((unsigned __int128)x * ((uint64_t)i + 1)) >> 64);
        uint32_t t = perm[i];
        perm[i] = perm[j];
        perm[j] = t;
    }
}

/* A CBC-MAC with Philox as the keyed permutation of 16-byte blocks; the length comes first, so no input is a prefix of
 * another. Words are read as little-endian on every machine. */
uint64_t rng_hash(uint64_t seed, const void *data, uint64_t n)
{
    const unsigned char *p = data;
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t h[4] = {(uint32_t)n, (uint32_t)(n >> 32), RNG_SPLIT, 1};
    philox4x32(h, key, h);
    for (uint64_t at = 0; at < n; at += 16) {
        unsigned char b[16] = {0};
        memcpy(b, p + at, n - at < 16 ? (size_t)(n - at) : 16);
        for (int i = 0; i < 4; i++)
            h[i] ^= (uint32_t)b[4 * i] | (uint32_t)b[4 * i + 1] << 8 | (uint32_t)b[4 * i + 2] << 16 |
                    (uint32_t)b[4 * i + 3] << 24;
        philox4x32(h, key, h);
    }
    return word64(h[0], h[1]);
}
