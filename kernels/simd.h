/* simd: the instruction sets of the CPU twins. Two sources are compiled once for each: gemm_body.h, the products, and
 * simd_body.h, all else and the table; one set is chosen when a device is opened. Each gives the same bits from run to
 * run; two of them may differ in the last bits.
 *
 * A set is a table of the inner loops that pay for vectors; the ops' files split the work over threads and call them.
 * Products of bf16 run everywhere (vec_dot2), but they are faster than those of f32 only where bf16 names a unit.
 * ARM's BFMMLA would come in as products of pairs of its own, beside the other loops of a set, as AMX does. */
#ifndef KERNELS_SIMD_H
#define KERNELS_SIMD_H
#include "kernels/attention.h"
#include "kernels/device.h"
#include "kernels/gemm.h"

struct adamw;
struct step_dev;

/* A dropout mask over the rows of a call: see dropout.h. */
struct drop_job {
    uint64_t key; /* of dropout_key */
    float p;
    uint32_t step;
    const uint64_t *uid; /* of row 0 on */
};

struct simd {
    const char *name; /* "avx2" */
    enum bf16_unit bf16;
    int rope_half; /* largest D / 2 of rope */
    const struct gemm_loops *f32, *pairs;
    /* Attention of f32 and of bf16 factors (attention_tiles.h; that of f32 where there are no tiles). */
    const struct attn_loops *attn_f32, *attn_bf16;
    /* rows_simd.h: rows first .. last */
    void (*norm_fwd)(float *y, long ldy, float *rstd, const float *x, long ldx, const float *w, long first, long last,
                     long C, float eps);
    void (*norm_bwd)(float *d_x, long ld_dx, const float *d_y, long ld_dy, const float *x, long ldx, const float *w,
                     const float *rstd, long first, long last, long C);
    void (*swiglu_fwd)(float *h, long ldh, const float *gu, long ldgu, long first, long last, long F);
    void (*swiglu_bwd)(float *d_gu, long ld_dgu, const float *d_h, long ld_dh, const float *gu, long ldgu, long first,
                       long last, long F);
    void (*rope)(float *x, long ld, const int32_t *pos, const float *inv_freq, long first, long last, int n_heads,
                 int D, int dir);
    void (*head_row)(float *z, long V, int32_t label, float gscale, int grad, float *nll, int32_t *best);
    double (*sumsq_block)(const float *g, long n);
    void (*adamw)(float *restrict p, float *restrict m, float *restrict v, const float *restrict g, long n,
                  const struct adamw *hp, const struct step_dev *s);
    void (*drop_rows)(float *out, const float *x, long ldx, long first, long last, long K, const struct drop_job *d);
    void (*undrop_rows)(float *d_x, long ld_dx, const float *d, long first, long last, long K,
                        const struct drop_job *drop);
    void (*exp)(float *p, long n); /* in place; for tests */
};
extern const struct simd simd_generic, simd_avx2, simd_avx512, simd_avx512bf16, simd_amx;
/* The bits of simd_amx in plain C; only by name. */
extern const struct simd simd_tiles16;

/* The widest that this CPU has, or the one named (PEFT_CPU_ISA; NULL: none named). *note says, for people, what became
 * of a name that is unknown or that the CPU lacks; "" otherwise. */
const struct simd *simd_choose(const char *wanted, const char **note);
/* Who made this CPU, as CPUID says; "" where there is none. */
void simd_vendor(char name[13]);
#endif
