/* gemm_tile: the two micro-kernels and the loops of one task around them (see gemm.h). Included only by simd_body.h.
 *
 * A tail of m uses the same kernel with fewer rows, a tail of n the same kernel on a zero-padded panel: an element's
 * operations never depend on where it lies. */
#ifndef KERNELS_GEMM_TILE_H
#define KERNELS_GEMM_TILE_H

#if VW == 16
#define DOT_MR 6 /* 32 registers: 24 sums, 6 of A, 1 of W */
#define SUM_NV 4
#else
#define DOT_MR 3 /* 16 registers: 12 sums, 3 of A, 1 of W */
#define SUM_NV 2
#endif
#define DOT_NR 4
#define SUM_MR 6
#define SUM_NR (SUM_NV * VW)

/* Loops over rows run to their constant end and skip what is beyond mr: clang unrolls no other. */

/* ---- dot ----------------------------------------------------------------------------------------------------------- */

/* acc + a * b in each lane; with bf16 a lane is a pair of values (vec_dot2). */
VEC_INLINE vf lane_fma(const int bf16, vf a, vf b, vf acc)
{
    return bf16 ? vec_dot2(a, b, acc) : vec_fma(a, b, acc);
}

/* A vector folded to four lanes in halves. */
VEC_INLINE v4 fold4(vf v)
{
#if VW == 16
    typedef float v8 __attribute__((vector_size(32)));
    v8 w = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
           __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    return __builtin_shufflevector(w, w, 0, 1, 2, 3) + __builtin_shufflevector(w, w, 4, 5, 6, 7);
#elif VW == 8
    return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
    return v;
#endif
}

/* The four vectors' sums as one vector. */
VEC_INLINE v4 fold_columns(vf a, vf b, vf c, vf d)
{
    v4 p = fold4(a), q = fold4(b), r = fold4(c), s = fold4(d);
    v4 pq = __builtin_shufflevector(p, q, 0, 4, 1, 5) + __builtin_shufflevector(p, q, 2, 6, 3, 7);
    v4 rs = __builtin_shufflevector(r, s, 0, 4, 1, 5) + __builtin_shufflevector(r, s, 2, 6, 3, 7);
    return __builtin_shufflevector(pq, rs, 0, 1, 4, 5) +
           __builtin_shufflevector(pq, rs, 2, 3, 6, 7);
}

/* The sums of a tile's rows i .. i + DOT_GROUP, four to a row. The same tree as fold_columns, its first levels taken for several rows
 * at once: a third of the shuffles. */
