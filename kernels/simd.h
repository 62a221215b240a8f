/* simd: the instruction sets of the CPU twins. One source (simd_body.h) is compiled once for each; one is chosen when a
 * device is opened. Each gives the same bits from run to run; two of them may differ in the last bits.
 *
 * A set is a table of the inner loops that pay for vectors; the ops' files split the work over threads and call them.
 * Products of bf16 run everywhere (vec_dot2), but only where native_bf16 says so are they faster than those of f32. AMX
 * (tdpbf16ps) and ARM's BFMMLA come in as a set of their own whose dot_task and sum_task take tiles of pairs. */
#ifndef KERNELS_SIMD_H
#define KERNELS_SIMD_H
#include "kernels/gemm.h"

/* A dropout mask over the rows of a call: see dropout.h. */
struct drop_job {
    uint64_t key; /* of dropout_key */
    float p;
    uint32_t step;
    const uint64_t *uid; /* of row 0 on */
};

struct simd {
    const char *name; /* "avx2" */
    int native_bf16;  /* twice the multiply-adds of f32 */
    int query_rows;   /* queries of one attn_fwd task */
    int head_width;   /* widest attention head */
    int rope_half;    /* largest D / 2 of rope */
    /* gemm_pack.h: values c0 .. c0+n of a stored row, both multiples of the block */
    void (*unpack)(enum dtype t, const unsigned char *restrict row, long c0, long n, float *restrict dst);
    void (*pack_rows)(float *dst, const float *src, long src_row, long m, long k, int bf16);
    /* gemm_dot.h, gemm_sum.h: columns n0 .. n1 of rows m0 .. m1; dot: at most DOT_NC columns, or DOT_FEW rows */
    void (*dot_task)(const struct gemm *g, long n0, long n1, long m0, long m1);
    void (*sum_task)(const struct gemm *g, long n0, long n1, long m0, long m1);
    void (*sum_direct_task)(const struct gemm *g, long n0, long n1, long m0, long m1);
    /* gemv_simd.h: columns n0 .. n1 of a dot of few rows */
    void (*gemv_task)(const struct gemm *g, long n0, long n1);
    /* rows_simd.h: rows first .. last */
    void (*norm_fwd)(float *y, float *rstd, const float *x, const float *w, long first, long last, long C, float eps);
    void (*norm_bwd)(float *d_x, const float *d_y, const float *x, const float *w, const float *rstd, long first,
                     long last, long C);
    void (*swiglu_fwd)(float *h, const float *gu, long first, long last, long F);
    void (*swiglu_bwd)(float *d_gu, const float *d_h, const float *gu, long first, long last, long F);
    void (*rope)(float *x, long ld, const int32_t *pos, const float *inv_freq, long first, long last, int n_heads,
                 int D, int dir);
    /* attention_simd.h */
    void (*attn_fwd)(const struct attn *a, float *o, float *lse, const float *q, const float *k, const float *v, int b,
                     int kv_head, long q0);
    void (*attn_bwd)(const struct attn *a, float *d_q, float *d_k, float *d_v, const float *d_o, const float *q,
                     const float *k, const float *v, const float *o, const float *lse, int b, int kv_head);
    void (*head_row)(float *z, long V, int32_t label, float gscale, int grad, int bf16, float *nll, int32_t *best);
    double (*sumsq_block)(const float *g, long n);
    void (*adamw)(float *restrict p, float *restrict m, float *restrict v, const float *restrict g, long n,
                  const struct adamw *hp, const struct step_dev *s);
    void (*drop_rows)(float *out, const float *x, long first, long last, long K, const struct drop_job *d);
    void (*undrop_rows)(float *d_x, const float *d, long first, long last, long K, const struct drop_job *drop);
    void (*exp)(float *p, long n); /* in place; for tests */
};
extern const struct simd simd_generic, simd_avx2, simd_avx512, simd_avx512bf16;

/* The widest that this CPU has, or the one named (PEFT_CPU_ISA; NULL: none named). *note says, for people, what became
 * of a name that is unknown or that the CPU lacks; "" otherwise. */
const struct simd *simd_choose(const char *wanted, const char **note);
#endif
