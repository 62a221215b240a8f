/* finite.c: see finite.h. Floats whose exponent has all its bits are infinite or NaN. */
#include "libcommon/format/finite.h"
#include <stdbool.h>
#include <string.h>

enum { F16_EXPONENT = 0x7c00, BF16_EXPONENT = 0x7f80, PIECE = 4096 };
static const uint32_t f32_exponent = 0x7f800000;

/* No exit from within the loop, so that it is compiled to vectors. */
static bool any_16(const unsigned char *p, size_t n, uint16_t exponent)
{
    uint16_t found = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t x;
        memcpy(&x, p + 2 * i, 2);
        found |= (uint16_t)((x & exponent) == exponent);
    }
    return found;
}

static bool any_32(const unsigned char *p, size_t n)
{
    uint32_t found = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t x;
        memcpy(&x, p + 4 * i, 4);
        found |= (x & f32_exponent) == f32_exponent;
    }
    return found;
}

/* Is a value of the n blocks at p not finite? Scales and offsets of quantised blocks stand first in them. */
static bool any(enum dtype t, const unsigned char *p, size_t n)
{
    const size_t block = (size_t)dtype_info[t].bytes;
    bool found = false;
    switch (t) {
    case DT_F32:
        return any_32(p, n);
    case DT_F16:
        return any_16(p, n, F16_EXPONENT);
    case DT_BF16:
        return any_16(p, n, BF16_EXPONENT);
    case DT_Q4_1:
        for (size_t i = 0; i < n; i++) found |= any_16(p + i * block, 2, F16_EXPONENT);
        return found;
    case DT_Q4_0:
    case DT_Q8_0:
        for (size_t i = 0; i < n; i++) found |= any_16(p + i * block, 1, F16_EXPONENT);
        return found;
    default:
        return false; /* made here, never stored */
    }
}

int64_t finite_first_not(enum dtype t, const void *data, size_t n)
{
    const unsigned char *p = data;
    const size_t block = (size_t)dtype_info[t].bytes, blocks = n / block;
    for (size_t at = 0; at < blocks; at += PIECE) {
        const size_t k = blocks - at < PIECE ? blocks - at : PIECE;
        if (!any(t, p + at * block, k)) continue;
        while (!any(t, p + at * block, 1)) at++;
        return (int64_t)at * dtype_info[t].block;
    }
    return -1;
}
