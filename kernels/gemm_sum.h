/* gemm_sum: the micro-kernel of `sum` and the loops of one task around it (see gemm.h); attention uses its parts.
 * Included only by gemm_body.h and simd_body.h.
 *
 * A tail of m uses the same kernel with fewer rows, a tail of n the same kernel on a zero-padded panel: an element's
 * operations never depend on where it lies. Loops over rows run to their constant end and skip what is beyond mr: clang
 * unrolls no other. */
#ifndef KERNELS_GEMM_SUM_H
#define KERNELS_GEMM_SUM_H

#if VW == 16
#define SUM_NV 4
#else
#define SUM_NV 2
#endif
#define SUM_MR 6
#define SUM_NR (SUM_NV * VW)

/* k, a_row, a_k and b_row in lanes */
VEC_INLINE void sum_tile(const int bf16, const int mr, const float *a, long a_row, long a_k, const float *b, long b_row,
                         long k, float alpha, const float *init, long init_row, float *y, long y_row)
{
    vf acc[SUM_MR][SUM_NV] = {0};
    for (long p = 0; p < k; p++) {
        vf bv[SUM_NV];
        UNROLL
        for (int v = 0; v < SUM_NV; v++) bv[v] = vec_load(b + p * b_row + v * VW);
        UNROLL
        for (int i = 0; i < SUM_MR; i++) {
            if (i >= mr) continue;
            vf av = vec_spread(a + i * a_row + p * a_k);
            UNROLL
            for (int v = 0; v < SUM_NV; v++) acc[i][v] = lane_fma(bf16, av, bv[v], acc[i][v]);
        }
    }
    UNROLL
    for (int i = 0; i < SUM_MR; i++) UNROLL
    for (int v = 0; v < SUM_NV; v++) {
        if (i >= mr) continue;
        vf from = init ? vec_load(init + i * init_row + v * VW) : (vf){0};
        vec_store(y + i * y_row + v * VW, vec_fma(acc[i][v], vec_set(alpha), from));
    }
}

#define SUM_CASE(rows)                                                                       \
    case rows:                                                                               \
        sum_tile(bf16, rows, a, a_row, a_k, b, b_row, k, alpha, from, from_row, to, to_row); \
        break

VEC_INLINE void sum_rows_of(const int bf16, long m, const float *a, long a_row, long a_k, const float *b, long b_row,
                            long k, float alpha, const float *init, long init_row, float *y, long y_row, long nr)
{
    float pad[SUM_MR * SUM_NR];
    while (m > 0) {
        long mr = m < SUM_MR ? m : SUM_MR;
        float *to = y;
        const float *from = init;
        long to_row = y_row, from_row = init_row;
        if (nr < SUM_NR) {
            for (long i = 0; init && i < mr; i++)
                memcpy(pad + i * SUM_NR, init + i * init_row, (size_t)nr * sizeof *pad);
            for (long i = 0; init && i < mr; i++)
                for (long j = nr; j < SUM_NR; j++) pad[i * SUM_NR + j] = 0;
            to = pad;
            from = init ? pad : NULL;
            to_row = from_row = SUM_NR;
        }
        switch (mr) {
            SUM_CASE(1);
            SUM_CASE(2);
            SUM_CASE(3);
            SUM_CASE(4);
            SUM_CASE(5);
        default:
            if (a_k == 1)
                sum_tile(bf16, 6, a, a_row, 1, b, b_row, k, alpha, from, from_row, to, to_row);
            else /* A transposed: gemm.h asks that one of its strides be 1 */
                sum_tile(bf16, 6, a, 1, a_k, b, b_row, k, alpha, from, from_row, to, to_row);
        }
        if (nr < SUM_NR)
            for (long i = 0; i < mr; i++) memcpy(y + i * y_row, pad + i * SUM_NR, (size_t)nr * sizeof *pad);
        m -= mr;
        a += mr * a_row;
        y += mr * y_row;
        if (init) init += mr * init_row;
    }
}
#undef SUM_CASE

VEC_UNUSED void sum_rows(long m, const float *a, long a_row, long a_k, const float *b, long b_row, long k, float alpha,
                         const float *init, long init_row, float *y, long y_row, long nr)
{
    sum_rows_of(0, m, a, a_row, a_k, b, b_row, k, alpha, init, init_row, y, y_row, nr);
}

VEC_UNUSED void sum_rows_bf16(long m, const float *a, long a_row, const float *b, long b_row, long k, float alpha,
                              const float *init, long init_row, float *y, long y_row, long nr)
{
    sum_rows_of(1, m, a, a_row, 1, b, b_row, k, alpha, init, init_row, y, y_row, nr);
}

