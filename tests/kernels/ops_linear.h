/* ops_linear: the cases of linear_fwd and linear_bwd (a part of ops.c). */

enum { LIN_ROWS = 300, LIN_SPANS = 4 };
struct lin_case {
    struct linear l;
    struct case_mat w[LIN_PARTS];
    struct lowrank low[LIN_PARTS][REF_LOW];
    struct ref_linear ref;
    struct lin_rows rows;
    struct step_dev step;
    struct span span[LIN_SPANS]; /* first rows, middle rows, none, all */
    uint64_t uid[LIN_ROWS];
    void *owned[128];
    int owns;
};

/* What adapters do with the parts of a case. */
enum style { NONE, LORA, MANY, SPANS, GAINS, EVERYTHING, FULL, DORA, STYLES };

static void *lin_own(struct lin_case *c, void *p) { return c->owned[c->owns++] = p; }
static float *lin_floats(struct lin_case *c, long n, float scale) { return lin_own(c, case_floats(n, scale)); }
static double *lin_wide(struct lin_case *c, const float *p, long n) { return lin_own(c, wide(p, n)); }

static void lin_path(struct lin_case *c, int i, int r, float p, int span)
{
    struct lin_slot *s = &c->l.part[i].s;
    const int k = s->n_low++;
    const long N = c->l.part[i].w.rows, K = c->l.in;
    struct lowrank *low = &c->low[i][k];
    *low = (struct lowrank){.r = r,
                            .scale = 0.75f + (float)i - 0.25f * (float)k,
                            .drop_p = p,
                            .key = ((uint64_t)(k + 1) << 33) + (uint64_t)i + 4,
                            .a = lin_floats(c, r * K, 0.3f),
                            .b = lin_floats(c, N * r, 0.3f),
                            .span = span};
    s->low = c->low[i];
    c->ref.part[i].a[k] = lin_wide(c, low->a, r * K);
    c->ref.part[i].b[k] = lin_wide(c, low->b, N * r);
}

static void lin_bias(struct lin_case *c, int i)
{
    const int n = c->l.part[i].w.rows;
    c->l.part[i].bias = lin_floats(c, n, 1);
    c->ref.part[i].bias = lin_wide(c, c->l.part[i].bias, n);
}

static void lin_gain(struct lin_case *c, int i, int bias_inside)
{
    struct lin_slot *s = &c->l.part[i].s;
    s->gain = lin_floats(c, c->l.part[i].w.rows, 1.5f);
    s->gain_bias = bias_inside;
    c->ref.part[i].gain = lin_wide(c, s->gain, c->l.part[i].w.rows);
}

static void lin_gain_in(struct lin_case *c, int i)
{
    c->l.part[i].s.gain_in = lin_floats(c, c->l.in, 1.5f);
    c->ref.part[i].gain_in = lin_wide(c, c->l.part[i].s.gain_in, c->l.in);
}

/* Which gradients a call wants is told by these marks until lin_grads gives them their places. */
static float wanted;

static void lin_style(struct lin_case *c, enum style style, const int *r, float p, int biased)
{
    static const int paths[] = {3, 2, 0};
    for (int i = 0; i < c->l.n; i++) {
        struct lin_slot *s = &c->l.part[i].s;
        const int rank = r[i] ? r[i] : 2;
        const int all = style == EVERYTHING, gains = style == GAINS || all;
        if (biased ? i == 0 : gains || style >= FULL) lin_bias(c, i);
        if (style == LORA && r[i]) lin_path(c, i, r[i], p, -1);
        if (style == MANY)
            for (int k = 0; k < paths[i]; k++) lin_path(c, i, rank + k, k == 1 ? 0 : 0.2f, -1);
        if (style == DORA) { /* with dropout, and without on the second */
            lin_path(c, i, rank, i == 1 ? 0 : 0.3f, -1);
            if (i == 2) lin_path(c, i, rank, 0, -1);
            lin_gain(c, i, 0);
            s->gain_drops = 1;
        }
        if (style == SPANS || all) {
            lin_path(c, i, rank, p, i);
            lin_path(c, i, rank + 1, 0.3f, i + 1);
            lin_path(c, i, 1, 0, i == 1 ? -1 : 0);
        }
        if (gains && (i < 2 || all)) lin_gain(c, i, i % 2 ^ all);
        if (gains && i != 1) lin_gain_in(c, i);
        if (all && i == 1) lin_gain_in(c, i);
        s->d_gain = s->gain && i != 1 ? &wanted : NULL;
        s->d_gain_in = s->gain_in && i < 2 ? &wanted : NULL;
        s->d_w = style == FULL || (all && i != 1) ? &wanted : NULL;
        s->d_bias = c->l.part[i].bias && style != LORA ? &wanted : NULL;
    }
    linear_count(&c->l);
}

