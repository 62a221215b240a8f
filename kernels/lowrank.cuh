/* lowrank: the adapter's side path of a linear on CUDA: six skinny products in f32 (tile.cuh), forward and backward.
 *
 * Parts that share the input share one pass over it, unless dropout gives each its own mask. Folding the path into the
 * base product by extending K would save these passes; the contract of linear_fwd leaves room for that. */
#ifndef KERNELS_LOWRANK_CUH
#define KERNELS_LOWRANK_CUH
#include "kernels/block.cuh"
#include "kernels/dropout.h"
#include "kernels/tile.cuh"

/* Parts [first, first + count) of a linear, whose ranks lie at [off, off + r) in a row of h or g. */
struct lowrank_group {
    int first, count, off, r;
};
/* The matrices of a group stacked along the rank: row j of the stack is a row of A (or d_a) of one part. */
template <typename P> struct lowrank_stack {
    P *p0, *p1, *p2;
    int end0, end1; /* first rank after part 0, after part 1 */
    long width;
    __device__ __forceinline__ P *row(int j) const
    {
        P *p = j < end0 ? p0 : j < end1 ? p1 : p2;
        const int local = j < end0 ? j : j < end1 ? j - end0 : j - end1;
        return p ? p + local * width : nullptr;
    }
};
static_assert(LIN_PARTS == 3, "lowrank_stack names three parts");

/* The mask of one path; threshold 0: none. The number of the step stays on the device. */
struct lowrank_mask {
    uint64_t key;
    uint32_t threshold;
    float keep_scale;
    const struct step_dev *step; /* NULL: step 0 */
    const uint64_t *uid;
    __device__ __forceinline__ float factor(long t, int c) const
    {
        if (!threshold) return 1.0f;
        float f[4];
        dropout_factors(key, step ? step->dropout_step : 0, uid[t], (uint32_t)c >> 2, threshold, keep_scale, f);
        const float lo = c & 1 ? f[1] : f[0], hi = c & 1 ? f[3] : f[2];
        return c & 2 ? hi : lo;
    }
};

/* ---- operands and results of the tile kernel: (row, column) of the array in memory, whatever the product calls them
 * ---- */
template <typename T> struct lowrank_input { /* drop(x)[t][c] */
    const T *x;
    long ld;
    struct lowrank_mask mask;
    __device__ __forceinline__ float at(long t, int c) const
    {
        const float v = to_f32(x[t * ld + c]);
        return mask.threshold ? v * mask.factor(t, c) : v;
    }
    __device__ __forceinline__ float operator()(long t, long c) const { return at(t, (int)c); }
};
template <typename T> struct lowrank_input_t { /* the same, as [c][t] */
    struct lowrank_input<T> in;
    __device__ __forceinline__ float operator()(long c, long t) const { return in.at(t, (int)c); }
};
template <typename T> struct lowrank_array { /* v[i][j] */
    const T *v;
    long ld;
    __device__ __forceinline__ float operator()(long i, long j) const { return to_f32(v[i * ld + j]); }
};
template <typename T> struct lowrank_array_t { /* v[j][i] */
    const T *v;
    long ld;
    __device__ __forceinline__ float operator()(long i, long j) const { return to_f32(v[j * ld + i]); }
};
struct lowrank_a { /* A[j][k] as [j][k] */
    struct lowrank_stack<const float> a;
    __device__ __forceinline__ float operator()(long j, int k) const { return a.row((int)j)[k]; }
};
struct lowrank_a_t { /* A[j][k] as [k][j] */
    struct lowrank_stack<const float> a;
    __device__ __forceinline__ float operator()(long k, int j) const { return a.row(j)[k]; }
};
struct lowrank_put { /* v[i][j] = scale * sum */
    float *v;
    long ld;
    float scale;
    __device__ __forceinline__ void operator()(long i, int j, float sum) const { v[i * ld + j] = scale * sum; }
};
template <typename T> struct lowrank_add { /* y[t][n] += scale * sum + bias[n] */
    T *y;
    long ld;
    float scale;
    const float *bias;
    __device__ __forceinline__ void operator()(long t, int n, float sum) const
    {
        float v = to_f32(y[t * ld + n]) + scale * sum;
        if (bias) v += bias[n];
        y[t * ld + n] = from_f32<T>(v);
    }
};
template <typename T> struct lowrank_add_masked { /* d_x[t][c] += sum * mask */
    T *d_x;
    long ld;
    struct lowrank_mask mask;
    __device__ __forceinline__ void operator()(long t, int c, float sum) const
    {
        T *at = d_x + t * ld + c;
        *at = from_f32<T>(to_f32(*at) + (mask.threshold ? sum * mask.factor(t, c) : sum));
    }
};
struct lowrank_add_stack { /* d_a[j][k] += sum, given (k, j); parts that are not trained are left alone */
    struct lowrank_stack<float> d_a;
    __device__ __forceinline__ void operator()(long k, int j, float sum) const
    {
        float *row = d_a.row(j);
        if (row) row[k] += sum;
    }
};
#endif
