/* cases: what tests of kernels share: random inputs, shapes, comparison. The f64 references are in ref.h. */
#ifndef TESTS_KERNELS_CASES_H
#define TESTS_KERNELS_CASES_H
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/ops.h"

static uint64_t case_state = 1;
static inline void case_seed(uint64_t s) { case_state = s * 0x9E3779B97F4A7C15ull + 1; }
static inline uint32_t case_u32(void)
{
    case_state = case_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(case_state >> 33) ^ (uint32_t)(case_state >> 17);
}
static inline double case_unit(void) { return (case_u32() & 0xffffff) / 16777216.0; }
static inline float case_value(float scale)
{
    return (float)((case_unit() + case_unit() + case_unit() - 1.5) * 1.6) * scale;
}

static inline void *case_alloc(size_t n)
{
    void *p = malloc(n ? n : 1);
    if (!p) abort();
    return p;
}
/* n random floats, 64-byte alignment not promised: ops must not need it. */
static inline float *case_floats(long n, float scale)
{
    float *p = case_alloc((size_t)n * sizeof *p);
    for (long i = 0; i < n; i++) p[i] = case_value(scale);
    return p;
}
static inline void case_poison(void *p, size_t bytes) { memset(p, 0xff, bytes); } /* NaN in every type */

/* A random weight of any type at an odd address, as a mapped file may have it; *values gets what it stands for. */
struct case_mat {
    struct mat m;
    void *base;
    float *values;
};
static inline struct case_mat case_mat(enum dtype t, int rows, int cols, float scale)
{
    struct case_mat c = {.m = {NULL, t, rows, cols}};
    size_t row = dtype_row_bytes(t, cols);
    unsigned char *p = case_alloc(row * (size_t)rows + 1);
    float *src = case_floats((long)rows * cols, scale);
    c.base = p;
    c.m.data = p + 1;
    c.values = case_alloc((size_t)rows * (size_t)cols * sizeof(float));
    for (int r = 0; r < rows; r++) {
        dtype_from_f32(t, src + (size_t)r * (size_t)cols, p + 1 + row * (size_t)r, cols);
        dtype_to_f32(t, p + 1 + row * (size_t)r, c.values + (size_t)r * (size_t)cols, cols);
    }
    free(src);
    return c;
}
static inline void case_mat_free(struct case_mat *c)
{
    free(c->base);
    free(c->values);
}

/* Relative L2 distance; infinite if anything is not finite. */
static inline double case_distance(const float *got, const double *want, long n)
{
    double num = 0, den = 0;
    for (long i = 0; i < n; i++) {
        if (!isfinite(got[i])) return INFINITY;
        num += (got[i] - want[i]) * (got[i] - want[i]);
        den += want[i] * want[i];
    }
    return sqrt(num) / (sqrt(den) + 1e-30);
}
#endif