#define DOT_GROUP (VW / 4)
#if VW == 16
VEC_INLINE vf fold_rows(vf w, vf x, vf y, vf z) /* [w | y | x | z], four lanes each */
{
    vf wy = __builtin_shufflevector(w, y, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
            __builtin_shufflevector(w, y, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30,
                                    31);
    vf xz = __builtin_shufflevector(x, z, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
            __builtin_shufflevector(x, z, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30,
                                    31);
    /* blocks of four: w0 w1 y0 y1 and x0 x1 z0 z1 */
    return __builtin_shufflevector(wy, xz, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26,
                                   27) +
           __builtin_shufflevector(wy, xz, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30,
                                   31); /* w y x z */
}
VEC_INLINE vf fold_group(const vf acc[][DOT_NR])
{
    vf p = fold_rows(acc[0][0], acc[2][0], acc[1][0], acc[3][0]),
       q = fold_rows(acc[0][1], acc[2][1], acc[1][1], acc[3][1]),
       r = fold_rows(acc[0][2], acc[2][2], acc[1][2], acc[3][2]),
       s = fold_rows(acc[0][3], acc[2][3], acc[1][3], acc[3][3]);
#define EACH4(a, b, c, d)                                                                       \
    a, b, c, d, a + 4, b + 4, c + 4, d + 4, a + 8, b + 8, c + 8, d + 8, a + 12, b + 12, c + 12, \
        d + 12
    vf pq = __builtin_shufflevector(p, q, EACH4(0, 16, 1, 17)) +
            __builtin_shufflevector(p, q, EACH4(2, 18, 3, 19));
    vf rs = __builtin_shufflevector(r, s, EACH4(0, 16, 1, 17)) +
            __builtin_shufflevector(r, s, EACH4(2, 18, 3, 19));
    return __builtin_shufflevector(pq, rs, EACH4(0, 1, 16, 17)) +
           __builtin_shufflevector(pq, rs, EACH4(2, 3, 18, 19));
#undef EACH4
}
VEC_INLINE v4 group_row(vf s, const int i)
{
    return i == 0   ? __builtin_shufflevector(s, s, 0, 1, 2, 3)
           : i == 1 ? __builtin_shufflevector(s, s, 4, 5, 6, 7)
           : i == 2 ? __builtin_shufflevector(s, s, 8, 9, 10, 11)
                    : __builtin_shufflevector(s, s, 12, 13, 14, 15);
}
#elif VW == 8
VEC_INLINE vf fold_rows(vf x, vf y) /* [x | y], four lanes each */
{
    return __builtin_shufflevector(x, y, 0, 1, 2, 3, 8, 9, 10, 11) +
           __builtin_shufflevector(x, y, 4, 5, 6, 7, 12, 13, 14, 15);
}
VEC_INLINE vf fold_group(const vf acc[][DOT_NR])
{
    vf p = fold_rows(acc[0][0], acc[1][0]), q = fold_rows(acc[0][1], acc[1][1]),
       r = fold_rows(acc[0][2], acc[1][2]), s = fold_rows(acc[0][3], acc[1][3]);
    vf pq = __builtin_shufflevector(p, q, 0, 8, 1, 9, 4, 12, 5, 13) +
            __builtin_shufflevector(p, q, 2, 10, 3, 11, 6, 14, 7, 15);
    vf rs = __builtin_shufflevector(r, s, 0, 8, 1, 9, 4, 12, 5, 13) +
            __builtin_shufflevector(r, s, 2, 10, 3, 11, 6, 14, 7, 15);
    return __builtin_shufflevector(pq, rs, 0, 1, 8, 9, 4, 5, 12, 13) +
           __builtin_shufflevector(pq, rs, 2, 3, 10, 11, 6, 7, 14, 15);
}
VEC_INLINE v4 group_row(vf s, const int i)
{
    return i == 0 ? __builtin_shufflevector(s, s, 0, 1, 2, 3)
                  : __builtin_shufflevector(s, s, 4, 5, 6, 7);
}
#else
VEC_INLINE vf fold_group(const vf acc[][DOT_NR])
{
    return fold_columns(acc[0][0], acc[0][1], acc[0][2], acc[0][3]);
}
VEC_INLINE v4 group_row(vf s, const int i)
{
    (void)i;
    return s;
}
#endif

VEC_INLINE void dot_store(v4 s, float alpha, const float *init, float *y, long nr)
{
    v4 from = {0};
    if (nr == DOT_NR) {
        if (init) from = *(const v4_any *)init;
        *(v4_any *)y = s * alpha + from;
    } else {
        if (init) memcpy(&from, init, (size_t)nr * sizeof(float));
        s = s * alpha + from;
        memcpy(y, &s, (size_t)nr * sizeof(float));
    }
}

/* k in lanes */
VEC_INLINE void dot_tile(const int bf16, const int mr, const float *a, long a_row, const float *b,
                         long b_row, long k, float alpha, const float *init, long init_row,
                         float *y, long y_row, long nr)
{
    vf acc[DOT_MR][DOT_NR] = {0};
    for (long p = 0; p < k; p += VW) {
        vf av[DOT_MR];
        UNROLL
        for (int i = 0; i < DOT_MR; i++)
            if (i < mr) av[i] = vec_load(a + i * a_row + p);
        UNROLL
        for (int j = 0; j < DOT_NR; j++) {
            vf bv = vec_load(b + j * b_row + p);
            UNROLL
            for (int i = 0; i < DOT_MR; i++)
                if (i < mr) acc[i][j] = lane_fma(bf16, av[i], bv, acc[i][j]);
        }
    }
    UNROLL
    for (int i = 0; i + DOT_GROUP <= DOT_MR; i += DOT_GROUP) {
        if (i + DOT_GROUP > mr) continue;
        vf s = fold_group(acc + i);
        UNROLL
        for (int r = 0; r < DOT_GROUP; r++)
            dot_store(group_row(s, r), alpha, init ? init + (i + r) * init_row : NULL,
                      y + (i + r) * y_row, nr);
    }
    UNROLL
    for (int i = 0; i < DOT_MR; i++)
        if (i >= mr / DOT_GROUP * DOT_GROUP && i < mr)
            dot_store(fold_columns(acc[i][0], acc[i][1], acc[i][2], acc[i][3]), alpha,
                      init ? init + i * init_row : NULL, y + i * y_row, nr);
}

#define DOT_CASE(rows)                                                                       \
    case rows:                                                                               \
        dot_tile(bf16, rows, a, a_row, b, b_row, k, alpha, init, init_row, y, y_row, nr); \
        break

VEC_INLINE void dot_rows(const int bf16, long m, const float *a, long a_row, const float *b,
                         long b_row, long k, float alpha, const float *init, long init_row,
                         float *y, long y_row, long nr)
{
    while (m > 0) {
        long mr = m < DOT_MR ? m : DOT_MR;
        switch (mr) {
            DOT_CASE(1);
            DOT_CASE(2);
            DOT_CASE(3);
#if DOT_MR == 6
            DOT_CASE(4);
            DOT_CASE(5);
            DOT_CASE(6);
#endif
        default:
            break;
        }
        m -= mr;
        a += mr * a_row;
        y += mr * y_row;
        if (init) init += mr * init_row;
    }
}
#undef DOT_CASE

/* Blocks of K in lanes: equal, at most DOT_KC, a function of K alone. */
static long dot_block(long lanes)
{
    long blocks = (lanes + DOT_KC - 1) / DOT_KC;
    return ((lanes + blocks - 1) / blocks + 31) / 32 * 32;
}

/* DOT_NR rows of W from row j, values first .. first + count, as lanes of a panel; rows at nc and beyond are zeros. */
VEC_INLINE void dot_unpack(const int bf16, const struct gemm *g, const unsigned char *w, long j, long nc,
                           long first, long count, float *panel, long kp)
{
    for (long r = j; r < j + DOT_NR; r++, panel += kp)
        if (r < nc)
            pack_lanes(bf16, g->b_type, w + r * g->b_row, first, count, panel, kp);
        else
            memset(panel, 0, (size_t)kp * sizeof *panel);
}

/* Fetch bytes c0 .. c1 of DOT_NR rows of W. */
VEC_INLINE void dot_prefetch(const unsigned char *w, long row, long c0, long c1)
{
    for (long r = 0; r < DOT_NR; r++)
        for (long c = c0; c < c1; c += 64) __builtin_prefetch(w + r * row + c, 0, 3);
}

VEC_INLINE void dot_task(const int bf16, const struct gemm *g, long n0, long n1, long m0, long m1)
{
    _Alignas(64) float panel[DOT_NC * DOT_KC];
    enum {
        ROWS = 6, /* of A: with four rows of the panel they stay in L1 */
        AHEAD = 2 * DOT_NR
    };
    const long per_lane = bf16 ? 2 : 1, lanes = (g->k + per_lane - 1) / per_lane;
    const long kc = dot_block(lanes), nc = n1 - n0, few = m1 - m0 <= DOT_FEW, rows = few ? DOT_FEW : ROWS;
    const float *a = g->a;
    for (long k0 = 0; k0 < lanes; k0 += kc) {
        const long kl = lanes - k0 < kc ? lanes - k0 : kc, kp = (kl + VW - 1) / VW * VW;
        const long first = k0 * per_lane, count = g->k - first < kl * per_lane ? g->k - first : kl * per_lane;
        const unsigned char *w = (const unsigned char *)g->b + n0 * g->b_row;
        const long c0 = (long)dtype_row_bytes(g->b_type, first), c1 = c0 + (long)dtype_row_bytes(g->b_type, count);
        const int direct = few && !bf16 && g->b_type == DT_F32 && kl == kp && (uintptr_t)w % 4 == 0;
        for (long j = 0; !few && j < nc; j += DOT_NR)
            dot_unpack(bf16, g, w, j, nc, first, count, panel + j * kp, kp);
        const float *from = k0 ? g->y : g->init;
        const long from_row = k0 ? g->y_row : g->init_row;
        for (long i = m0; i < m1; i += rows) {
            const long mc = m1 - i < rows ? m1 - i : rows;
            for (long j = 0; j < nc; j += DOT_NR) {
                const float *b = few ? panel : panel + j * kp;
                long b_row = kp;
                if (few && j + AHEAD + DOT_NR <= nc) dot_prefetch(w + (j + AHEAD) * g->b_row, g->b_row, c0, c1);
                if (direct && j + DOT_NR <= nc) {
                    b = (const float *)(const void *)(w + j * g->b_row) + k0;
                    b_row = g->b_row / (long)sizeof(float);
                } else if (few) {
                    dot_unpack(bf16, g, w, j, nc, first, count, panel, kp);
                }
                dot_rows(bf16, mc, a + i * g->a_row + k0, g->a_row, b, b_row, kp, g->alpha,
                         from ? from + i * from_row + n0 + j : NULL, from_row,
                         g->y + i * g->y_row + n0 + j, g->y_row, nc - j < DOT_NR ? nc - j : DOT_NR);
            }
        }
    }
}

/* Columns n0 .. n1 (at most DOT_NC of them if there are more than DOT_FEW rows), rows m0 .. m1. */
static void gemm_dot_task(const struct gemm *g, long n0, long n1, long m0, long m1)
{
    if (g->bf16)
        dot_task(1, g, n0, n1, m0, m1);
    else
        dot_task(0, g, n0, n1, m0, m1);
}

/* ---- sum ----------------------------------------------------------------------------------------------------------- */

/* k, a_row, a_k and b_row in lanes */
VEC_INLINE void sum_tile(const int bf16, const int mr, const float *a, long a_row, long a_k,
                         const float *b, long b_row, long k, float alpha, const float *init,
                         long init_row, float *y, long y_row)
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

#define SUM_CASE(rows)                                                                            \
    case rows:                                                                                    \
        sum_tile(bf16, rows, a, a_row, a_k, b, b_row, k, alpha, from, from_row, to, to_row); \
        break

VEC_INLINE void sum_rows_of(const int bf16, long m, const float *a, long a_row, long a_k,
                            const float *b, long b_row, long k, float alpha, const float *init,
                            long init_row, float *y, long y_row, long nr)
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
            for (long i = 0; i < mr; i++)
                memcpy(y + i * y_row, pad + i * SUM_NR, (size_t)nr * sizeof *pad);
        m -= mr;
        a += mr * a_row;
        y += mr * y_row;
        if (init) init += mr * init_row;
    }
}
#undef SUM_CASE