/* parts of n[i] rows, ranks r[i]; biased: a bias on the first. */
static struct lin_case *lin_make(enum dtype t, long K, int parts, const int *n, long T)
{
    struct lin_case *c = calloc(1, sizeof *c);
    c->l = (struct linear){.n = parts, .in = (int)K};
    c->step.dropout_step = 3;
    c->rows = (struct lin_rows){.seed = 77, .step = &c->step, .uid = c->uid, .span = c->span};
    const int32_t third = (int32_t)(T / 3);
    c->span[0] = (struct span){0, third};
    c->span[1] = (struct span){third, (int32_t)(T - T / 4 - third)};
    c->span[2] = (struct span){third, 0};
    c->span[3] = (struct span){0, (int32_t)T};
    for (int i = 0; i < LIN_ROWS; i++) c->uid[i] = ((uint64_t)(i / 5) << 20) + (uint64_t)(i % 5);
    for (int i = 0; i < parts; i++) {
        c->w[i] = case_mat(t, n[i], (int)K, 0.3f);
        c->l.part[i].w = c->w[i].m;
        c->l.out += n[i];
        c->ref.part[i].w = lin_wide(c, c->w[i].values, n[i] * K);
    }
    c->ref.l = &c->l;
    c->ref.rows = &c->rows;
    return c;
}

static void lin_free(struct lin_case *c)
{
    for (int i = 0; i < c->l.n; i++) case_mat_free(&c->w[i]);
    for (int i = 0; i < c->owns; i++) free(c->owned[i]);
    free(c);
}

/* The rows of a call of row t alone. */
static struct lin_rows lin_row(const struct lin_case *c, long t, struct span span[LIN_SPANS])
{
    struct lin_rows r = c->rows;
    for (int i = 0; i < LIN_SPANS; i++)
        span[i] = (struct span){0, t >= c->span[i].first && t < c->span[i].first + c->span[i].n};
    r.uid += t;
    r.span = span;
    return r;
}

/* What a packed call gave, y | h | raw, once more with rows apart. */
static void lin_fwd_apart(struct lin_case *c, long T, const float *x, const float *res, const float *want)
{
    const long K = c->l.in, N = c->l.out, R = c->l.rank, W = c->l.raw;
    float *again = case_alloc((size_t)(T * (R + W)) * 4 + 4);
    const struct lin_kept kept = {again, again + T * R};
    for (int i = 0; i < STRIDES; i++) {
        struct apart from = apart(x, T, K, beside_of(i, K)), to = apart(NULL, T, N, beside_of(!i, N)),
                     add = apart(res, T, N, 2 * beside_of(i, N));
        cpu_set_threads(2);
        case_poison(again, (size_t)(T * (R + W)) * 4); /* h of rows outside of a path's span is not written */
        if (cx.scratch_bytes) case_poison(cx.scratch, cx.scratch_bytes);
        CHECK(!ops->linear_fwd(&cx, to.at, to.ld, res ? add.at : NULL, add.ld, from.at, from.ld, &kept, &c->l, &c->rows,
                               T));
        apart_check("y", &to, want);
        CHECK(!memcmp(again, want + T * N, (size_t)(T * (R + W)) * 4));
        if (res) {
            CHECK(!ops->linear_fwd(&cx, add.at, add.ld, add.at, add.ld, from.at, from.ld, &kept, &c->l, &c->rows, T));
            apart_check("y = res", &add, want);
        }
        apart_free(&from), apart_free(&to), apart_free(&add);
    }
    free(again);
}