/* One thread's product of f32 matrices, in memory as they are: rows of B of b_row floats are read in place. */
VEC_UNUSED void sum_direct(long m, long n, long k, const float *a, long a_row, long a_k, const float *b, long b_row,
                           float alpha, const float *init, long init_row, float *y, long y_row)
{
    _Alignas(64) float pad[SUM_KC * SUM_NR];
    for (long k0 = 0; k0 < k; k0 += SUM_KC) {
        long kl = k - k0 < SUM_KC ? k - k0 : SUM_KC;
        const float *from = k0 ? y : init;
        long from_row = k0 ? y_row : init_row;
        for (long j = 0; j < n; j += SUM_NR) {
            long nr = n - j < SUM_NR ? n - j : SUM_NR;
            const float *bj = b + k0 * b_row + j;
            long bj_row = b_row;
            if (nr < SUM_NR) {
                for (long p = 0; p < kl; p++) {
                    memcpy(pad + p * SUM_NR, bj + p * b_row, (size_t)nr * sizeof *pad);
                    for (long c = nr; c < SUM_NR; c++) pad[p * SUM_NR + c] = 0;
                }
                bj = pad;
                bj_row = SUM_NR;
            }
            sum_rows(m, a + k0 * a_k, a_row, a_k, bj, bj_row, kl, alpha, from ? from + j : NULL, from_row, y + j, y_row,
                     nr);
        }
    }
}

/* The same with B packed as [n / SUM_NR][packed][SUM_NR], zero-padded, of which the first k <= SUM_KC rows count. */
VEC_UNUSED void sum_packed(long m, long n, long k, const float *a, long a_row, long a_k, const float *b, long packed,
                           float alpha, const float *init, long init_row, float *y, long y_row)
{
    for (long j = 0; j < n; j += SUM_NR, b += packed * SUM_NR)
        sum_rows(m, a, a_row, a_k, b, SUM_NR, k, alpha, init ? init + j : NULL, init_row, y + j, y_row,
                 n - j < SUM_NR ? n - j : SUM_NR);
}

/* panel = rows of `from` (n rows of k floats, from_row apart) as columns, in the layout of sum_packed. */
VEC_UNUSED void pack_columns(float *panel, const float *from, long from_row, long n, long k)
{
    for (long j = 0; j < n; j += SUM_NR, panel += k * SUM_NR)
        for (long c = 0; c < SUM_NR; c += 4) {
            const float *row = from + (j + c) * from_row;
            const long left = n - j - c;
            long p = 0;
            for (; left >= 4 && p + 4 <= k; p += 4) { /* squares of 4 x 4 */
                const v4 a = *(const v4_any *)(row + p), b = *(const v4_any *)(row + from_row + p);
                const v4 d = *(const v4_any *)(row + 2 * from_row + p), e = *(const v4_any *)(row + 3 * from_row + p);
                const v4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), de = __builtin_shufflevector(d, e, 0, 4, 1, 5);
                const v4 ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7),
                         de2 = __builtin_shufflevector(d, e, 2, 6, 3, 7);
                float *to = panel + p * SUM_NR + c;
                *(v4_any *)to = __builtin_shufflevector(ab, de, 0, 1, 4, 5);
                *(v4_any *)(to + SUM_NR) = __builtin_shufflevector(ab, de, 2, 3, 6, 7);
                *(v4_any *)(to + 2 * SUM_NR) = __builtin_shufflevector(ab2, de2, 0, 1, 4, 5);
                *(v4_any *)(to + 3 * SUM_NR) = __builtin_shufflevector(ab2, de2, 2, 3, 6, 7);
            }
            for (; p < k; p++)
                for (long i = 0; i < 4; i++) panel[p * SUM_NR + c + i] = i < left ? row[i * from_row + p] : 0;
        }
}

/* The same from k rows of n floats that stay rows: for rows so far apart in memory that they share cache sets. */
VEC_UNUSED void pack_wide(float *panel, const float *from, long from_row, long k, long n)
{
    for (long j = 0; j < n; j += SUM_NR)
        for (long p = 0; p < k; p++, panel += SUM_NR) {
            const float *row = from + p * from_row + j;
            if (n - j >= SUM_NR) UNROLL
            for (int v = 0; v < SUM_NV; v++) vec_store(panel + v * VW, vec_load(row + v * VW));
            else for (long c = 0; c < SUM_NR; c++) panel[c] = j + c < n ? row[c] : 0;
        }
}

