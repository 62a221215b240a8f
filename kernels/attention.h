/* attention: what the loops of attention share, of f32 (attention_simd.h) and on tiles (attention_tiles.h). */
#ifndef KERNELS_ATTENTION_H
#define KERNELS_ATTENTION_H
#include "kernels/ops.h"

enum { ATTN_MAX_D = 256 }; /* widest head */

/* The inner loops of one precision. Row strides are those of struct attn. */
struct attn_loops {
    int query_rows; /* queries of one task of fwd */
    /* queries q0 .. q0 + query_rows of sequence b, all heads of a KV head */
    void (*fwd)(const struct attn *a, float *o, float *lse, const float *q, const float *k, const float *v, int b,
                int kv_head, long q0);
    /* all queries of sequence b, all heads of a KV head */
    void (*bwd)(const struct attn *a, float *d_q, float *d_k, float *d_v, const float *d_o, const float *q,
                const float *k, const float *v, const float *o, const float *lse, int b, int kv_head);
};
extern const struct attn_loops attn_amx, attn_tiles16;

/* The first key of the window of a query that sees `seen` keys. */
static inline long attn_window_start(const struct attn *a, long seen)
{
    return a->window > 0 && seen > a->window ? seen - a->window : 0;
}
#endif
