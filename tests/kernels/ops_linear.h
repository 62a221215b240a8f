/* ops_linear: the cases of linear_fwd and linear_bwd (a part of ops.c). */

struct lin_case {
    struct linear l;
    struct case_mat w[LIN_PARTS];
    struct ref_linear ref;
    struct dropout drop;
    uint64_t uid[600];
    float *bias[LIN_PARTS];
    long grads; /* floats of all d_a and d_b */
};

/* parts of n[i] rows and rank r[i]; biased: a bias on the first. */
static struct lin_case *lin_make(enum dtype t, long K, int parts, const int *n, const int *r, float p, int biased)
{
    struct lin_case *c = calloc(1, sizeof *c);
    c->l = (struct linear){.n = parts, .in = (int)K};
    c->drop = (struct dropout){.p = p, .seed = 77, .step = 3, .uid = c->uid};
    for (int i = 0; i < 600; i++) c->uid[i] = ((uint64_t)(i / 5) << 20) + (uint64_t)(i % 5);
    for (int i = 0; i < parts; i++) {
        c->w[i] = case_mat(t, n[i], (int)K, 0.3f);
        c->l.part[i] = (struct lin_part){
            .w = c->w[i].m, .r = r[i], .scale = 0.75f + (float)i, .module = (uint32_t)(i + 4)};
        struct lin_part *q = &c->l.part[i];
        if (biased && i == 0) q->bias = c->bias[i] = case_floats(n[i], 1);
        q->a = case_floats(r[i] * K, 0.3f);
        q->b = case_floats((long)n[i] * r[i], 0.3f);
        c->l.out += n[i];
        c->l.rank += r[i];
        c->grads += r[i] * (K + n[i]);
        c->ref.w[i] = c->w[i].values;
        c->ref.a[i] = wide(q->a, r[i] * K);
        c->ref.b[i] = wide(q->b, (long)n[i] * r[i]);
    }
    c->ref.l = &c->l;
    c->ref.drop = &c->drop;
    return c;
}

static void lin_free(struct lin_case *c)
{
    for (int i = 0; i < c->l.n; i++) {
        case_mat_free(&c->w[i]);
        free(c->bias[i]), free(c->l.part[i].a), free(c->l.part[i].b), free(c->ref.a[i]), free(c->ref.b[i]);
    }
    free(c);
}

static void lin_fwd_case(struct lin_case *c, long T, int with_res)
{
    const long K = c->l.in, N = c->l.out, R = c->l.rank, n = T * (N + R);
    float *x = case_floats(T * K, 1), *res = case_floats(T * N, 1), *out = case_alloc((size_t)n * 4 + 4),
          *h = out + T * N;
    float *one = case_alloc((size_t)(N + R) * 4 + 4);
    double *xd = wide(x, T * K), *rd = wide(res, T * N), *want = zeros(T * N);
    const double tol = 1e-6;
    c->ref.bf16 = cx.prec == DT_BF16;
    scratch(op_linear_scratch(&cx, &c->l, T));
    SAME_BITS(out, (size_t)n * 4, ,
              ops->linear_fwd(&cx, out, with_res ? res : NULL, x, R ? h : NULL, &c->l, &c->drop, T));
    ref_linear_fwd(want, with_res ? rd : NULL, xd, &c->ref, T);
    near("y", out, want, T * N, tol);
    for (long t = 0; t<T; t += T> 3 ? T / 3 : 1) { /* a row alone: the same bits */
        struct dropout drop = c->drop;
        drop.uid += t;
        case_poison(one, (size_t)(N + R) * 4);
        CHECK(!ops->linear_fwd(&cx, one, with_res ? res + t * N : NULL, x + t * K, one + N, &c->l, &drop, 1));
        CHECK_MSG(!memcmp(one, out + t * N, (size_t)N * 4), "row %ld of %ld has other bits alone (K %ld N %ld)", t, T,
                  K, N);
        CHECK(!memcmp(one + N, h + t * R, (size_t)R * 4));
    }
    if (with_res)
        CHECK(!ops->linear_fwd(&cx, res, res, x, h, &c->l, &c->drop, T) && !memcmp(res, out, (size_t)(T * N) * 4));
    free(x), free(res), free(out), free(one), free(xd), free(rd), free(want);
}

