/* cpu: scratch of the CPU twins, beside them; op_*_scratch of ops.h choose between devices. */
#ifndef KERNELS_CPU_H
#define KERNELS_CPU_H
#include "kernels/ops.h"

size_t cpu_linear_scratch(const struct op_ctx *cx, const struct linear *l, long T);
size_t cpu_attn_scratch(const struct op_ctx *cx, const struct attn *a, long T, int backward);
size_t cpu_head_scratch(const struct op_ctx *cx, const struct mat *w, long n, int chunk);
size_t cpu_logits_scratch(const struct op_ctx *cx, const struct mat *w, long n);
#endif
