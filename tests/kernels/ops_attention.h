/* ops_attention: the cases of attn_fwd and attn_bwd (a part of ops.c). With bf16 factors (sets with tiles) they are
 * compared with the reference of rounded inputs. */

struct attn_case {
    struct attn a;
    int32_t q_start[4], q_len[4], kv_start[4], kv_len[4];
    long rows, kv_rows;
    float *q, *k, *v;
};

/* Packed sequences of nq[b] queries and nq[b] + extra keys; strides wider than the heads, as in a fused q|k|v. */
static struct attn_case *attn_make(int B, const int *nq, int extra, int H, int K, int D)
{
    struct attn_case *c = calloc(1, sizeof *c);
    c->a = (struct attn){.B = B,
                         .H = H,
                         .K = K,
                         .D = D,
                         .scale = (float)(1 / sqrt((double)D)),
                         .q_start = c->q_start,
                         .q_len = c->q_len,
                         .kv_start = c->kv_start,
                         .kv_len = c->kv_len,
                         .ldq = (H + 2 * K) * D,
                         .ldk = 2 * K * D + 3,
                         .ldv = K * D + 5,
                         .ldo = H * D};
    for (int b = 0; b < B; b++) {
        c->q_start[b] = (int32_t)c->rows, c->q_len[b] = nq[b];
        c->kv_start[b] = (int32_t)c->kv_rows, c->kv_len[b] = nq[b] + extra;
        c->rows += nq[b], c->kv_rows += nq[b] + extra;
        if (nq[b] > c->a.max_q) c->a.max_q = nq[b];
    }
    c->a.max_kv = c->a.max_q + extra;
    c->q = case_floats(c->rows * c->a.ldq, 2);
    c->k = case_floats(c->kv_rows * c->a.ldk, 2);
    c->v = case_floats(c->kv_rows * c->a.ldv, 1);
    return c;
}
/* As the op's products read them. */
static double *factors(const float *p, long n)
{
    double *d = wide(p, n);
    for (long i = 0; i < n; i++) d[i] = ref_round(d[i], cx.prec == DT_BF16);
    return d;
}
static void attn_free(struct attn_case *c)
{
    free(c->q), free(c->k), free(c->v);
    free(c);
}

static void attn_fwd_case(struct attn_case *c)
{
    struct attn *a = &c->a;
    const long no = c->rows * a->ldo, nl = c->rows * a->H;
    float *out = case_alloc((size_t)(no + nl) * 4), *lse = out + no, *one = case_alloc((size_t)(a->ldo + a->H) * 4);
    double *q = factors(c->q, c->rows * a->ldq), *k = factors(c->k, c->kv_rows * a->ldk),
           *v = factors(c->v, c->kv_rows * a->ldv);
    double *want = zeros(no + nl);
    scratch(op_attn_scratch(&cx, a, c->rows, 0));
    SAME_BITS(out, (size_t)(no + nl) * 4, , ops->attn_fwd(&cx, out, lse, c->q, c->k, c->v, a));
    ref_attn(want, want + no, q, k, v, a);
    /* bf16: a weight is rounded by 2^-9 of itself at most, by 1.1e-3 in the mean */
    near("o", out, want, no, cx.prec == DT_BF16 ? 2e-3 : 1e-6);
    near("lse", lse, want + no, nl, cx.prec == DT_BF16 ? 3e-6 : 5e-7); /* soft caps are good to 1e-7 of the cap */
    /* Each query again as a decode step against the keys before it: the same bits. */
    for (int b = 0; b < a->B; b++)
        for (int i = 0; i < c->q_len[b]; i += i < 3 || c->q_len[b] < 20 ? 1 : 7) {
            int32_t q0 = c->q_start[b] + i, len = 1, nk = c->kv_len[b] - c->q_len[b] + i + 1;
            struct attn step = *a;
            step.B = 1, step.q_start = &q0, step.q_len = &len, step.kv_start = &c->kv_start[b], step.kv_len = &nk;
            step.max_q = 1, step.max_kv = nk;
            case_poison(one, (size_t)(a->ldo + a->H) * 4);
            CHECK(
                !ops->attn_fwd(&cx, one - (long)q0 * a->ldo, one + a->ldo - (long)q0 * a->H, c->q, c->k, c->v, &step));
            CHECK_MSG(!memcmp(one, out + q0 * a->ldo, (size_t)a->ldo * 4),
                      "query %d of sequence %d has other bits as a decode step", i, b);
            CHECK(!memcmp(one + a->ldo, lse + q0 * a->H, (size_t)a->H * 4));
        }
    free(out), free(one), free(q), free(k), free(v), free(want);
}

/* The whole gradient with bf16 factors: rounded are d_o, the weights and the gradients of the scores. The op's f32 may
 * fall on the other side of the middle between two bf16 values, which is 2^-8 of a value once in some thousand. */
