/* ops: the contracts of all operations; the list itself is ops.def.
 *
 * An op never allocates, never synchronises, never prints, never exits; it returns 0 or a negative enum dev_status.
 * Two twins of an op stand side by side: foo.c (cpu_foo) and foo.cu (cuda_foo).
 *
 * Shapes: B sequences, T packed tokens, C width, H heads, K KV heads, D head width, F MLP width, V vocabulary, R rank.
 * Activations are [T][C], row-major, without padding between sequences. Where an op takes a row stride behind a pointer
 * (ldy behind y; in elements), row t begins at y + t*ldy: the width where rows are packed, more where they are a part
 * of something wider. What lies beside the rows is neither used nor written. A stride below the width is refused, and
 * so are two strides of one array that is both read and written; that of NULL is not looked at. On the CPU strides
 * change no bit of the result. Storage type is cx->act: f32 on the CPU, f32 or bf16 on CUDA; such pointers are `void *`
 * and marked "act". Everything else (statistics, adapter parameters, their gradients, optimizer state, loss) is f32.
 * Gradients are named d_x.
 *
 * Precision of matrix products is cx->prec: DT_F32, or DT_BF16 = both inputs rounded to bf16, sums in f32. Those of
 * attention stay f32 where bf16 would not be faster (attn_fwd).
 *
 * Determinism, a part of every contract: each output element is computed in one fixed order that depends neither on the
 * number of threads nor on how many other rows are in the call. So a row's result is the same bits alone and in a
 * batch. On CUDA it holds for our own kernels (of arrays aligned alike); a product by cublasLt repeats its bits for the
 * same T and strides, but others may take another algorithm and so another order of sums, and d_a, d_b sum tokens in 8
 * fixed interleaved slices. */
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

/* Step scalars: one block on the device, so that a step needs no host in between. The host fills the first half before
 * a step and reads the second after it. */
struct step_dev {
    double max_norm;     /* the gradient is clipped to this norm; <= 0: never */
    double bias1, bias2; /* 1 - beta1^t, 1 - beta2^t of the update that comes */
    float lr;
    uint32_t dropout_step; /* number of the step, for dropout masks */

    double loss;      /* loss_add: sum of nll */
    double sumsq;     /* sumsq: of the gradient */
    float grad_scale; /* step_clip: factor on every gradient */
    int32_t skip;     /* step_clip: loss or gradient is not finite, nothing is updated */
};

/* A contiguous run of a call's rows. */
struct span {
    int32_t first, n;
};

/* What a linear must know of its rows; all pointers are the device's. Dropout masks are a pure function of (seed, step,
 * key of the path, token uid, column), so they do not depend on packing, batch shape or threads. uid names a token for
 * life (libcommon/data/rules.h). */
struct lin_rows {
    uint64_t seed;
    const struct step_dev *step; /* may be NULL without dropout */
    const uint64_t *uid;         /* [T]; NULL: no dropout in this call (evaluation) */
    const struct span *span;     /* [adapters] rows of each adapter in this call; NULL: nobody asks */
};

/* One adapter's low-rank path on one projection: y += scale (drop(x) A^T) B^T on its rows. */
struct lowrank {
    int r;              /* rank, >= 1 */
    float scale;        /* alpha/r or alpha/sqrt(r) */
    float drop_p;       /* dropout of x; 0: none */
    uint64_t key;       /* of its dropout mask */
    const float *a, *b; /* A [r][K], B [N_i][r] */
    float *d_a, *d_b;   /* gradients, added to; NULL: not trained */
    int span;           /* index into lin_rows.span; < 0: all rows */
};

