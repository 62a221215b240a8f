/* gemm_dot: the micro-kernel of `dot` and the loops of one task around it (see gemm.h). Included only by gemm_body.h.
 *
 * A tail of m uses the same kernel with fewer rows, a tail of n the same kernel on a zero-padded panel: an element's
 * operations never depend on where it lies. Loops over rows run to their constant end and skip what is beyond mr: clang
 * unrolls no other. */
#ifndef KERNELS_GEMM_DOT_H
#define KERNELS_GEMM_DOT_H

#if VW == 16
#define DOT_MR 6 /* 32 registers: 24 sums, 6 of A, 1 of W */
#else
#define DOT_MR 3 /* 16 registers: 12 sums, 3 of A, 1 of W */
#endif
#define DOT_NR 4

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
    return __builtin_shufflevector(pq, rs, 0, 1, 4, 5) + __builtin_shufflevector(pq, rs, 2, 3, 6, 7);
}

/* The sums of a tile's rows i .. i + DOT_GROUP, four to a row. The same tree as fold_columns, its first levels taken
 * for several rows at once: a third of the shuffles. */
#define DOT_GROUP (VW / 4)
#if VW == 16
VEC_INLINE vf fold_rows(vf w, vf x, vf y, vf z) /* [w | y | x | z], four lanes each */
{
    vf wy = __builtin_shufflevector(w, y, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
            __builtin_shufflevector(w, y, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    vf xz = __builtin_shufflevector(x, z, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
            __builtin_shufflevector(x, z, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    /* blocks of four: w0 w1 y0 y1 and x0 x1 z0 z1 */
    return __builtin_shufflevector(wy, xz, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
           __builtin_shufflevector(wy, xz, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31); /* w y x z */
}
VEC_INLINE vf fold_group(const vf acc[][DOT_NR])
{
    vf p = fold_rows(acc[0][0], acc[2][0], acc[1][0], acc[3][0]),
       q = fold_rows(acc[0][1], acc[2][1], acc[1][1], acc[3][1]),
       r = fold_rows(acc[0][2], acc[2][2], acc[1][2], acc[3][2]),
       s = fold_rows(acc[0][3], acc[2][3], acc[1][3], acc[3][3]);
#define EACH4(a, b, c, d) \
    a, b, c, d, a + 4, b + 4, c + 4, d + 4, a + 8, b + 8, c + 8, d + 8, a + 12, b + 12, c + 12, d + 12
    vf pq = __builtin_shufflevector(p, q, EACH4(0, 16, 1, 17)) + __builtin_shufflevector(p, q, EACH4(2, 18, 3, 19));
    vf rs = __builtin_shufflevector(r, s, EACH4(0, 16, 1, 17)) + __builtin_shufflevector(r, s, EACH4(2, 18, 3, 19));
    return __builtin_shufflevector(pq, rs, EACH4(0, 1, 16, 17)) + __builtin_shufflevector(pq, rs, EACH4(2, 3, 18, 19));
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
    vf p = fold_rows(acc[0][0], acc[1][0]), q = fold_rows(acc[0][1], acc[1][1]), r = fold_rows(acc[0][2], acc[1][2]),
       s = fold_rows(acc[0][3], acc[1][3]);
    vf pq = __builtin_shufflevector(p, q, 0, 8, 1, 9, 4, 12, 5, 13) +
            __builtin_shufflevector(p, q, 2, 10, 3, 11, 6, 14, 7, 15);
    vf rs = __builtin_shufflevector(r, s, 0, 8, 1, 9, 4, 12, 5, 13) +
            __builtin_shufflevector(r, s, 2, 10, 3, 11, 6, 14, 7, 15);
    return __builtin_shufflevector(pq, rs, 0, 1, 8, 9, 4, 5, 12, 13) +
           __builtin_shufflevector(pq, rs, 2, 3, 10, 11, 6, 7, 14, 15);
}
VEC_INLINE v4 group_row(vf s, const int i)
{
    return i == 0 ? __builtin_shufflevector(s, s, 0, 1, 2, 3) : __builtin_shufflevector(s, s, 4, 5, 6, 7);
}
#else
VEC_INLINE vf fold_group(const vf acc[][DOT_NR]) { return fold_columns(acc[0][0], acc[0][1], acc[0][2], acc[0][3]); }
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
VEC_INLINE void dot_tile(const int bf16, const int mr, const float *a, long a_row, const float *b, long b_row, long k,
                         float alpha, const float *init, long init_row, float *y, long y_row, long nr)
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
            dot_store(group_row(s, r), alpha, init ? init + (i + r) * init_row : NULL, y + (i + r) * y_row, nr);
    }
    UNROLL
    for (int i = 0; i < DOT_MR; i++)
        if (i >= mr / DOT_GROUP * DOT_GROUP && i < mr)
            dot_store(fold_columns(acc[i][0], acc[i][1], acc[i][2], acc[i][3]), alpha,
                      init ? init + i * init_row : NULL, y + i * y_row, nr);
}

#define DOT_CASE(rows)                                                                    \
    case rows:                                                                            \
        dot_tile(bf16, rows, a, a_row, b, b_row, k, alpha, init, init_row, y, y_row, nr); \
        break

VEC_INLINE void dot_rows(const int bf16, long m, const float *a, long a_row, const float *b, long b_row, long k,
                         float alpha, const float *init, long init_row, float *y, long y_row, long nr,
                         struct fetch *ahead)
{
    while (m > 0) {
        fetch_some(ahead);
        long mr = m < DOT_MR ? m : DOT_MR;
        if (DOT_MR == 3 && m == 4) mr = 2; /* one row alone waits for its own sums */
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

/* Blocks of K in lanes: equal, at most DOT_KC, a function of K alone; they cut no block of a storage type. */
static long dot_block(long lanes)
{
    long blocks = (lanes + DOT_KC - 1) / DOT_KC;
    return ((lanes + blocks - 1) / blocks + 63) / 64 * 64;
}

/* DOT_NR rows of W from row j, values first .. first + count, as lanes of a panel; rows at nc and beyond are zeros. */
VEC_INLINE void dot_unpack(const int bf16, const struct gemm *g, const unsigned char *w, long j, long nc, long first,
                           long count, float *panel, long kp)
{
    for (long r = j; r < j + DOT_NR; r++, panel += kp)
        if (r < nc)
            pack_lanes(bf16, g->b_type, w + r * g->b_row, first, count, panel, kp);
        else
            memset(panel, 0, (size_t)kp * sizeof *panel);
}

/* Bytes c0 .. c1 of rows n .. n + count of W, while `tiles` tiles are computed; of a row beyond the last nothing. */
VEC_INLINE struct fetch dot_ahead(const struct gemm *g, long n, long count, long c0, long c1, long tiles)
{
    const long left = g->n - n;
    return fetch_begin((const unsigned char *)g->b + n * g->b_row + c0, left < count ? left : count, g->b_row, c1 - c0,
                       tiles);
}

/* Columns n0 .. n1 (at most DOT_NC of them if there are more than DOT_FEW rows), rows m0 .. m1. */
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
        for (long j = 0; !few && j < nc; j += DOT_NR) dot_unpack(bf16, g, w, j, nc, first, count, panel + j * kp, kp);
        /* Many rows: the panel after the next; with two threads that is the one this thread takes next, with more of
         * them one that a neighbour finds in the cache they share. */
        const long tiles = (m1 - m0 + DOT_MR - 1) / DOT_MR;
        struct fetch ahead = dot_ahead(g, n1 + nc, few ? 0 : nc, c0, c1, tiles * ((nc + DOT_NR - 1) / DOT_NR));
        const float *from = k0 ? g->y : g->init;
        const long from_row = k0 ? g->y_row : g->init_row;
        for (long i = m0; i < m1; i += rows) {
            const long mc = m1 - i < rows ? m1 - i : rows;
            for (long j = 0; j < nc; j += DOT_NR) {
                const float *b = few ? panel : panel + j * kp;
                long b_row = kp;
                if (few) ahead = dot_ahead(g, n0 + j + AHEAD, DOT_NR, c0, c1, tiles);
                if (direct && j + DOT_NR <= nc) {
                    b = (const float *)(const void *)(w + j * g->b_row) + k0;
                    b_row = g->b_row / (long)sizeof(float);
                } else if (few) {
                    dot_unpack(bf16, g, w, j, nc, first, count, panel, kp);
                }
                dot_rows(bf16, mc, a + i * g->a_row + k0, g->a_row, b, b_row, kp, g->alpha,
                         from ? from + i * from_row + n0 + j : NULL, from_row, g->y + i * g->y_row + n0 + j, g->y_row,
                         nc - j < DOT_NR ? nc - j : DOT_NR, &ahead);
            }
        }
    }
}
#endif
