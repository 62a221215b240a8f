/* gemv_simd: products of `dot` (gemm.h) with few rows: weights go from memory to registers, unpacked there, and never
 * through a panel, so that the speed is the memory's. Included only by
 * gemm_body.h.
 *
 * Bits are those of dot_task: the same lanes, the same order, the same fold; tests/kernels/gemv.c holds the two
 * together. A tile is up to 8 rows of W by 1, 2 or 4 rows of A; what is missing at an edge is a copy of the last row,
 * not stored. */
#ifndef KERNELS_GEMV_SIMD_H
#define KERNELS_GEMV_SIMD_H

/* Lanes at .. at + VW of those from p: values, or pairs of them. block: of each 32 values, or NF4's one. */
VEC_INLINE vf gemv_lanes(const int bf16, const enum dtype t, const struct pack_block *block, const unsigned char *p,
                         const int at)
{
    if (!bf16) return pack_value(t, block, p, at);
    if (t == DT_BF16) return *(const vf_byte *)(p + 4 * at);
    const int part = t == DT_NF4 ? 0 : 2 * at / 32, first = 2 * at - 32 * part;
    p += part * pack_bytes(t);
    return vec_pairs(pack_value(t, block + part, p, first), pack_value(t, block + part, p, first + VW));
}

/* A tile's sums fill the registers, less those that unpack a value. */
#define GEMV_SUMS (VW == 16 ? 16 : 8)

/* Columns n0 .. n0 + nc, before n1, of mr rows of A from m0; mr * nc is a multiple of 4. side: rows of W
 * unpacked together; with one row of A, one of W alone waits for its chain of steps. */
VEC_INLINE void gemv_tile(const int bf16, const enum dtype t, const int mr, const int nc, const int side,
                          const struct gemm *g, long n0, long n1, long m0)
{
    const long nr = n1 - n0 < nc ? n1 - n0 : nc, m = g->m - m0;
    const int per_lane = bf16 ? 2 : 1;
    const long lanes = (g->k + per_lane - 1) / per_lane, kc = dot_block(lanes);
    /* at a time: 32 lanes, their blocks side by side, or the one block of NF4 */
    const int few = t == DT_NF4 ? NF4_BLOCK / per_lane : 32, blocks = t == DT_NF4 ? 1 : per_lane;
    const long step = few * per_lane / 32 * pack_bytes(t);
    /* The next tile's rows are one stretch of memory. */
    const unsigned char *next = (const unsigned char *)g->b + (n0 + nc) * g->b_row;
    const unsigned char *w[8];
    const float *a[4];
    v4 sum[GEMV_SUMS / 4];
    float edge[GEMV_SUMS] = {0};
    UNROLL
    for (int j = 0; j < nc; j++) w[j] = (const unsigned char *)g->b + (n0 + (j < nr ? j : nr - 1)) * g->b_row;
    UNROLL
    for (int i = 0; i < 4; i++)
        if (i < mr) a[i] = (const float *)g->a + (m0 + (i < m ? i : m - 1)) * g->a_row;
    for (int i = 0; g->init && i < m && i < mr; i++)
        memcpy(edge + i * nc, g->init + (m0 + i) * g->init_row + n0, (size_t)nr * sizeof *edge);
    UNROLL
    for (int q = 0; q < mr * nc; q += 4) sum[q / 4] = *(const v4_any *)(edge + q);
    for (long k0 = 0; k0 < lanes; k0 += kc) {
        const long end = lanes - k0 < kc ? lanes : k0 + kc, whole = g->k / per_lane / 32 * 32;
        vf acc[GEMV_SUMS] = {0};
        long p = k0;
        for (; p < end && p < whole; p += few) {
            const long at = p / few * step;
            UNROLL
            for (int c = 0; c < nc * step; c += 64) __builtin_prefetch(next + nc * at + c);
            UNROLL
            for (int j = 0; j < nc; j += side) {
                struct pack_block block[2][2];
                UNROLL
                for (int b = 0; b < side * blocks; b++)
                    block[b / blocks][b % blocks] = pack_open(t, w[j + b / blocks] + at + b % blocks * pack_bytes(t));
                UNROLL
                for (int c = 0; c < few; c += VW) {
                    vf v[2];
                    UNROLL
                    for (int s = 0; s < side; s++) v[s] = gemv_lanes(bf16, t, block[s], w[j + s] + at, c);
                    UNROLL
                    for (int i = 0; i < 4; i++) {
                        if (i >= mr) continue;
                        const vf av = vec_load(a[i] + p + c);
                        UNROLL
                        for (int s = 0; s < side; s++)
                            acc[i * nc + j + s] = lane_fma(bf16, av, v[s], acc[i * nc + j + s]);
                    }
                }
            }
        }
        if (p < end) { /* the rest of a row that is no multiple of 32 lanes */
            _Alignas(64) float rest[8][32];
            for (int j = 0; j < nc; j++)
                pack_lanes(bf16, t, w[j] + p / few * step, 0, g->k - p * per_lane, rest[j], 32);
            for (long c = 0; p + c < end; c += VW) UNROLL
            for (int j = 0; j < nc; j++) UNROLL
            for (int i = 0; i < 4; i++)
                if (i < mr)
                    acc[i * nc + j] = lane_fma(bf16, vec_load(a[i] + p + c), vec_load(rest[j] + c), acc[i * nc + j]);
        }
        UNROLL
        for (int q = 0; q < mr * nc; q += 4)
            sum[q / 4] = fold_columns(acc[q], acc[q + 1], acc[q + 2], acc[q + 3]) * g->alpha + sum[q / 4];
    }
    UNROLL
    for (int q = 0; q < mr * nc; q += 4) *(v4_any *)(edge + q) = sum[q / 4];
    for (int i = 0; i < m && i < mr; i++)
        memcpy(g->y + (m0 + i) * g->y_row + n0, edge + i * nc, (size_t)nr * sizeof *edge);
}