static void lin_fwd_case(struct lin_case *c, long T, int with_res)
{
    const long K = c->l.in, N = c->l.out, R = c->l.rank, W = c->l.raw, n = T * (N + R + W);
    float *x = case_floats(T * K, 1), *res = case_floats(T * N, 1), *out = case_alloc((size_t)n * 4 + 4),
          *again = case_alloc((size_t)n * 4 + 4);
    const struct lin_kept kept = {out + T * N, out + T * (N + R)}, keep1 = {again + N, again + N + R},
                          eval = {again + T * N, NULL};
    double *xd = wide(x, T * K), *rd = wide(res, T * N), *want = zeros(T * N);
    c->ref.bf16 = cx.prec == DT_BF16;
    scratch(op_linear_scratch(&cx, &c->l, T));
    SAME_BITS(out, (size_t)n * 4, ,
              ops->linear_fwd(&cx, out, N, with_res ? res : NULL, N, x, K, R + W ? &kept : NULL, &c->l,
                              R ? &c->rows : NULL, T));
    ref_linear_fwd(want, with_res ? rd : NULL, xd, &c->ref, T);
    near("y", out, want, T * N, 1e-6);
    for (long t = 0; t<T; t += T> 3 ? T / 3 : 1) { /* a row alone: the same bits */
        struct span span[LIN_SPANS];
        const struct lin_rows rows = lin_row(c, t, span);
        case_poison(again, (size_t)(N + R + W) * 4);
        CHECK(!ops->linear_fwd(&cx, again, N, with_res ? res + t * N : NULL, N, x + t * K, K, &keep1, &c->l, &rows, 1));
        CHECK_MSG(!memcmp(again, out + t * N, (size_t)N * 4), "row %ld of %ld has other bits alone (K %ld N %ld)", t, T,
                  K, N);
        CHECK(!memcmp(again + N, kept.h + t * R, (size_t)R * 4));
        CHECK(!memcmp(again + N + R, (float *)kept.raw + t * W, (size_t)W * 4));
    }
    CHECK(!ops->linear_fwd(&cx, again, N, with_res ? res : NULL, N, x, K, &eval, &c->l, &c->rows,
                           T)); /* nothing but h is kept */
    CHECK(!memcmp(again, out, (size_t)(T * N) * 4));
    lin_fwd_apart(c, T, x, with_res ? res : NULL, out);
    if (with_res)
        CHECK(!ops->linear_fwd(&cx, res, N, res, N, x, K, &kept, &c->l, &c->rows, T) &&
              !memcmp(res, again, (size_t)(T * N) * 4));
    free(x), free(res), free(out), free(again), free(xd), free(rd), free(want);
}

/* One gradient of a case: where it lies in the flat array of all, and what the f64 reference has for it. */
struct lin_grad {
    const char *name;
    float **at;
    double **want, *of; /* of: the parameter, for differences */
    long first, n;
};

static int lin_grads(struct lin_case *c, struct ref_part d[LIN_PARTS], struct lin_grad g[64], long first)
{
    int n = 0;
    memset(d, 0, LIN_PARTS * sizeof *d);
    for (int i = 0; i < c->l.n; i++) {
        struct lin_slot *s = &c->l.part[i].s;
        struct ref_part *v = &c->ref.part[i];
        const long N = c->l.part[i].w.rows, K = c->l.in;
        for (int k = 0; k < s->n_low; k++) {
            struct lowrank *low = &c->low[i][k];
            g[n++] = (struct lin_grad){"d_a", &low->d_a, &d[i].a[k], v->a[k], 0, low->r * K};
            g[n++] = (struct lin_grad){"d_b", &low->d_b, &d[i].b[k], v->b[k], 0, low->r * N};
        }
        if (s->d_gain) g[n++] = (struct lin_grad){"d_gain", &s->d_gain, &d[i].gain, v->gain, 0, N};
        if (s->d_gain_in) g[n++] = (struct lin_grad){"d_gain_in", &s->d_gain_in, &d[i].gain_in, v->gain_in, 0, K};
        if (s->d_w) g[n++] = (struct lin_grad){"d_w", &s->d_w, &d[i].w, v->w, 0, N * K};
        if (s->d_bias) g[n++] = (struct lin_grad){"d_bias", &s->d_bias, &d[i].bias, v->bias, 0, N};
    }
    for (int j = 0; j < n; j++) {
        g[j].first = first;
        first += g[j].n;
    }
    return n;
}