/* kl rows of B from k0, columns n .. n+nc, in the layout of sum_packed. */
VEC_INLINE void sum_unpack_type(const enum dtype t, float *panel, const struct gemm *g, long k0, long kl, long n,
                                long nc)
{
    const long block = pack_step(t), block_bytes = pack_bytes(t) * (block / 32);
    const unsigned char *row = (const unsigned char *)g->b + k0 * g->b_row + dtype_row_bytes(t, n);
    for (long p = 0; p < kl; p++, row += g->b_row, panel += SUM_NR) {
        const unsigned char *at = row;
        for (long j = 0; j < nc; j += block, at += block_bytes) {
            const struct pack_block b = pack_open(t, at);
            UNROLL
            for (long c = 0; c < block; c += VW)
                vec_store(panel + (j + c) / SUM_NR * SUM_NR * kl + (j + c) % SUM_NR, pack_value(t, &b, at, (int)c));
        }
    }
}

VEC_UNUSED void sum_unpack(float *panel, const struct gemm *g, long k0, long kl, long n, long nc)
{
    switch (nc % 32 ? DT_COUNT : g->b_type) {
#define SUM_TYPE(t)                                  \
    case t:                                          \
        sum_unpack_type(t, panel, g, k0, kl, n, nc); \
        return;
        SUM_TYPE(DT_F32)
        SUM_TYPE(DT_F16)
        SUM_TYPE(DT_BF16)
        SUM_TYPE(DT_Q4_0)
        SUM_TYPE(DT_Q4_1)
        SUM_TYPE(DT_Q8_0)
        SUM_TYPE(DT_NF4)
#undef SUM_TYPE
    case DT_COUNT:
        break;
    }
    _Alignas(64) float row[SUM_NC] = {0}; /* columns that are no multiple of 32 */
    for (long p = 0; p < kl; p++) {
        pack_unpack(g->b_type, (const unsigned char *)g->b + (k0 + p) * g->b_row, n, nc, row);
        for (long j = 0; j < nc; j += SUM_NR) UNROLL
        for (int v = 0; v < SUM_NV; v++) vec_store(panel + j * kl + p * SUM_NR + v * VW, vec_load(row + j + v * VW));
    }
}

/* The same with lanes of pairs: rows k0, k0 + 1 of B make lane row 0; a row beyond the last is zeros. */
VEC_UNUSED void sum_unpack_pairs(float *panel, const struct gemm *g, long k0, long kl, long n, long nc)
{
    _Alignas(64) uint16_t row[2][SUM_NC] = {0};
    for (long p = 0; p < kl; p++) {
        for (long r = 0; r < 2; r++)
            if (2 * (k0 + p) + r < g->k)
                pack_values(g->b_type, (const unsigned char *)g->b + (2 * (k0 + p) + r) * g->b_row, n, nc, row[r]);
            else
                memset(row[r], 0, sizeof row[r]);
        for (long j = 0; j < nc; j += SUM_NR)
            for (long c = 0; c < SUM_NR; c += VW)
                vec_interleave(panel + j * kl + p * SUM_NR + c, row[0] + j + c, row[1] + j + c);
    }
}

/* The block of B after the one at (k0, n): along the columns n0 .. n1, then down K. */
VEC_INLINE struct fetch sum_b_ahead(const struct gemm *g, long k0, long n, long n0, long n1, long calls)
{
    const long per_lane = g->bf16 ? 2 : 1, last = n + SUM_NC >= n1;
    const long row = (k0 + (last ? SUM_KC : 0)) * per_lane, col = last ? n0 : n + SUM_NC;
    const long left = g->b_transposed ? 0 : g->k - row, rows = SUM_KC * per_lane;
    return fetch_begin((const unsigned char *)g->b + row * g->b_row + dtype_row_bytes(g->b_type, col),
                       left < rows ? left : rows, g->b_row, (long)dtype_row_bytes(g->b_type, SUM_NC), calls);
}

/* The block of A, rows m0 .. m1, from lane k0 on; none beyond the last lane, nor of a transposed A. */
VEC_INLINE struct fetch sum_a_ahead(const struct gemm *g, long lanes, long k0, long m0, long m1, long calls)
{
    const long f = (long)sizeof(float), left = lanes - k0, rows = left > 0 && g->a_k == 1 ? m1 - m0 : 0;
    return fetch_begin((const unsigned char *)g->a + (m0 * g->a_row + k0) * f, rows, g->a_row * f,
                       (left < SUM_KC ? left : SUM_KC) * f, calls);
}

