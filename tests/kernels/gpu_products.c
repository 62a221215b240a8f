/* gpu_products: linear_fwd, linear_bwd, head_loss and head_logits, CUDA twin against CPU twin: types of weights, one to
 * three parts, together in memory or apart, with and without adapters, bias, residual and dropout. Each runs twice and
 * must give the same bits. */
#include "tests/kernels/gpu.h"

struct shape {
    int n, in, out[LIN_PARTS], r[LIN_PARTS];
    long T;
    float p; /* dropout */
    int bias, apart, add_dx;
    enum { NO_RES, OTHER_RES, RES_IS_Y } res;
    int frozen; /* part whose adapter is not trained, or -1 */
    enum dtype type;
    long pad; /* elements between the rows of x; as many or more between those of the others */
};
static const struct shape shapes[] = {
    {1, 8, {8}, {0}, 1, 0, 0, 0, 0, NO_RES, -1, DT_F32, 0},
    {1, 3, {5}, {2}, 3, 0, 1, 0, 0, OTHER_RES, -1, DT_F32, 0},
    {1, 64, {48}, {8}, 70, 0, 0, 0, 1, RES_IS_Y, -1, DT_BF16, 0},
    {3, 64, {64, 24, 24}, {8, 0, 8}, 33, 0, 0, 0, 0, NO_RES, -1, DT_F32, 0},
    {3, 72, {72, 24, 24}, {16, 4, 20}, 33, 0, 1, 1, 1, NO_RES, 1, DT_F32, 0},
    {3, 72, {72, 24, 24}, {16, 4, 20}, 33, 0.25f, 1, 0, 0, NO_RES, 2, DT_BF16, 0},
    {2, 130, {65, 67}, {4, 4}, 9, 0.5f, 0, 1, 1, OTHER_RES, 0, DT_F16, 0},
    {2, 96, {160, 160}, {32, 32}, 140, 0, 0, 0, 0, NO_RES, -1, DT_BF16, 0},
    {3, 40, {8, 16, 8}, {2, 2, 2}, 5, 0, 0, 1, 0, NO_RES, -1, DT_F32, 0},
    {1, 300, {40}, {1}, 65, 0.1f, 0, 0, 1, RES_IS_Y, -1, DT_F16, 0},
    {1, 16, {16}, {4}, 0, 0, 0, 0, 0, NO_RES, -1, DT_F32, 0},
    {3, 64, {64, 24, 24}, {8, 0, 8}, 33, 0.25f, 1, 0, 0, OTHER_RES, -1, DT_F32, 3},
    {2, 72, {40, 24}, {8, 4}, 9, 0, 0, 0, 1, RES_IS_Y, -1, DT_BF16, 8},
    {1, 30, {22}, {3}, 17, 0.1f, 1, 0, 0, NO_RES, -1, DT_F16, 5},
};

/* One linear on both sides: the weights of all parts lie in `w`, one after the other, or apart by a hole. */
struct pair {
    struct linear cpu, gpu;
    struct lowrank cpu_low[LIN_PARTS], gpu_low[LIN_PARTS];
    void *w;
    float *a[LIN_PARTS], *b[LIN_PARTS], *bias[LIN_PARTS], *d_a[LIN_PARTS], *d_b[LIN_PARTS];
};