/* What a packed call gave from `base`, d_x | n - T*K values of gradients, once more with rows apart. The gradients go
 * to `again`, where they have their places. */
static void lin_bwd_apart(struct lin_case *c, long T, int add_dx, const float *d_y, const float *x,
                          const struct lin_kept *kept, const float *base, long n, float *again, const float *want)
{
    const long K = c->l.in, N = c->l.out;
    for (int i = 0; i < STRIDES; i++) {
        struct apart to = apart(add_dx ? base : NULL, T, K, beside_of(!i, K)), dy = apart(d_y, T, N, beside_of(i, N)),
                     from = apart(x, T, K, 2 * beside_of(i, K));
        memcpy(again, base, (size_t)n * 4);
        cpu_set_threads(2);
        if (cx.scratch_bytes) case_poison(cx.scratch, cx.scratch_bytes);
        CHECK(!ops->linear_bwd(&cx, to.at, to.ld, add_dx, dy.at, dy.ld, from.at, from.ld, kept, &c->l, &c->rows, T));
        apart_check("d_x", &to, want);
        CHECK(!memcmp(again + T * K, want + T * K, (size_t)(n - T * K) * 4));
        apart_free(&to), apart_free(&dy), apart_free(&from);
    }
}

/* out = d_x | the gradients, which start from `base` (they are added to). */
static void lin_bwd_case(struct lin_case *c, long T, int add_dx)
{
    struct ref_part d[LIN_PARTS];
    struct lin_grad grad[64];
    const int grads = lin_grads(c, d, grad, T * c->l.in);
    const long K = c->l.in, N = c->l.out, R = c->l.rank, W = c->l.raw,
               n = grads ? grad[grads - 1].first + grad[grads - 1].n : T * K;
    float *x = case_floats(T * K, 1), *d_y = case_floats(T * N, 1), *base = case_floats(n, 1),
          *out = case_alloc((size_t)n * 4), *again = case_alloc((size_t)n * 4), *one = case_alloc((size_t)K * 4);
    float *y = case_alloc((size_t)(T * N) * 4), *h = case_alloc((size_t)(T * R) * 4 + 4),
          *raw = case_alloc((size_t)(T * W) * 4 + 4);
    double *xd = wide(x, T * K), *gd = wide(d_y, T * N), *want = zeros(n);
    const struct lin_kept kept = {h, raw};
    const struct lin_kept row = {h + (T - 1) * R, raw + (T - 1) * W};
    c->ref.bf16 = cx.prec == DT_BF16;
    for (int j = 0; j < grads; j++) *grad[j].at = out + grad[j].first, *grad[j].want = want + grad[j].first;
    scratch(op_linear_scratch(&cx, &c->l, T));
    case_poison(h, (size_t)(T * R) * 4);
    CHECK(!ops->linear_fwd(&cx, y, N, NULL, 0, x, K, &kept, &c->l, &c->rows, T));
    const long from = add_dx ? 0 : T * K;
    SAME_BITS(out, (size_t)n * 4, memcpy(out + from, base + from, (size_t)(n - from) * 4),
              ops->linear_bwd(&cx, out, K, add_dx, d_y, N, x, K, R + W ? &kept : NULL, &c->l, R ? &c->rows : NULL, T));
    ref_linear_bwd(want, d, gd, xd, &c->ref, T);
    for (long i = from; i < n; i++) want[i] += base[i];
    near("d_x", out, want, T * K, 2e-6);
    for (int j = 0; j < grads; j++) near(grad[j].name, out + grad[j].first, *grad[j].want, grad[j].n, 2e-6);
    for (int j = 0; j < grads; j++) *grad[j].at = again + grad[j].first;
    lin_bwd_apart(c, T, add_dx, d_y, x, &kept, base, n, again, out);
    /* Without d_x: the same gradients. */
    memcpy(again, base, (size_t)n * 4);
    CHECK(!ops->linear_bwd(&cx, NULL, K, 0, d_y, N, x, K, &kept, &c->l, &c->rows, T));
    CHECK(!memcmp(again + T * K, out + T * K, (size_t)(n - T * K) * 4));
    /* A row alone, where what is trained needs no x. */
    for (int j = 0; j < grads; j++)
        if (strcmp(grad[j].name, "d_b") && strcmp(grad[j].name, "d_bias") && strcmp(grad[j].name, "d_gain"))
            *grad[j].at = NULL;
    struct span span[LIN_SPANS];
    const struct lin_rows rows = lin_row(c, T - 1, span);
    if (add_dx) memcpy(one, base + (T - 1) * K, (size_t)K * 4);
    CHECK(!ops->linear_bwd(&cx, one, K, add_dx, d_y + (T - 1) * N, N, NULL, K, &row, &c->l, &rows, 1));
    CHECK_MSG(!memcmp(one, out + (T - 1) * K, (size_t)K * 4), "d_x of a row has other bits alone (K %ld N %ld)", K, N);
    if (R) CHECK(ops->linear_bwd(&cx, one, K, add_dx, d_y, N, x, K, NULL, &c->l, &c->rows, 1) == DEV_FAILED);
    if (W) {
        const struct lin_kept no_raw = {h, NULL};
        CHECK(ops->linear_bwd(&cx, one, K, add_dx, d_y, N, x, K, &no_raw, &c->l, &c->rows, 1) == DEV_FAILED);
    }
    /* And the formulas themselves, by differences. */
    if (cx.prec == DT_F32 && T * K * N < 400000) {
        double *yd = zeros(T * N);
        for (int s = 0; s < 4; s++) {
            long e = (long)(case_u32() % (uint32_t)(T * K));
            double g = DIFFERENCE(xd, e, yd, gd, T * N, ref_linear_fwd(yd, NULL, xd, &c->ref, T));
            NEAR1(out[e], g + (add_dx ? base[e] : 0), 1, 1e-5);
        }
        for (int j = 0; j < 2 * grads; j++) {
            const struct lin_grad *q = &grad[j / 2];
            const long e = (long)(case_u32() % (uint32_t)q->n);
            double g = DIFFERENCE(q->of, e, yd, gd, T * N, ref_linear_fwd(yd, NULL, xd, &c->ref, T));
            NEAR1(out[q->first + e], g + base[q->first + e], 10, 1e-5);
        }
        free(yd);
    }
    free(x), free(d_y), free(base), free(out), free(y), free(h), free(raw), free(one), free(again);
    free(xd), free(gd), free(want);
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
        {DT_F32, 33, 3, {20, 5, 12}, {2, 1, 3}, 0.4f, 0, 13, 1},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int bf16 = 0; bf16 < 2; bf16++)
            for (int style = 0; style < STYLES; style++) {
                long work = all[i].T * all[i].K * (all[i].n[0] + all[i].n[1] + all[i].n[2]);
                /* Large shapes: adapters as they were always, and one other style each. */
                if (work > 1000000 && style != LORA && style != (int)(2 + i % (STYLES - 2))) continue;
                cx.prec = bf16 ? DT_BF16 : DT_F32;
                struct lin_case *c = lin_make(all[i].t, all[i].K, all[i].parts, all[i].n, all[i].T);
                lin_style(c, style, all[i].r, all[i].p, all[i].biased);
                const int before = test_bad;
                one(c, all[i].T, all[i].add);
                CHECK_MSG(test_bad == before, "case %zu, style %d, bf16 %d", i, style, bf16);
                lin_free(c);
            }
    cx.prec = DT_F32;
}