/* Some hundred floats; memcpy becomes a string instruction that takes as long to begin. */
VEC_INLINE void sum_copy(float *to, const float *from, long n)
{
    long i = 0;
    for (; i + VW <= n; i += VW) vec_store(to + i, vec_load(from + i));
    for (; i < n; i++) to[i] = from[i];
}

#define SUM_BLOCK_ROW (SUM_KC + 16) /* no multiple of a power of two */
/* Columns n0 .. n1, rows m0 .. m1 (at most SUM_MC of them). Blocks of K outermost: a block of A stays in L2 while the
 * columns pass; it is copied if its rows are so far apart that they share few of the cache's sets (logits: all of them
 * one). */
VEC_INLINE void sum_task(const int bf16, const struct gemm *g, long n0, long n1, long m0, long m1)
{
    enum { PART = SUM_MR * (SUM_NC / SUM_NR) }; /* rows of A between two fetches */
    _Alignas(64) float panel[SUM_NC * SUM_KC], block[SUM_MC * SUM_BLOCK_ROW];
    const unsigned char *w = (const unsigned char *)g->b;
    const int copied = g->a_k == 1 && g->a_row * (long)sizeof(float) % 1024 == 0 && n1 - n0 > SUM_NR;
    const long lanes = bf16 ? (g->k + 1) / 2 : g->k, parts = (m1 - m0 + PART - 1) / PART;
    for (long k0 = 0; k0 < lanes; k0 += SUM_KC) {
        const long kl = lanes - k0 < SUM_KC ? lanes - k0 : SUM_KC;
        const float *a = (const float *)g->a + m0 * g->a_row + k0 * g->a_k, *from = k0 ? g->y : g->init;
        const long from_row = k0 ? g->y_row : g->init_row, a_row = copied ? SUM_BLOCK_ROW : g->a_row;
        if (copied) {
            for (long m = 0; m < m1 - m0; m++) sum_copy(block + m * SUM_BLOCK_ROW, a + m * g->a_row, kl);
            a = block;
        }
        struct fetch a_ahead = sum_a_ahead(g, lanes, k0 + SUM_KC, m0, m1, parts * ((n1 - n0 + SUM_NR - 1) / SUM_NR));
        for (long n = n0; n < n1; n += SUM_NC) {
            const long nc = n1 - n < SUM_NC ? n1 - n : SUM_NC;
            if (bf16)
                sum_unpack_pairs(panel, g, k0, kl, n, nc);
            else if (g->b_transposed)
                pack_columns(panel, (const float *)(const void *)(w + n * g->b_row) + k0,
                             g->b_row / (long)sizeof(float), nc, kl);
            else
                sum_unpack(panel, g, k0, kl, n, nc);
            struct fetch b_ahead = sum_b_ahead(g, k0, n, n0, n1, parts * ((nc + SUM_NR - 1) / SUM_NR));
            for (long j = 0; j < nc; j += SUM_NR)
                for (long m = m0; m < m1; m += PART) {
                    const long rows = m1 - m < PART ? m1 - m : PART, nr = nc - j < SUM_NR ? nc - j : SUM_NR;
                    const float *init = from ? from + m * from_row + n + j : NULL;
                    float *y = g->y + m * g->y_row + n + j;
                    fetch_some(&a_ahead);
                    fetch_some(&b_ahead);
                    if (bf16)
                        sum_rows_bf16(rows, a + (m - m0) * a_row, a_row, panel + j * kl, SUM_NR, kl, g->alpha, init,
                                      from_row, y, g->y_row, nr);
                    else
                        sum_rows(rows, a + (m - m0) * a_row, a_row, g->a_k, panel + j * kl, SUM_NR, kl, g->alpha, init,
                                 from_row, y, g->y_row, nr);
                }
        }
    }
}

/* B in place (f32): for products over tokens, where B is an activation and m is small. */
VEC_UNUSED void sum_direct_task(const struct gemm *g, long n0, long n1, long m0, long m1)
{
    const float *a = g->a, *b = g->b;
    sum_direct(m1 - m0, n1 - n0, g->k, a + m0 * g->a_row, g->a_row, g->a_k, b + n0, g->b_row / (long)sizeof(float),
               g->alpha, g->init ? g->init + m0 * g->init_row + n0 : NULL, g->init_row, g->y + m0 * g->y_row + n0,
               g->y_row);
}
#endif