static void pair_make(struct pair *p, const struct shape *s)
{
    memset(p, 0, sizeof *p);
    const size_t hole = s->apart ? 64 : 0;
    size_t bytes = 0, at = 0;
    for (int i = 0; i < s->n; i++) bytes += dtype_row_bytes(s->type, s->in) * (size_t)s->out[i] + hole;
    p->w = calloc(1, bytes);
    for (int i = 0; i < s->n; i++) {
        const long n = (long)s->out[i] * s->in;
        float *v = values(n, s->type, 1.0f / sqrtf((float)s->in));
        dtype_from_f32(s->type, v, (char *)p->w + at, n);
        free(v);
        at += dtype_row_bytes(s->type, s->in) * (size_t)s->out[i] + hole;
    }
    char *dw = gpu_bytes(p->w, bytes, type_bytes(s->type));
    p->cpu.n = s->n, p->cpu.in = s->in;
    at = 0;
    for (int i = 0; i < s->n; i++) p->cpu.out += s->out[i];
    p->gpu = p->cpu;
    for (int i = 0; i < s->n; i++) {
        struct lin_part *c = &p->cpu.part[i], *g = &p->gpu.part[i];
        const long na = (long)s->r[i] * s->in, nb = (long)s->out[i] * s->r[i];
        c->w = (struct mat){(char *)p->w + at, s->type, s->out[i], s->in};
        *g = *c;
        g->w.data = dw + at;
        at += dtype_row_bytes(s->type, s->in) * (size_t)s->out[i] + hole;
        if (s->bias) {
            c->bias = p->bias[i] = values(s->out[i], DT_F32, 1);
            g->bias = gpu_array(c->bias, s->out[i], DT_F32);
        }
        if (!s->r[i]) continue;
        struct lowrank *cl = &p->cpu_low[i], *gl = &p->gpu_low[i];
        p->a[i] = values(na, DT_F32, 0.3f), p->b[i] = values(nb, DT_F32, 0.3f);
        *cl = (struct lowrank){.r = s->r[i],
                               .scale = 2.0f - 0.5f * (float)i,
                               .drop_p = i == 1 && s->p > 0 ? s->p / 2 : s->p,
                               .key = 7 + ((uint64_t)i << 32),
                               .a = p->a[i],
                               .b = p->b[i],
                               .span = -1};
        *gl = *cl;
        gl->a = gpu_array(cl->a, na, DT_F32), gl->b = gpu_array(cl->b, nb, DT_F32);
        c->s.low = cl, g->s.low = gl, c->s.n_low = g->s.n_low = 1;
        if (i == s->frozen) continue;
        cl->d_a = p->d_a[i] = values(na, DT_F32, 1), cl->d_b = p->d_b[i] = values(nb, DT_F32, 1);
        gl->d_a = gpu_array(cl->d_a, na, DT_F32), gl->d_b = gpu_array(cl->d_b, nb, DT_F32);
    }
    linear_count(&p->cpu), linear_count(&p->gpu);
}
static void pair_free(struct pair *p)
{
    for (int i = 0; i < LIN_PARTS; i++)
        free(p->a[i]), free(p->b[i]), free(p->bias[i]), free(p->d_a[i]), free(p->d_b[i]);
    free(p->w);
}

/* Scratch of exactly the stated size on both sides: the guards catch a stated size that is too small. */
static void scratch_make(struct op_ctx *c, struct op_ctx *g, size_t cpu_bytes, size_t gpu_bytes)
{
    const int skew = mode.skew;
    mode.skew = 0; /* an arena is aligned */
    c->scratch_bytes = cpu_bytes, g->scratch_bytes = gpu_bytes;
    c->scratch = dev_alloc(cpu, cpu_bytes), g->scratch = gpu_raw(gpu_bytes, 1);
    mode.skew = skew;
}

/* Do products with this type of weights read activations in another type than they are stored in? */
static int converted(enum dtype weight)
{
    const int bf16 = mode.prec == DT_BF16 || (mode.act == DT_BF16 && weight == DT_BF16);
    return (mode.act == DT_BF16) != bf16;
}

