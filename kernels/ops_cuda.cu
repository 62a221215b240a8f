/* ops_cuda: the table of the CUDA twins. An op whose twin is not written stays NULL (OP_CPU in ops.def). */
#include "kernels/ops.h"

const struct ops ops_cuda = {
#define OP(name, args)     cuda_##name,
#define OP_CPU(name, args) NULL,
#include "kernels/ops.def"
#undef OP
#undef OP_CPU
};
