/* ops: the contracts of all operations; the list itself is ops.def.
 *
 * An op never allocates, never synchronises, never prints, never exits; it returns 0 or a negative enum dev_status.
 * Two twins of an op stand side by side: foo.c (cpu_foo) and foo.cu (cuda_foo).
 *
 * Shapes: B sequences, T packed tokens, C width, H heads, K KV heads, D head width, F MLP width, V vocabulary, R rank.
 * Activations are [T][C], row-major, without padding between sequences. Their storage type is cx->act: f32 on the CPU,
 * f32 or bf16 on CUDA; such pointers are `void *` and marked "act". Everything else (statistics, adapter parameters,
 * their gradients, optimizer state, loss) is f32. Gradients are named d_x.
 *
 * Precision of matrix products is cx->prec: DT_F32, or DT_BF16 = both inputs rounded to bf16, sums in f32.
 *
 * Determinism, a part of every contract: each output element is computed in one fixed order that depends neither on the
 * number of threads nor on how many other rows are in the call. So a row's result is the same bits alone and in a
 * batch. On CUDA it holds for our own kernels; a product by cublasLt repeats its bits for the same T, but another T may
 * take another algorithm and so another order of sums, and d_a, d_b sum tokens in 8 fixed interleaved slices. */
#ifndef KERNELS_OPS_H
#define KERNELS_OPS_H
#include <stdint.h>
#include "kernels/device.h"
#include "kernels/dtype.h"
#ifdef __cplusplus
extern "C" {
#endif

struct op_ctx {
    struct device *dev;
    enum dtype act;  /* storage type of activations */
    enum dtype prec; /* DT_F32 or DT_BF16: inputs of matrix products */
    void *scratch;   /* as many bytes as the largest op_*_scratch() of the ops called; contents are lost between ops */
    size_t scratch_bytes;
};

/* A weight matrix W [rows = out][cols = in], row-major, each row dtype_row_bytes(dtype, cols) long, rows adjacent. */
struct mat {
    const void *data;
    enum dtype dtype;
    int rows, cols;
};

/* Dropout of a linear's low-rank input: the mask is a pure function of (seed, step, module, token uid, column), so it
 * does not depend on packing, batch shape or threads. uid names a token for life: (row of the data set << 20) +
 * position. */
struct dropout {
    float p; /* 0: none */
    uint64_t seed;
    uint32_t step;
    const uint64_t *uid; /* [T]; may be NULL when p == 0 */
};

/* One projection of a (fused) linear: y_i = x W^T + bias + scale * (drop(x) A^T) B^T */
struct lin_part {
    struct mat w;      /* [N_i][K] */
    const float *bias; /* [N_i] or NULL */
    int r;             /* rank; 0: no adapter on this part */
    float scale;       /* alpha/r or alpha/sqrt(r) */
    float *a, *b;      /* A [r][K], B [N_i][r] */
    float *d_a, *d_b;  /* gradients, added to; NULL: not trained */
    uint32_t module;   /* number of the module, for dropout */
};

/* Up to three projections of the same input, outputs side by side: q|k|v, gate|up, or one alone. */
#define LIN_PARTS 3
struct linear {
    int n;
    int in;   /* K */
    int out;  /* N = sum of N_i */
    int rank; /* sum of r_i: width of h */
    struct lin_part part[LIN_PARTS];
};

/* Attention over packed sequences. Query i (0-based) of sequence b, which has nq queries and nk keys, sees keys
 * 0 .. nk - nq + i: plain causal attention when nq == nk (training, prefill); a decode step when nq == 1; and a prefix
 * when the first nk - nq keys are not of the sequence's own tokens. Key/value rows of b start at kv_start[b]. */
struct attn {
    int B, H, K, D;
    float scale;                      /* 1/sqrt(D) */
    const int32_t *q_start, *q_len;   /* [B] rows of q */
    const int32_t *kv_start, *kv_len; /* [B] rows of k and v */
    long ldq, ldkv, ldo;              /* row strides in elements */
    int max_q, max_kv;                /* largest lengths */
};

struct adamw {
    float lr, beta1, beta2, eps, weight_decay; /* decoupled decay: p -= lr * weight_decay * p */
    float grad_scale;                          /* factor on every gradient (clipping) */
    int64_t step;                              /* from 1: bias correction */
};

/* Scratch bytes for the largest call of a kind; 0 is a possible answer. */
size_t op_linear_scratch(const struct op_ctx *cx, const struct linear *l, long T);
size_t op_attn_scratch(const struct op_ctx *cx, const struct attn *a, long T, int backward);
size_t op_head_scratch(const struct op_ctx *cx, const struct mat *w, long n, int chunk);

struct ops {
#define OP(name, args)     int(*name) args;
#define OP_CPU(name, args) int(*name) args;
#include "kernels/ops.def"
#undef OP
#undef OP_CPU
};
extern const struct ops ops_cpu;
extern const struct ops ops_cuda; /* entries of OP_CPU are NULL */
/* The table of a device. NULL when built without that device. */
const struct ops *ops_of(const struct device *d);

#define OP(name, args)   \
    int cpu_##name args; \
    int cuda_##name args;
#define OP_CPU(name, args) int cpu_##name args;
#include "kernels/ops.def"
#undef OP
#undef OP_CPU
#ifdef __cplusplus
}
#endif
#endif