/* out = d_x | d_a, d_b of each part, which start from `base` (they are added to). */
static void lin_bwd_case(struct lin_case *c, long T, int add_dx)
{
    const long K = c->l.in, N = c->l.out, R = c->l.rank, n = T * K + c->grads;
    float *x = case_floats(T * K, 1), *d_y = case_floats(T * N, 1), *base = case_floats(n, 1),
          *out = case_alloc((size_t)n * 4);
    float *y = case_alloc((size_t)(T * N) * 4), *h = case_alloc((size_t)(T * R) * 4 + 4),
          *one = case_alloc((size_t)K * 4);
    double *xd = wide(x, T * K), *gd = wide(d_y, T * N), *want = zeros(n), *d_a[LIN_PARTS], *d_b[LIN_PARTS];
    c->ref.bf16 = cx.prec == DT_BF16;
    long at = T * K;
    for (int i = 0; i < c->l.n; i++) {
        struct lin_part *p = &c->l.part[i];
        p->d_a = out + at, d_a[i] = want + at, at += p->r * K;
        p->d_b = out + at, d_b[i] = want + at, at += (long)p->w.rows * p->r;
    }
    scratch(op_linear_scratch(&cx, &c->l, T));
    CHECK(!ops->linear_fwd(&cx, y, NULL, x, R ? h : NULL, &c->l, &c->drop, T));
    SAME_BITS(out, (size_t)n * 4,
              memcpy(add_dx ? out : out + T * K, add_dx ? base : base + T * K, (size_t)(add_dx ? n : c->grads) * 4),
              ops->linear_bwd(&cx, out, add_dx, d_y, x, h, &c->l, &c->drop, T));
    ref_linear_bwd(want, d_a, d_b, gd, xd, &c->ref, T);
    for (long i = add_dx ? 0 : T * K; i < n; i++) want[i] += base[i];
    near("d_x", out, want, T * K, 2e-6);
    if (c->grads) near("d_a, d_b", out + T * K, want + T * K, c->grads, 2e-6);
    float *keep = case_alloc((size_t)n * 4);
    memcpy(keep, out, (size_t)n * 4);
    for (int i = 0; i < c->l.n; i++) c->l.part[i].d_a = c->l.part[i].d_b = NULL;
    struct dropout drop = c->drop;
    drop.uid += T - 1;
    if (add_dx) memcpy(one, base + (T - 1) * K, (size_t)K * 4);
    CHECK(!ops->linear_bwd(&cx, one, add_dx, d_y + (T - 1) * N, NULL, h + (T - 1) * R, &c->l, &drop, 1));
    CHECK_MSG(!memcmp(one, keep + (T - 1) * K, (size_t)K * 4), "d_x of a row has other bits alone (K %ld N %ld)", K, N);
    if (cx.prec == DT_F32) { /* and the formulas themselves, by differences */
        double *yd = zeros(T * N);
        for (int s = 0; s < 4; s++) {
            long e = (long)(case_u32() % (uint32_t)(T * K)), part = (long)(case_u32() % (uint32_t)c->l.n);
            double g = DIFFERENCE(xd, e, yd, gd, T * N, ref_linear_fwd(yd, NULL, xd, &c->ref, T)) +
                       (add_dx ? base[e] : 0);
            NEAR1(keep[e], g, 1, 1e-5);
            const struct lin_part *p = &c->l.part[part];
            if (!p->r) continue;
            e = (long)(case_u32() % (uint32_t)(p->r * K));
            g = DIFFERENCE(c->ref.a[part], e, yd, gd, T * N, ref_linear_fwd(yd, NULL, xd, &c->ref, T));
            NEAR1(keep[d_a[part] - want + e], g + base[d_a[part] - want + e], 10, 1e-5);
            e = (long)(case_u32() % (uint32_t)(p->r * p->w.rows));
            g = DIFFERENCE(c->ref.b[part], e, yd, gd, T * N, ref_linear_fwd(yd, NULL, xd, &c->ref, T));
            NEAR1(keep[d_b[part] - want + e], g + base[d_b[part] - want + e], 10, 1e-5);
        }
        free(yd);
    }
    free(x), free(d_y), free(base), free(out), free(y), free(h), free(one), free(xd), free(gd), free(want), free(keep);
}

static void lin_cases(void (*one)(struct lin_case *, long, int))
{
    static const struct {
        enum dtype t;
        long K;
        int parts, n[3], r[3];
        float p;
        int biased;
        long T;
        int add;
    } all[] = {
        {DT_F32, 20, 1, {7}, {0}, 0, 0, 1, 0},
        {DT_F32, 64, 1, {64}, {8}, 0, 0, 7, 1},
        {DT_F32, 172, 3, {33, 17, 20}, {1, 0, 16}, 0.25f, 1, 33, 0},
        {DT_BF16, 172, 2, {172, 172}, {8, 8}, 0, 0, 33, 1},
        {DT_F16, 20, 1, {257}, {1}, 0.5f, 1, 7, 1},
        {DT_Q4_0, 64, 3, {64, 32, 32}, {8, 0, 8}, 0, 0, 33, 0},
        {DT_Q4_1, 576, 3, {96, 32, 32}, {8, 8, 8}, 0.1f, 0, 33, 0},
        {DT_Q8_0, 576, 1, {172}, {16}, 0, 0, 7, 1},
        {DT_BF16, 700, 1, {20}, {8}, 0.1f, 0, 33, 0},
        {DT_F32, 1344, 1, {36}, {3}, 0, 0, 150, 0},
        {DT_Q4_1, 64, 1, {600}, {40}, 0.1f, 0, 290, 1},
        {DT_NF4, 576, 3, {96, 32, 32}, {8, 8, 8}, 0.1f, 0, 33, 0},
        {DT_NF4, 1600, 1, {70}, {8}, 0, 1, 150, 1},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int bf16 = 0; bf16 < 2; bf16++) {
            cx.prec = bf16 ? DT_BF16 : DT_F32;
            struct lin_case *c = lin_make(all[i].t, all[i].K, all[i].parts, all[i].n, all[i].r, all[i].p,
                                          all[i].biased);
            one(c, all[i].T, all[i].add);
            lin_free(c);
        }
    cx.prec = DT_F32;
}
static void test_linear_fwd(void) { lin_cases(lin_fwd_case); }
static void test_linear_bwd(void) { lin_cases(lin_bwd_case); }