/* The base alone is one product, and what adds nothing changes no bit of it. */
static void lin_plain(enum dtype t, long K)
{
    enum { T = 11, N = 40 };
    static const int n[] = {N};
    struct lin_case *c = lin_make(t, K, 1, n, T);
    const int bf16 = cx.prec == DT_BF16;
    const long kp = gemm_lanes(K, bf16);
    float *x = case_floats(T * K, 1), *a = case_alloc((size_t)(T * kp) * 4), want[T * N], y[T * N], h[T * 8];
    const struct lin_kept kept = {h, NULL};
    gemm_pack_rows(&cx, a, x, K, T, K, bf16);
    struct gemm g = {.m = T,
                     .n = N,
                     .k = K,
                     .a = a,
                     .a_row = kp,
                     .a_k = 1,
                     .b = c->w[0].m.data,
                     .b_type = t,
                     .b_row = (long)dtype_row_bytes(t, K),
                     .bf16 = bf16,
                     .alpha = 1,
                     .y = want,
                     .y_row = N};
    gemm_dot(&cx, &g);
    scratch(op_linear_scratch(&cx, &c->l, T));
    CHECK(!ops->linear_fwd(&cx, y, N, NULL, 0, x, K, NULL, &c->l, NULL, T) && !memcmp(y, want, sizeof y));
    lin_path(c, 0, 4, 0.5f, 2); /* on no row */
    lin_path(c, 0, 4, 0, 0);    /* on rows 0 .. 2 */
    linear_count(&c->l);
    scratch(op_linear_scratch(&cx, &c->l, T));
    CHECK(!ops->linear_fwd(&cx, y, N, NULL, 0, x, K, &kept, &c->l, &c->rows, T));
    CHECK(memcmp(y, want, 3 * N * 4) && !memcmp(y + 3 * N, want + 3 * N, sizeof y - 3 * N * 4));
    /* A path asks for a span that the call does not name; h has no place. */
    struct lin_rows rows = c->rows;
    rows.span = NULL;
    CHECK(ops->linear_fwd(&cx, y, N, NULL, 0, x, K, &kept, &c->l, &rows, T) == DEV_FAILED &&
          strstr(dev_message(cx.dev), "rows"));
    CHECK(ops->linear_fwd(&cx, y, N, NULL, 0, x, K, &kept, &c->l, NULL, T) == DEV_FAILED);
    CHECK(ops->linear_bwd(&cx, x, K, 0, y, N, x, K, &kept, &c->l, &rows, T) == DEV_FAILED);
    CHECK(ops->linear_fwd(&cx, y, N, NULL, 0, x, K, NULL, &c->l, &c->rows, T) == DEV_FAILED);
    /* Strides below the width; y that is res by another. */
    CHECK(ops->linear_fwd(&cx, y, N - 1, NULL, 0, x, K, &kept, &c->l, &c->rows, T) == DEV_FAILED &&
          strstr(dev_message(cx.dev), "ldy"));
    CHECK(ops->linear_fwd(&cx, y, N, want, N - 1, x, K, &kept, &c->l, &c->rows, T) == DEV_FAILED);
    CHECK(ops->linear_fwd(&cx, y, N, NULL, 0, x, K - 1, &kept, &c->l, &c->rows, T) == DEV_FAILED);
    CHECK(ops->linear_fwd(&cx, y, N, y, N + 1, x, K, &kept, &c->l, &c->rows, T) == DEV_FAILED);
    CHECK(ops->linear_bwd(&cx, a, K - 1, 0, y, N, x, K, &kept, &c->l, &c->rows, T) == DEV_FAILED);
    CHECK(ops->linear_bwd(&cx, a, K, 0, y, N - 1, x, K, &kept, &c->l, &c->rows, T) == DEV_FAILED);
    CHECK(ops->linear_bwd(&cx, a, K, 0, y, N, x, K - 1, &kept, &c->l, &c->rows, T) == DEV_FAILED);
    /* Slots that were not counted; rows that the call has not; a gain that is not there. */
    const struct linear good = c->l;
    const struct span last = c->span[0];
    c->l.rank--;
    CHECK(ops->linear_fwd(&cx, y, N, NULL, 0, x, K, &kept, &c->l, &c->rows, T) == DEV_FAILED);
    c->l = good;
    c->span[0] = (struct span){T - 1, 2};
    CHECK(ops->linear_fwd(&cx, y, N, NULL, 0, x, K, &kept, &c->l, &c->rows, T) == DEV_FAILED);
    c->span[0] = (struct span){-1, 2};
    CHECK(ops->linear_bwd(&cx, x, K, 0, y, N, x, K, &kept, &c->l, &c->rows, T) == DEV_FAILED);
    c->span[0] = last;
    c->l.part[0].s.d_gain_in = y;
    CHECK(ops->linear_fwd(&cx, y, N, NULL, 0, x, K, &kept, &c->l, &c->rows, T) == DEV_FAILED);
    c->l = good;
    /* Evaluation: no uid, no dropout. */
    rows = c->rows;
    rows.uid = NULL;
    float y2[T * N];
    c->low[0][0].span = -1;
    CHECK(!ops->linear_fwd(&cx, y, N, NULL, 0, x, K, &kept, &c->l, &rows, T));
    c->low[0][0].drop_p = 0;
    CHECK(!ops->linear_fwd(&cx, y2, N, NULL, 0, x, K, &kept, &c->l, &c->rows, T) && !memcmp(y, y2, sizeof y));
    free(x), free(a);
    lin_free(c);
}