static void sum_rows(long m, const float *a, long a_row, long a_k, const float *b, long b_row,
                     long k, float alpha, const float *init, long init_row, float *y, long y_row,
                     long nr)
{
    sum_rows_of(0, m, a, a_row, a_k, b, b_row, k, alpha, init, init_row, y, y_row, nr);
}

static void sum_rows_bf16(long m, const float *a, long a_row, const float *b, long b_row, long k,
                          float alpha, const float *init, long init_row, float *y, long y_row,
                          long nr)
{
    sum_rows_of(1, m, a, a_row, 1, b, b_row, k, alpha, init, init_row, y, y_row, nr);
}

/* One thread's product of f32 matrices, in memory as they are: rows of B of b_row floats are read in place. */
static void sum_direct(long m, long n, long k, const float *a, long a_row, long a_k, const float *b,
                       long b_row, float alpha, const float *init, long init_row, float *y,
                       long y_row)
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
            sum_rows(m, a + k0 * a_k, a_row, a_k, bj, bj_row, kl, alpha, from ? from + j : NULL,
                     from_row, y + j, y_row, nr);
        }
    }
}

/* The same with B packed as [n / SUM_NR][packed][SUM_NR], zero-padded, of which the first k <= SUM_KC rows count. */
static void sum_packed(long m, long n, long k, const float *a, long a_row, long a_k, const float *b,
                       long packed, float alpha, const float *init, long init_row, float *y,
                       long y_row)
{
    for (long j = 0; j < n; j += SUM_NR, b += packed * SUM_NR)
        sum_rows(m, a, a_row, a_k, b, SUM_NR, k, alpha, init ? init + j : NULL, init_row, y + j,
                 y_row, n - j < SUM_NR ? n - j : SUM_NR);
}