/* What adapters add to one projection, and which gradients are wanted; all zero: the base model alone. */
struct lin_slot {
    int n_low;
    const struct lowrank *low; /* [n_low], their sums in this order */
    const float *gain_in;      /* [K]: the frozen product reads x * gain_in (IA3 of feed-forward inputs) */
    const float *gain;         /* [N_i]: factor on the output, low-rank paths included (IA3, DoRA's m/|w|) */
    int gain_bias;             /* does gain multiply the bias too? IA3: yes, DoRA: no */
    int gain_drops;            /* with dropout on low[0]: gain is of what W too makes of the dropped x; DoRA */
    float *d_gain_in, *d_gain; /* gradients, added to; NULL: not trained */
    float *d_w, *d_bias;       /* of the weight [N_i][K] and the bias: full fine-tuning, BitFit */
};

/* One projection of a (fused) linear:
 * y_i = gain * ((x * gain_in) W^T + bias + sum of low-rank paths), the bias inside or outside of gain. With gain_drops
 * and a dropped x' of low[0]: y_i = (x - x') W^T + gain * (x' W^T + low-rank paths) + bias. */
struct lin_part {
    struct mat w;      /* [N_i][K] */
    const float *bias; /* [N_i] or NULL */
    struct lin_slot s;
};

/* Up to three projections of the same input, outputs side by side: q|k|v, gate|up, or one alone. */
#define LIN_PARTS 3
struct linear {
    int n;
    int in;   /* K */
    int out;  /* N = sum of N_i */
    int rank; /* columns of lin_kept.h: sum of all r */
    int raw;  /* columns of lin_kept.raw: sum of N_i of the parts with d_gain */
    struct lin_part part[LIN_PARTS];
};
static inline void linear_count(struct linear *l) /* rank and raw, after slots have changed */
{
    l->rank = l->raw = 0;
    for (int i = 0; i < l->n; i++) {
        for (int k = 0; k < l->part[i].s.n_low; k++) l->rank += l->part[i].s.low[k].r;
        if (l->part[i].s.d_gain) l->raw += l->part[i].w.rows;
    }
}

/* What linear_fwd leaves for linear_bwd. */
struct lin_kept {
    float *h;  /* [T][rank]: drop(x) A^T of all paths side by side; NULL only if rank == 0 */
    void *raw; /* [T][raw] act: outputs before gain; NULL: no backward pass will follow, or raw == 0 */
};

/* Attention over packed sequences. Query i (0-based) of sequence b, which has nq queries and nk keys, sees keys
 * 0 .. nk - nq + i: plain causal attention when nq == nk (training, prefill); a decode step when nq == 1; and a prefix
 * when the first nk - nq keys are not of the sequence's own tokens. Key/value rows of b start at kv_start[b]. */
struct attn {
    int B, H, K, D;
    float scale;                      /* 1/sqrt(D) */
    const int32_t *q_start, *q_len;   /* [B] rows of q */
    const int32_t *kv_start, *kv_len; /* [B] rows of k and v */
    long ldq, ldk, ldv, ldo;          /* row strides in elements */
    int max_q, max_kv;                /* largest lengths */
    int window;                       /* a query sees itself and the window - 1 keys before it; 0: all before it */
    float softcap;                    /* scores become softcap * tanh(score / softcap); 0: as they are */
};

struct adamw {
    float beta1, beta2, eps, weight_decay; /* decoupled decay: p -= lr * weight_decay * p */
    float rate;                            /* factor on the step's lr */
};

/* Activations of bottlenecks, by their names in transformers' ACT2FN and in AdapterHub's configurations. */
enum act {
    ACT_IDENTITY,
    ACT_RELU,
    ACT_GELU,
    ACT_GELU_TANH,
    ACT_SILU,
    ACT_TANH,
    ACT_SIGMOID,
    ACT_LEAKY_RELU,
    ACT_COUNT
};

/* Scratch bytes for the largest call of a kind; 0 is a possible answer. */
size_t op_linear_scratch(const struct op_ctx *cx, const struct linear *l, long T);
size_t op_attn_scratch(const struct op_ctx *cx, const struct attn *a, long T, int backward);
size_t op_head_scratch(const struct op_ctx *cx, const struct mat *w, long n, int chunk);
size_t op_logits_scratch(const struct op_ctx *cx, const struct mat *w, long n);

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
int ops_complete(const struct ops *ops); /* has it every op? */

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
