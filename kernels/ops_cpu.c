/* ops_cpu: the table of the CPU's ops, and the choice between tables. */
#include "kernels/ops.h"
#include "kernels/cpu.h"
#include "kernels/device_internal.h"

const struct ops ops_cpu = {
#define OP(name, args)     .name = cpu_##name,
#define OP_CPU(name, args) .name = cpu_##name,
#include "kernels/ops.def"
#undef OP
#undef OP_CPU
};

const struct ops *ops_of(const struct device *d)
{
#ifdef HAVE_CUDA
    if (dev_kind(d) == DEVICE_CUDA) return &ops_cuda;
#endif
    return dev_kind(d) == DEVICE_CPU ? &ops_cpu : NULL;
}

int ops_complete(const struct ops *ops)
{
#define OP(name, args) \
    if (!ops->name) return 0;
#define OP_CPU OP
#include "kernels/ops.def"
#undef OP
#undef OP_CPU
    return 1;
}

size_t op_linear_scratch(const struct op_ctx *cx, const struct linear *l, long T)
{
#ifdef HAVE_CUDA
    if (dev_kind(cx->dev) == DEVICE_CUDA) return cuda_linear_scratch(cx, l, T);
#endif
    return cpu_linear_scratch(cx, l, T);
}

size_t op_attn_scratch(const struct op_ctx *cx, const struct attn *a, long T, int backward)
{
    return cpu_attn_scratch(cx, a, T, backward); /* attention has no CUDA twin yet */
}

size_t op_head_scratch(const struct op_ctx *cx, const struct mat *w, long n, int chunk)
{
#ifdef HAVE_CUDA
    if (dev_kind(cx->dev) == DEVICE_CUDA) return cuda_head_scratch(cx, w, n, chunk);
#endif
    return cpu_head_scratch(cx, w, n, chunk);
}

size_t op_logits_scratch(const struct op_ctx *cx, const struct mat *w, long n)
{
#ifdef HAVE_CUDA
    if (dev_kind(cx->dev) == DEVICE_CUDA) return cuda_logits_scratch(cx, w, n);
#endif
    return cpu_logits_scratch(cx, w, n);
}