/* panel = rows of `from` (n rows of k floats, from_row apart) as columns, in the layout of sum_packed. */
static void pack_columns(float *panel, const float *from, long from_row, long n, long k)
{
    for (long j = 0; j < n; j += SUM_NR, panel += k * SUM_NR)
        for (long c = 0; c < SUM_NR; c += 4) {
            const float *row = from + (j + c) * from_row;
            const long left = n - j - c;
            long p = 0;
            for (; left >= 4 && p + 4 <= k; p += 4) { /* squares of 4 x 4 */
                const v4 a = *(const v4_any *)(row + p), b = *(const v4_any *)(row + from_row + p);
                const v4 d = *(const v4_any *)(row + 2 * from_row + p),
                         e = *(const v4_any *)(row + 3 * from_row + p);
                const v4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5),
                         de = __builtin_shufflevector(d, e, 0, 4, 1, 5);
                const v4 ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7),
                         de2 = __builtin_shufflevector(d, e, 2, 6, 3, 7);
                float *to = panel + p * SUM_NR + c;
                *(v4_any *)to = __builtin_shufflevector(ab, de, 0, 1, 4, 5);
                *(v4_any *)(to + SUM_NR) = __builtin_shufflevector(ab, de, 2, 3, 6, 7);
                *(v4_any *)(to + 2 * SUM_NR) = __builtin_shufflevector(ab2, de2, 0, 1, 4, 5);
                *(v4_any *)(to + 3 * SUM_NR) = __builtin_shufflevector(ab2, de2, 2, 3, 6, 7);
            }
            for (; p < k; p++)
                for (long i = 0; i < 4; i++)
                    panel[p * SUM_NR + c + i] = i < left ? row[i * from_row + p] : 0;
        }
}