static void attn_bwd_bf16(const struct attn_case *c, const float *got, const float *d_o, const double *q,
                          const double *k, const double *v, const float *o, const float *lse)
{
    const struct attn *a = &c->a;
    const long nq = c->rows * a->ldq, nk = c->kv_rows * a->ldk, nv = c->kv_rows * a->ldv;
    double *want = zeros(nq + nk + nv);
    float *owed = case_alloc((size_t)(nq + nk + nv) * 4);
    ref_attn_bwd(want, want + nq, want + nq + nk, d_o, q, k, v, o, lse, a, 1);
    for (long i = 0; i < nq + nk + nv; i++) owed[i] = isnan(got[i]) && want[i] == 0 ? 0 : got[i];
    near("d_q", owed, want, nq, 1e-3);
    near("d_k", owed + nq, want + nq, nk, 1e-3);
    near("d_v", owed + nq + nk, want + nq + nk, nv, 1e-3);
    free(want), free(owed);
}

static void attn_bwd_case(struct attn_case *c)
{
    const int spots = cx.prec == DT_BF16 ? 0 : c->a.window || c->a.softcap > 0 ? 9 : 24;
    struct attn *a = &c->a;
    const long no = c->rows * a->ldo, nq = c->rows * a->ldq, nk = c->kv_rows * a->ldk, nv = c->kv_rows * a->ldv,
               n = nq + nk + nv;
    float *o = case_alloc((size_t)no * 4), *lse = case_alloc((size_t)(c->rows * a->H) * 4), *d_o = case_floats(no, 1);
    float *out = case_alloc((size_t)n * 4);
    double *q = factors(c->q, nq), *k = factors(c->k, nk), *v = factors(c->v, nv), *yd = zeros(no), *gd = wide(d_o, no);
    scratch(op_attn_scratch(&cx, a, c->rows, 1));
    CHECK(!ops->attn_fwd(&cx, o, lse, c->q, c->k, c->v, a));
    SAME_BITS(out, (size_t)n * 4, , ops->attn_bwd(&cx, out, out + nq, out + nq + nk, d_o, c->q, c->k, c->v, o, lse, a));
    for (int s = 0; s < spots; s++) {
        double *in = s % 3 == 0 ? q : s % 3 == 1 ? k : v;
        const float *got = s % 3 == 0 ? out : s % 3 == 1 ? out + nq : out + nq + nk;
        long row = (long)(case_u32() % (uint32_t)(s % 3 ? c->kv_rows : c->rows)),
             col = (long)(case_u32() % (uint32_t)((s % 3 ? a->K : a->H) * a->D));
        long at = row * (s % 3 == 0 ? a->ldq : s % 3 == 1 ? a->ldk : a->ldv) + col;
        double want = DIFFERENCE(in, at, yd, gd, no, ref_attn(yd, NULL, q, k, v, a));
        NEAR1(got[at], want, 1, 1e-5);
    }
    if (cx.prec == DT_BF16) attn_bwd_bf16(c, out, d_o, q, k, v, o, lse);
    /* Every element that is owed is written, nothing beside it. */
    long owed = c->rows * a->H * a->D + 2 * c->kv_rows * a->K * a->D, written = 0;
    for (long i = 0; i < n; i++) written += !isnan(out[i]);
    CHECK(written == owed);
    free(o), free(lse), free(d_o), free(out), free(q), free(k), free(v), free(yd), free(gd);
}

static void attn_cases(void (*one)(struct attn_case *))
{
    static const struct {
        int B, nq[4], extra, H, K, D;
    } all[] = {
        {1, {1}, 0, 4, 2, 16},    {3, {7, 1, 33}, 0, 4, 2, 16}, {2, {33, 20}, 5, 9, 3, 64}, {1, {140}, 0, 3, 1, 20},
        {1, {60}, 130, 2, 2, 10}, {1, {50}, 0, 10, 1, 32},      {1, {300}, 0, 2, 1, 12},
    };
    static const struct {
        int window;
        float softcap;
    } rules[] = {{0, 0},    {1, 0},  {3, 0}, {128, 0}, {129, 0},  {1000, 0},
                 {0, 5.0f}, {0, 50}, {3, 5}, {100, 5}, {129, 50}, {1000, 5}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (size_t k = 0; k < sizeof rules / sizeof *rules; k++) {
            if (cx.prec == DT_BF16 && (i + k) % 3) continue; /* tiles in plain C are slow */
            struct attn_case *c = attn_make(all[i].B, all[i].nq, all[i].extra, all[i].H, all[i].K, all[i].D);
            c->a.window = rules[k].window, c->a.softcap = rules[k].softcap;
            const int before = test_bad;
            one(c);
            CHECK_MSG(test_bad == before, "case %zu, window %d, softcap %g", i, rules[k].window,
                      (double)rules[k].softcap);
            attn_free(c);
        }
}
static void attn_both(void (*one)(struct attn_case *))
{
    attn_cases(one);
    if (cx.dev->simd->attn_bf16 == cx.dev->simd->attn_f32) return;
    cx.prec = DT_BF16;
    attn_cases(one);
    cx.prec = DT_F32;
}
static void test_attn_fwd(void) { attn_both(attn_fwd_case); }
static void test_attn_bwd(void) { attn_both(attn_bwd_case); }