static void linear_case(const struct shape *s)
{
    struct pair p;
    gpu_begin();
    pair_make(&p, s);
    const long T = s->T, K = s->in, N = p.cpu.out, R = p.cpu.rank;
    const long ldx = K + s->pad, ldy = N + 2 * s->pad, ld_dx = K + 3 * s->pad, ld_dy = N + s->pad;
    uint64_t uid[200];
    for (long t = 0; t < T; t++) uid[t] = ((uint64_t)(t / 7) << 20) + (uint64_t)(t % 7);
    struct step_dev step = {.dropout_step = 3};
    struct lin_rows rows = {.seed = 99, .step = &step, .uid = s->p > 0 ? uid : NULL}, grows = rows;
    const int skew = mode.skew;
    mode.skew = 0;
    grows.step = gpu_bytes(&step, sizeof step, 0);
    mode.skew = skew;
    if (s->p > 0) grows.uid = gpu_bytes(uid, sizeof uid, 0);
    float *x = values(T * ldx, mode.act, 1), *res = values(T * ldy, mode.act, 1), *d_y = values(T * ld_dy, mode.act, 1);
    float *d_x = values(T * ld_dx, mode.act, 1), *y = values(T * ldy, mode.act, 1),
          *h = malloc(sizeof(float) * (size_t)(T * R + 1));
    void *gx = gpu_array(x, T * ldx, mode.act), *gres = gpu_array(res, T * ldy, mode.act),
         *gdy = gpu_array(d_y, T * ld_dy, mode.act);
    void *gdx = gpu_array(d_x, T * ld_dx, mode.act), *gy = gpu_array(y, T * ldy, mode.act),
         *gh = gpu_poison(T * R, DT_F32);
    if (s->res == RES_IS_Y) {
        memcpy(y, res, sizeof(float) * (size_t)(T * ldy));
        gy = gres;
    } else if (!s->pad) {
        gy = gpu_poison(T * N, mode.act);
    }
    if (!s->add_dx && !s->pad) gdx = gpu_poison(T * K, mode.act);
    const struct lin_kept kept = {h, NULL}, gkept = {gh, NULL};
    struct op_ctx c = ctx_cpu(), g = ctx_gpu();
    scratch_make(&c, &g, op_linear_scratch(&c, &p.cpu, T), op_linear_scratch(&g, &p.gpu, T));
    const struct ops *o = ops_of(gpu);
    const float *add = s->res == NO_RES ? NULL : s->res == RES_IS_Y ? y : res;
    if (s->pad && converted(s->type)) {
        CHECK(o->linear_fwd(&g, gy, ldy, NULL, 0, gx, ldx, &gkept, &p.gpu, &grows, T) == DEV_UNSUPPORTED);
        CHECK_MSG(strstr(dev_message(gpu), "ldx") != NULL, "message: \"%s\"", dev_message(gpu));
        CHECK(o->linear_bwd(&g, gdx, ld_dx, 0, gdy, ld_dy, gx, ldx, &gkept, &p.gpu, &grows, T) == DEV_UNSUPPORTED);
        CHECK_MSG(strstr(dev_message(gpu), "ld_dy") != NULL, "message: \"%s\"", dev_message(gpu));
        goto done;
    }
    ok(ops_cpu.linear_fwd(&c, y, ldy, add, ldy, x, ldx, &kept, &p.cpu, &rows, T), "cpu linear_fwd");
    ok(o->linear_fwd(&g, gy, ldy, add ? gres : NULL, ldy, gx, ldx, &gkept, &p.gpu, &grows, T), "linear_fwd");
    gpu_compare("linear_fwd y", gy, y, T * ldy, mode.act, 1e-5, 1e-2);
    gpu_compare("linear_fwd h", gh, h, T * R, DT_F32, 1e-5, 1e-2);
    ok(ops_cpu.linear_bwd(&c, d_x, ld_dx, s->add_dx, d_y, ld_dy, x, ldx, &kept, &p.cpu, &rows, T), "cpu linear_bwd");
    ok(o->linear_bwd(&g, gdx, ld_dx, s->add_dx, gdy, ld_dy, gx, ldx, &gkept, &p.gpu, &grows, T), "linear_bwd");
    gpu_compare("linear_bwd d_x", gdx, d_x, T * ld_dx, mode.act, 1e-5, 1e-2);
    for (int i = 0; i < s->n; i++) {
        if (!p.d_a[i]) continue;
        gpu_compare("linear_bwd d_a", p.gpu_low[i].d_a, p.d_a[i], (long)s->r[i] * K, DT_F32, 1e-5, 1e-2);
        gpu_compare("linear_bwd d_b", p.gpu_low[i].d_b, p.d_b[i], (long)s->out[i] * s->r[i], DT_F32, 1e-5, 1e-2);
    }
    /* without d_x the gradients of the adapter are still added */
    ok(ops_cpu.linear_bwd(&c, NULL, 0, 0, d_y, ld_dy, x, ldx, &kept, &p.cpu, &rows, T), "cpu linear_bwd, no d_x");
    ok(o->linear_bwd(&g, NULL, 0, 0, gdy, ld_dy, gx, ldx, &gkept, &p.gpu, &grows, T), "linear_bwd, no d_x");
    for (int i = 0; i < s->n; i++)
        if (p.d_a[i])
            gpu_compare("linear_bwd d_a, no d_x", p.gpu_low[i].d_a, p.d_a[i], (long)s->r[i] * K, DT_F32, 1e-5, 1e-2);
    gpu_end("linear");
    g.scratch_bytes = 0;
    if (op_linear_scratch(&g, &p.gpu, T))
        CHECK(o->linear_fwd(&g, gy, ldy, NULL, 0, gx, ldx, &gkept, &p.gpu, &grows, T) == DEV_FAILED);
done:
    dev_free(cpu, c.scratch);
    free(x), free(res), free(d_y), free(d_x), free(y), free(h);
    pair_free(&p);
}
static void case_linear(void)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) linear_case(&shapes[i]);
}