/* The same from k rows of n floats that stay rows: for rows so far apart in memory that they share cache sets. */
static void pack_wide(float *panel, const float *from, long from_row, long k, long n)
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
static void sum_unpack(float *panel, const struct gemm *g, long k0, long kl, long n, long nc)
{
    _Alignas(64) float row[SUM_NC] = {0};
    for (long p = 0; p < kl; p++) {
        pack_unpack(g->b_type, (const unsigned char *)g->b + (k0 + p) * g->b_row, n, nc, row);
        for (long j = 0; j < nc; j += SUM_NR) UNROLL
        for (int v = 0; v < SUM_NV; v++)
            vec_store(panel + j * kl + p * SUM_NR + v * VW, vec_load(row + j + v * VW));
    }
}

/* The same with lanes of pairs: rows k0, k0 + 1 of B make lane row 0; a row beyond the last is zeros. */
static void sum_unpack_pairs(float *panel, const struct gemm *g, long k0, long kl, long n, long nc)
{
    _Alignas(64) uint16_t row[2][SUM_NC] = {0};
    for (long p = 0; p < kl; p++) {
        for (long r = 0; r < 2; r++)
            if (2 * (k0 + p) + r < g->k)
                pack_values(g->b_type, (const unsigned char *)g->b + (2 * (k0 + p) + r) * g->b_row,
                            n, nc, row[r]);
            else
                memset(row[r], 0, sizeof row[r]);
        for (long j = 0; j < nc; j += SUM_NR)
            for (long c = 0; c < SUM_NR; c += VW)
                vec_interleave(panel + j * kl + p * SUM_NR + c, row[0] + j + c, row[1] + j + c);
    }
}

/* Columns n0 .. n1, rows m0 .. m1. Blocks of K outermost: a block of A stays in L2 while the columns pass. */
static void gemm_sum_task(const struct gemm *g, long n0, long n1, long m0, long m1)
{
    _Alignas(64) float panel[SUM_NC * SUM_KC];
    const unsigned char *w = (const unsigned char *)g->b;
    const long lanes = g->bf16 ? (g->k + 1) / 2 : g->k;
    for (long k0 = 0; k0 < lanes; k0 += SUM_KC) {
        const long kl = lanes - k0 < SUM_KC ? lanes - k0 : SUM_KC;
        const float *a = (const float *)g->a + m0 * g->a_row + k0 * g->a_k;
        const float *from = k0 ? g->y : g->init;
        const long from_row = k0 ? g->y_row : g->init_row;
        if (from) from += m0 * from_row;
        for (long n = n0; n < n1; n += SUM_NC) {
            const long nc = n1 - n < SUM_NC ? n1 - n : SUM_NC;
            float *y = g->y + m0 * g->y_row + n;
            if (g->bf16) {
                sum_unpack_pairs(panel, g, k0, kl, n, nc);
                for (long j = 0; j < nc; j += SUM_NR)
                    sum_rows_bf16(m1 - m0, a, g->a_row, panel + j * kl, SUM_NR, kl, g->alpha,
                                  from ? from + n + j : NULL, from_row, y + j, g->y_row,
                                  nc - j < SUM_NR ? nc - j : SUM_NR);
                continue;
            }
            if (g->b_transposed)
                pack_columns(panel, (const float *)(const void *)(w + n * g->b_row) + k0,
                             g->b_row / (long)sizeof(float), nc, kl);
            else
                sum_unpack(panel, g, k0, kl, n, nc);
            sum_packed(m1 - m0, nc, kl, a, g->a_row, g->a_k, panel, kl, g->alpha,
                       from ? from + n : NULL, from_row, y, g->y_row);
        }
    }
}

/* B in place (f32): for products over tokens, where B is an activation and m is small. */
static void gemm_sum_direct_task(const struct gemm *g, long n0, long n1, long m0, long m1)
{
    const float *a = g->a, *b = g->b;
    sum_direct(m1 - m0, n1 - n0, g->k, a + m0 * g->a_row, g->a_row, g->a_k, b + n0,
               g->b_row / (long)sizeof(float), g->alpha,
               g->init ? g->init + m0 * g->init_row + n0 : NULL, g->init_row,
               g->y + m0 * g->y_row + n0, g->y_row);
}
#endif
