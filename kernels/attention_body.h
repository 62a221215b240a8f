/* attention_body: attention on tiles. The file that includes it defines VW (16) and ATTN, the name of its loops; the
 * Makefile gives that file its target flags. */
#ifndef KERNELS_ATTENTION_BODY_H
#define KERNELS_ATTENTION_BODY_H
#include "kernels/vec.h"
#include "kernels/gemm.h"
#include "kernels/gemm_pack.h"
#include "kernels/attention_tiles_fwd.h"
#include "kernels/attention_tiles_bwd.h"

const struct attn_loops ATTN = {.query_rows = AT_ROWS, .fwd = attn_tiles_fwd, .bwd = attn_tiles_bwd};
#endif