/* Two adapters of one call on their rows: the bits that each has in a call of its own. */
static void lin_two(long K, int biased)
{
    enum { T = 60, N = 50, ROWS = 25 };
    static const int n[] = {N};
    struct lin_case *c = lin_make(DT_BF16, K, 1, n, T);
    if (biased) lin_bias(c, 0);
    lin_path(c, 0, 8, 0.25f, 0);
    lin_path(c, 0, 5, 0.1f, 1);
    linear_count(&c->l);
    c->span[0] = (struct span){0, ROWS}, c->span[1] = (struct span){ROWS, ROWS};
    const long grads = 8 * (K + N) + 5 * (K + N);
    float *x = case_floats(T * K, 1), *d_y = case_floats(T * N, 1), y[T * N], h[T * 13], y1[T * N], h1[T * 8];
    float *d_x = case_alloc((size_t)(T * K) * 4), *d_x1 = case_alloc((size_t)(T * K) * 4),
          *d = calloc((size_t)grads, 4), *d1 = calloc((size_t)grads, 4);
    const struct lin_kept kept = {h, NULL}, kept1 = {h1, NULL};
    scratch(op_linear_scratch(&cx, &c->l, T));
    c->low[0][0].d_a = d, c->low[0][0].d_b = d + 8 * K;
    c->low[0][1].d_a = d + 8 * (K + N), c->low[0][1].d_b = d + 8 * (K + N) + 5 * K;
    CHECK(!ops->linear_fwd(&cx, y, N, NULL, 0, x, K, &kept, &c->l, &c->rows, T));
    CHECK(!ops->linear_bwd(&cx, d_x, K, 0, d_y, N, x, K, &kept, &c->l, &c->rows, T));
    for (int k = 0; k < 2; k++) {
        struct linear l = c->l;
        struct lowrank low = c->low[0][k];
        struct lin_rows rows = c->rows;
        const long at = k * ROWS;
        low.span = -1;
        low.d_a = d1 + k * 8 * (K + N), low.d_b = low.d_a + low.r * K;
        l.part[0].s.low = &low, l.part[0].s.n_low = 1;
        linear_count(&l);
        rows.uid += at, rows.span = NULL;
        CHECK(!ops->linear_fwd(&cx, y1, N, NULL, 0, x + at * K, K, &kept1, &l, &rows, ROWS));
        CHECK(!memcmp(y1, y + at * N, ROWS * N * 4));
        CHECK(!ops->linear_bwd(&cx, d_x1, K, 0, d_y + at * N, N, x + at * K, K, &kept1, &l, &rows, ROWS));
        CHECK(!memcmp(d_x1, d_x + at * K, (size_t)(ROWS * K) * 4));
    }
    CHECK(!memcmp(d, d1, (size_t)grads * 4));
    free(x), free(d_y), free(d_x), free(d_x1), free(d), free(d1);
    lin_free(c);
}

static void test_linear_fwd(void)
{
    lin_cases(lin_fwd_case);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        cx.prec = bf16 ? DT_BF16 : DT_F32;
        lin_plain(DT_F32, 37);
        lin_plain(DT_Q4_1, 64);
        lin_plain(DT_NF4, 576);
    }
    cx.prec = DT_F32;
}
static void test_linear_bwd(void)
{
    lin_cases(lin_bwd_case);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        cx.prec = bf16 ? DT_BF16 : DT_F32;
        lin_two(64, 0);
        lin_two(173, 1);
    }
    cx.prec = DT_F32;
}