/* What this twin does not take is said by name, in both directions. */
static void refused(struct pair *p, const char *word)
{
    void *x = gpu_poison(64, mode.act), *y = gpu_poison(64, mode.act), *h = gpu_poison(64, DT_F32);
    const struct lin_kept kept = {h, NULL};
    struct op_ctx g = ctx_gpu();
    g.scratch = gpu_raw(65536, 1), g.scratch_bytes = 65536;
    CHECK(ops_of(gpu)->linear_fwd(&g, y, 8, NULL, 0, x, 8, &kept, &p->gpu, NULL, 1) == DEV_UNSUPPORTED);
    CHECK_MSG(strstr(dev_message(gpu), word) != NULL, "message: \"%s\"", dev_message(gpu));
    CHECK(ops_of(gpu)->linear_bwd(&g, x, 8, 0, y, 8, x, 8, &kept, &p->gpu, NULL, 1) == DEV_UNSUPPORTED);
    CHECK_MSG(strstr(dev_message(gpu), word) != NULL, "message: \"%s\"", dev_message(gpu));
}

static void case_refused(void)
{
    static const struct shape s = {1, 8, {8}, {2}, 1, 0, 0, 0, 0, NO_RES, -1, DT_F32, 0};
    struct pair p;
    gpu_begin();
    pair_make(&p, &s);
    struct lin_part *q = &p.gpu.part[0];
    const struct lin_part good = *q;
    struct lowrank two[2] = {p.gpu_low[0], p.gpu_low[0]}, some = p.gpu_low[0];
    float *any = gpu_poison(64, DT_F32);
    some.span = 0;
    q->w.dtype = DT_Q8_0, refused(&p, "q8_0"), *q = good;
    q->s.gain = any, refused(&p, "gains"), *q = good;
    q->s.gain_in = any, refused(&p, "gains"), *q = good;
    q->s.d_w = any, refused(&p, "gradients of weights"), *q = good;
    q->s.d_bias = any, refused(&p, "gradients of biases"), *q = good;
    q->s.low = &some, refused(&p, "some of the rows"), *q = good;
    q->s.low = two, q->s.n_low = 2;
    linear_count(&p.gpu);
    refused(&p, "several adapters"), *q = good;
    linear_count(&p.gpu);
    /* Strides: below the width; of one array by two; of res beside y. */
    const struct lin_kept kept = {any, NULL};
    struct op_ctx g = ctx_gpu();
    void *x = gpu_poison(64, mode.act), *y = gpu_poison(64, mode.act), *res = gpu_poison(64, mode.act);
    g.scratch = gpu_raw(65536, 1), g.scratch_bytes = 65536;
    CHECK(ops_of(gpu)->linear_fwd(&g, y, 7, NULL, 0, x, 8, &kept, &p.gpu, NULL, 1) == DEV_FAILED);
    CHECK(ops_of(gpu)->linear_fwd(&g, y, 8, y, 9, x, 8, &kept, &p.gpu, NULL, 1) == DEV_FAILED);
    CHECK(ops_of(gpu)->linear_fwd(&g, y, 8, res, 9, x, 8, &kept, &p.gpu, NULL, 1) == DEV_UNSUPPORTED);
    CHECK_MSG(strstr(dev_message(gpu), "ldres") != NULL, "message: \"%s\"", dev_message(gpu));
    CHECK(ops_of(gpu)->linear_bwd(&g, y, 8, 0, x, 7, x, 8, &kept, &p.gpu, NULL, 1) == DEV_FAILED);
    pair_free(&p);
}