VEC_INLINE void gemv_type(const int bf16, const enum dtype t, const struct gemm *g, long n0, long n1)
{
    enum { ONE = 8, TWO = GEMV_SUMS / 2, FOUR = GEMV_SUMS / 4 };
    if (g->m <= 1)
        for (long n = n0; n < n1; n += ONE) gemv_tile(bf16, t, 1, ONE, 2, g, n, n1, 0);
    else if (g->m <= 2)
        for (long n = n0; n < n1; n += TWO) gemv_tile(bf16, t, 2, TWO, 1, g, n, n1, 0);
    else
        for (long n = n0; n < n1; n += FOUR)
            for (long m = 0; m < g->m; m += 4) gemv_tile(bf16, t, 4, FOUR, 1, g, n, n1, m);
}

/* What is unpacked in registers: pairs where one instruction multiplies them or where they are stored as such; without
 * vectors of bytes f32 alone. The rest goes through a panel and spares the compiler most of its work: no slower, but
 * for one row of pairs without that instruction, which takes up to twice as long and is nobody's default. */
#if defined(__AVX512BF16__) || defined(GEMV_ALL)
#define GEMV_OF(bf16, t) 1
#elif VW > 4 || defined(__aarch64__)
#define GEMV_OF(bf16, t) (!(bf16) || (t) == DT_BF16)
#else
#define GEMV_OF(bf16, t) (!(bf16) && (t) == DT_F32)
#endif

/* Columns n0 .. n1 of any number of rows; W comes from memory once. */
VEC_INLINE void gemv_task(const int bf16, const struct gemm *g, long n0, long n1)
{
    switch (g->b_type) {
#define GEMV_TYPE(t)                       \
    case t:                                \
        if (GEMV_OF(bf16, t))              \
            gemv_type(bf16, t, g, n0, n1); \
        else                               \
            break;                         \
        return;
        GEMV_TYPE(DT_F32)
        GEMV_TYPE(DT_F16)
        GEMV_TYPE(DT_BF16)
        GEMV_TYPE(DT_Q4_0)
        GEMV_TYPE(DT_Q4_1)
        GEMV_TYPE(DT_Q8_0)
        GEMV_TYPE(DT_NF4)
#undef GEMV_TYPE
    case DT_COUNT:
        return;
    }
    dot_task(bf16, g, n0, n1, 0, g->m);
}
#endif
