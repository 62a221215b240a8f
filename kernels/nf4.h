/* nf4: 4-bit NormalFloat (DT_NF4): a block of 64 values is one f32, the largest magnitude, and 64 numbers of a table's
 * 16 values, which are quantiles of the normal distribution. One value = table[code] * absmax, rounded once to f32.
 *
 * Layout of the 36 bytes: absmax; then 8 little-endian words of 32 bits, of which bits 4 i .. 4 i + 3 of word j are the
 * code of value 8 i + j. So eight neighbours are one shift of eight words, and a table look-up by lane needs no mask.
 * It is a layout of memory alone: no file has it. bitsandbytes keeps absmax apart and puts value 2 k into the high half
 * of byte k, 2 k + 1 into the low half. Not here: nested quantisation of absmax. Source: Dettmers et al. 2023, QLoRA,
 * appendix E; which code a value gets is bitsandbytes' (tests/parity/record_nf4.py). */
#ifndef KERNELS_NF4_H
#define KERNELS_NF4_H
#include <stdint.h>
#include <string.h>

enum { NF4_BLOCK = 64 };

static const float nf4_value[16] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

static inline int nf4_code(const unsigned char *block, int i)
{
    return block[4 + i % 8 * 4 + i / 16] >> (i / 8 % 2 * 4) & 15;
}

static inline void nf4_block_values(const unsigned char *block, float *dst)
{
    float absmax;
    memcpy(&absmax, block, sizeof absmax);
    for (int i = 0; i < NF4_BLOCK; i++) dst[i] = nf4_value[nf4_code(block, i)] * absmax;
}

/* The code of x is the number of midpoints between neighbours of the table that x / absmax exceeds. A NaN makes the
 * block NaN: magnitudes are compared as integers, where NaN is the largest. */
static inline void nf4_block_from(const float *x, unsigned char *block)
{
    int32_t bits[NF4_BLOCK], top = 0, code[NF4_BLOCK];
    float absmax, middle[15];
    memcpy(bits, x, sizeof bits);
    for (int i = 0; i < NF4_BLOCK; i++) top = (bits[i] & INT32_MAX) > top ? bits[i] & INT32_MAX : top;
    memcpy(&absmax, &top, sizeof absmax);
    const float inv = 1.0f / (absmax < 1e-38f ? 1e-38f : absmax); /* a block of zeros: code 7 */
    for (int t = 0; t < 15; t++) middle[t] = (nf4_value[t] + nf4_value[t + 1]) / 2;
    for (int i = 0; i < NF4_BLOCK; i++) {
        const float v = x[i] * inv;
        int32_t c = 0;
        for (int t = 0; t < 15; t++) c += v > middle[t];
        code[i] = c;
    }
    memcpy(block, &absmax, sizeof absmax);
    for (int b = 0; b < NF4_BLOCK / 2; b++) {
        const int i = b % 4 * 16 + b / 4;
        block[4 + b] = (unsigned char)(code[i] | code[i + 8] << 4);
    }
}
#endif