static void head_case(int V, int C, long n, int chunk, enum dtype type, float scale)
{
    gpu_begin();
    float *x = values(n * C, mode.act, 1), *w = values((long)V * C, type, scale),
          *nll = malloc(sizeof(float) * (size_t)n);
    float *d_x = malloc(sizeof(float) * (size_t)(n * C));
    int32_t labels[16], best[16], got[16];
    float *gscale = values(n, DT_F32, 0.125f), *logits = malloc(sizeof(float) * (size_t)(n * V));
    /* Two equal rows, made the largest for the first x: the lower id must win, also where another thread has it,
     * earlier. */
    const int lo = V > 2100 ? 21 : 1, hi = V > 2100 ? 2049 : V - 1;
    if (V > 4) memcpy(w + (long)hi * C, w + (long)lo * C, sizeof(float) * (size_t)C);
    for (long i = 0; i < n; i++) labels[i] = (int32_t)((i * 7919 + V - 1) % V);
    for (int c = 0; c < C && V > 4; c++) x[c] = w[(long)lo * C + c] >= 0 ? 1 : -1;
    void *bits = malloc((size_t)V * (size_t)C * 4);
    dtype_from_f32(type, w, bits, (long)V * C);
    struct mat m = {bits, type, V, C}, gm = m;
    gm.data = gpu_array(w, (long)V * C, type);
    void *gx = gpu_array(x, n * C, mode.act), *gl = gpu_bytes(labels, sizeof *labels * (size_t)n, 4),
         *gn = gpu_poison(n, DT_F32);
    void *gb = gpu_poison(n, DT_F32), *gd = gpu_poison(n * C, mode.act), *gg = gpu_array(gscale, n, DT_F32);
    struct op_ctx c = ctx_cpu(), g = ctx_gpu();
    scratch_make(&c, &g, op_head_scratch(&c, &m, n, chunk), op_head_scratch(&g, &gm, n, chunk));
    const struct ops *o = ops_of(gpu);
    ok(ops_cpu.head_loss(&c, nll, best, d_x, NULL, x, &m, labels, n, gscale, chunk), "cpu head_loss");
    ok(o->head_loss(&g, gn, gb, gd, NULL, gx, &gm, gl, n, gg, chunk), "head_loss");
    gpu_compare("head_loss nll", gn, nll, n, DT_F32, 1e-5, 1e-2);
    gpu_compare("head_loss d_x", gd, d_x, n * C, mode.act, 1e-5, 1e-2);
    CHECK(dev_to_host(gpu, got, gb, sizeof *got * (size_t)n) == DEV_OK);
    hash_bytes(got, sizeof *got * (size_t)n);
    for (long i = 0; i < n; i++)
        CHECK_MSG(got[i] == best[i], "V %d (%s): best[%ld] is %d, not %d", V, mode.name, i, got[i], best[i]);
    ok(o->head_loss(&g, gn, NULL, NULL, NULL, gx, &gm, gl, n, NULL, chunk), "head_loss, loss only");
    gpu_compare("head_loss nll alone", gn, nll, n, DT_F32, 1e-5, 1e-2);
    gpu_end("head_loss");
    dev_free(cpu, c.scratch);
    void *gz = gpu_poison(n * V, DT_F32);
    scratch_make(&c, &g, op_logits_scratch(&c, &m, n), op_logits_scratch(&g, &gm, n));
    ok(ops_cpu.head_logits(&c, logits, x, &m, n), "cpu head_logits");
    ok(o->head_logits(&g, gz, gx, &gm, n), "head_logits");
    gpu_compare("head_logits", gz, logits, n * V, DT_F32, 1e-5, 1e-2);
    gpu_end("head_logits");
    g.scratch_bytes = 0;
    if (op_logits_scratch(&g, &gm, n)) CHECK(o->head_logits(&g, gz, gx, &gm, n) == DEV_FAILED);
    dev_free(cpu, c.scratch);
    free(x), free(w), free(nll), free(d_x), free(bits), free(gscale), free(logits);
}
static void case_head(void)
{
    head_case(3, 8, 1, 1, DT_F32, 1);
    head_case(49, 33, 5, 3, DT_F32, 1);
    head_case(1000, 16, 7, 100, DT_BF16, 1);
    head_case(2051, 24, 4, 4, DT_F32, 0.5f);
    head_case(5000, 8, 3, 2, DT_F16, 4);
    head_case(4096, 40, 6, 5, DT_BF16, 20); /* logits of some hundreds */
}

static void (*now)(void);
static void twice(void)
{
    static const struct mode modes[] = {
        {"f32", DT_F32, DT_F32, 0},    {"f32", DT_F32, DT_F32, 1},    {"f32, bf16 products", DT_F32, DT_BF16, 0},
        {"bf16", DT_BF16, DT_BF16, 0}, {"bf16", DT_BF16, DT_BF16, 1}, {"bf16, f32 products", DT_BF16, DT_F32, 0}};
    for (int i = 0; i < 6; i++) {
        uint64_t first = 0;
        mode = modes[i];
        for (int run = 0; run < 2; run++) {
            seed = 54321, outputs = 14695981039346656037u;
            now();
            if (run == 0) first = outputs;
        }
        CHECK_MSG(first == outputs, "%s, skew %d: two runs differ", mode.name, mode.skew);
    }
}

int main(void)
{
    gpu = gpu_open("gpu_products");
    if (!gpu) return 0;
    cpu = dev_open(DEVICE_CPU, 0, NULL);
    arena = dev_alloc(gpu, ARENA);
    image = malloc(ARENA);
    arena_used = ARENA - GUARD;
    if (!cpu || !arena || !image) return 1;
    now = case_linear;
    RUN(twice, "gpu linear_fwd, linear_bwd");
    now = case_refused;
    RUN(twice, "gpu linear: what is refused");
    now = case_head;
    RUN(twice, "gpu head_loss, head_logits");
    dev_free(gpu, arena), free(image);
    dev_close(gpu), dev_close(cpu);
    return test_failed;
}
