/* kernels: speed of each CPU op on the shapes of SmolLM2-135M, as a share of the machine's limit in the same round:
 * products, attention and the head of the register peak; products of one row and the ops between the products of the
 * memory bandwidth, with arrays larger than the caches. One figure a line (bench.h). usage: kernels THREADS ROUNDS
 * [PATTERN]...     only figures whose name matches a shell pattern; "-": say what the device is */
#include <fnmatch.h>
#include <math.h>
#include "kernels/ops.h"
#include "tests/bench/bench.h"
#include "tests/kernels/cases.h"

enum { C = 576, H = 9, K = 3, D = 64, F = 1536, V = 49152, QKV = (H + 2 * K) * D };
static const long mib = 1 << 20;

static struct op_ctx cx;
static const struct ops *ops;
static int threads, rounds;
static char **pattern; /* ended by NULL; none: everything */

static bool wanted(const char *name)
{
    for (char **p = pattern; *p; p++)
        if (!fnmatch(*p, name, 0)) return true;
    return !*pattern;
}

static void scratch(size_t bytes)
{
    free(cx.scratch);
    cx.scratch = case_alloc(bytes);
    cx.scratch_bytes = bytes;
}

static void show(const char *group, const char *name, enum bench_limit limit, double work, void (*call)(void *, long),
                 void *ctx, const char *what)
{
    struct bench_speed s = bench_time(cx.dev, threads, rounds, limit, work, call, ctx);
    bench_figure(stdout, group, name, limit == BENCH_READ ? "GB/s" : "GFLOP/s", s, what);
}

/* ---- products ---- */
/* Values do not change the speed: sixteen rows of random ones, repeated. */
static struct mat weight(enum dtype t, int rows, int cols)
{
    size_t row = dtype_row_bytes(t, cols);
    unsigned char *p = case_alloc(row * (size_t)rows);
    float *v = case_floats(16L * cols, 0.1f);
    for (int r = 0; r < rows; r++)
        if (r < 16)
            dtype_from_f32(t, v + (long)r * cols, p + row * (size_t)r, cols);
        else
            memcpy(p + row * (size_t)r, p + row * (size_t)(r % 16), row);
    free(v);
    return (struct mat){p, t, rows, cols};
}

struct shape {
    const char *name;
    int in, n, out[3];
};
static const struct shape shapes[] = {{"qkv", C, 3, {H * D, K *D, K *D}},
                                      {"o", H *D, 1, {C}},
                                      {"gate_up", C, 2, {F, F}},
                                      {"down", F, 1, {C}},
                                      {"head", C, 1, {V}}};
enum { SHAPES = sizeof shapes / sizeof *shapes, COPIES = 512 };

struct product {
    struct linear l[COPIES]; /* one after the other, so that M = 1 reads memory and no cache */
    struct lowrank low[COPIES][LIN_PARTS];
    int copies;
    long M;
    float *x, *y, *d_x, *h;
};

static void product_new(struct product *p, const struct shape *s, enum dtype t, long M, int r)
{
    memset(p, 0, sizeof *p);
    p->M = M;
    size_t bytes = 0;
    do {
        struct linear *l = &p->l[p->copies++];
        struct lowrank *low = p->low[p->copies - 1];
        *l = (struct linear){.n = s->n, .in = s->in};
        for (int i = 0; i < s->n; i++) {
            struct lin_part *q = &l->part[i];
            l->out += s->out[i];
            *q = (struct lin_part){.w = weight(t, s->out[i], s->in)};
            bytes += dtype_row_bytes(t, s->in) * (size_t)s->out[i];
            if (!r) continue;
            low[i] = (struct lowrank){.r = r,
                                      .scale = 2,
                                      .key = (uint64_t)i,
                                      .a = case_floats((long)r * s->in, 0.1f),
                                      .b = case_floats((long)r * s->out[i], 0.1f),
                                      .d_a = case_floats((long)r * s->in, 0.1f),
                                      .d_b = case_floats((long)r * s->out[i], 0.1f),
                                      .span = -1};
            q->s.n_low = 1, q->s.low = &low[i];
        }
        linear_count(l);
    } while (M == 1 && bytes < (size_t)(256 * mib) && p->copies < COPIES);
    p->x = case_floats(M * s->in, 1), p->y = case_floats(M * p->l->out, 1);
    p->d_x = case_floats(M * s->in, 1), p->h = case_floats(M * (p->l->rank + 1), 1);
    scratch(op_linear_scratch(&cx, p->l, M));
}

static void product_free(struct product *p)
{
    for (int k = 0; k < p->copies; k++)
        for (int i = 0; i < p->l[k].n; i++) {
            struct lowrank *low = &p->low[k][i];
            free((void *)p->l[k].part[i].w.data);
            free((void *)low->a), free((void *)low->b), free(low->d_a), free(low->d_b);
        }
    free(p->x), free(p->y), free(p->d_x), free(p->h);
}

static void product_fwd(void *ctx, long i)
{
    struct product *p = ctx;
    const struct linear *l = &p->l[i % p->copies];
    const struct lin_kept kept = {p->h, NULL};
    ops->linear_fwd(&cx, p->y, l->out, NULL, 0, p->x, l->in, &kept, l, NULL, p->M);
}
static void product_bwd(void *ctx, long i)
{
    struct product *p = ctx;
    const struct linear *l = &p->l[i % p->copies];
    const struct lin_kept kept = {p->h, NULL};
    ops->linear_bwd(&cx, p->d_x, l->in, 0, p->y, l->out, p->x, l->in, &kept, l, NULL, p->M);
}

static double product_flops(const struct product *p, int bwd)
{
    double w = 0, low = 0;
    for (int i = 0; i < p->l->n; i++) {
        const struct lin_part *q = &p->l->part[i];
        w += 2.0 * q->w.rows * q->w.cols;
        low += 2.0 * (q->s.n_low ? q->s.low->r : 0) * (q->w.rows + q->w.cols) * (bwd ? 2 : 1);
    }
    return (double)p->M * (w + low);
}

static void products(enum dtype t, enum dtype prec)
{
    static const long rows[] = {1, 16, 128, 512};
    static struct product p;
    bool bf16 = prec == DT_BF16;
    cx.prec = prec;
    for (int s = 0; s < SHAPES; s++)
        for (int m = 0; m < 4; m++) {
            long M = rows[m];
            char fwd[64], bwd[64], group[64];
            if (s == SHAPES - 1 && M > 128) continue;
            snprintf(fwd, sizeof fwd, "%s.fwd.%s%s.%ld", shapes[s].name, dtype_info[t].name, bf16 ? ".bf16" : "", M);
            snprintf(bwd, sizeof bwd, "%s.dx.%s%s.%ld", shapes[s].name, dtype_info[t].name, bf16 ? ".bf16" : "", M);
            if (!wanted(fwd) && (M == 1 || !wanted(bwd))) continue;
            product_new(&p, &shapes[s], t, M, 0);
            if (M == 1) {
                double bytes = 0;
                for (int i = 0; i < p.l->n; i++) bytes += (double)dtype_row_bytes(t, p.l->in) * p.l->part[i].w.rows;
                show("one row, weights from memory", fwd, BENCH_READ, bytes, product_fwd, &p,
                     "linear_fwd of one row: bytes of weights");
            } else {
                snprintf(group, sizeof group, "products, %s weights%s", dtype_info[t].name, bf16 ? ", bf16" : "");
                enum bench_limit lim = bf16 ? BENCH_BF16 : BENCH_F32;
                if (wanted(fwd)) show(group, fwd, lim, product_flops(&p, 0), product_fwd, &p, "linear_fwd");
                if (wanted(bwd)) show(group, bwd, lim, product_flops(&p, 0), product_bwd, &p, "linear_bwd, d_x only");
            }
            product_free(&p);
        }
    cx.prec = DT_F32;
}

/* Frozen weights with their adapters: d_x, d_A and d_B. */
static void adapted(void)
{
    static const struct {
        enum dtype type;
        int shape, r;
    } cases[] = {{DT_Q4_1, 0, 8}, {DT_Q4_1, 0, 16}, {DT_Q4_1, 2, 16}, {DT_Q4_1, 3, 16},
                 {DT_NF4, 0, 16}, {DT_NF4, 2, 16},  {DT_NF4, 3, 16}};
    static struct product p;
    for (int i = 0; i < 7; i++) {
        char fwd[64], bwd[64], group[64];
        const char *name = shapes[cases[i].shape].name, *type = cases[i].type == DT_NF4 ? "nf4." : "";
        snprintf(fwd, sizeof fwd, "%s.%slora%d.fwd.256", name, type, cases[i].r);
        snprintf(bwd, sizeof bwd, "%s.%slora%d.bwd.256", name, type, cases[i].r);
        snprintf(group, sizeof group, "products with adapters, %s", dtype_info[cases[i].type].name);
        if (!wanted(fwd) && !wanted(bwd)) continue;
        product_new(&p, &shapes[cases[i].shape], cases[i].type, 256, cases[i].r);
        if (wanted(fwd)) show(group, fwd, BENCH_F32, product_flops(&p, 0), product_fwd, &p, "linear_fwd with LoRA");
        if (wanted(bwd))
            show(group, bwd, BENCH_F32, product_flops(&p, 1), product_bwd, &p, "linear_bwd with LoRA, all gradients");
        product_free(&p);
    }
}

/* ---- attention ---- */
struct attention {
    struct attn a;
    float *qkv, *d_qkv, *o, *d_o, *lse;
};

static void attention_fwd(void *ctx, long i)
{
    struct attention *t = ctx;
    (void)i;
    ops->attn_fwd(&cx, t->o, t->lse, t->qkv, t->qkv + H * D, t->qkv + (H + K) * D, &t->a);
}
static void attention_bwd(void *ctx, long i)
{
    struct attention *t = ctx;
    float *q = t->qkv, *d = t->d_qkv;
    (void)i;
    ops->attn_bwd(&cx, d, d + H * D, d + (H + K) * D, t->d_o, q, q + H * D, q + (H + K) * D, t->o, t->lse, &t->a);
}

static void attention(int B, int S, bool bf16)
{
    char fwd[64], bwd[64];
    snprintf(fwd, sizeof fwd, "attn.fwd.%s%dx%d", bf16 ? "bf16." : "", B, S);
    snprintf(bwd, sizeof bwd, "attn.bwd.%s%dx%d", bf16 ? "bf16." : "", B, S);
    if (!wanted(fwd) && !wanted(bwd)) return;
    long T = (long)B * S;
    int32_t *start = case_alloc((size_t)B * 4), *len = case_alloc((size_t)B * 4);
    for (int b = 0; b < B; b++) start[b] = b * S, len[b] = S;
    struct attention t = {.a = {.B = B,
                                .H = H,
                                .K = K,
                                .D = D,
                                .scale = 0.125f,
                                .q_start = start,
                                .q_len = len,
                                .kv_start = start,
                                .kv_len = len,
                                .ldq = QKV,
                                .ldk = QKV,
                                .ldv = QKV,
                                .ldo = C,
                                .max_q = S,
                                .max_kv = S},
                          .qkv = case_floats(T * QKV, 1),
                          .d_qkv = case_floats(T * QKV, 1),
                          .o = case_floats(T * C, 1),
                          .d_o = case_floats(T * C, 1),
                          .lse = case_floats(T * H, 1)};
    cx.prec = bf16 ? DT_BF16 : DT_F32;
    scratch(op_attn_scratch(&cx, &t.a, T, 1));
    const char *group = bf16 ? "attention, bf16" : "attention";
    enum bench_limit lim = bf16 ? BENCH_BF16 : BENCH_F32;
    double flops = 2.0 * H * D * (double)B * S * S; /* two products, half of each by the mask; backward: five */
    attention_fwd(&t, 0);
    if (wanted(fwd)) show(group, fwd, lim, flops, attention_fwd, &t, "attn_fwd, sequences x tokens, causal FLOPs");
    if (wanted(bwd))
        show(group, bwd, lim, 2.5 * flops, attention_bwd, &t, "attn_bwd, sequences x tokens, causal FLOPs");
    cx.prec = DT_F32;
    free(start), free(len), free(t.qkv), free(t.d_qkv), free(t.o), free(t.d_o), free(t.lse);
}

/* ---- head ---- */
struct head {
    struct mat w;
    long n;
    float *x, *d_x, *nll, *gscale;
    int32_t *label;
};
static void head_call(void *ctx, long i)
{
    struct head *h = ctx;
    (void)i;
    ops->head_loss(&cx, h->nll, NULL, h->d_x, NULL, h->x, &h->w, h->label, h->n, h->gscale, 128);
}
static void head(enum dtype t, long n, bool bf16)
{
    char name[64];
    snprintf(name, sizeof name, "head_loss.%s%s.%ld", dtype_info[t].name, bf16 ? ".bf16" : "", n);
    if (!wanted(name)) return;
    struct head h = {.w = weight(t, V, C),
                     .n = n,
                     .x = case_floats(n * C, 1),
                     .d_x = case_floats(n * C, 1),
                     .nll = case_floats(n, 1),
                     .gscale = case_floats(n, 1),
                     .label = calloc((size_t)n, 4)};
    cx.prec = bf16 ? DT_BF16 : DT_F32;
    scratch(op_head_scratch(&cx, &h.w, n, 128));
    show("head and loss", name, bf16 ? BENCH_BF16 : BENCH_F32, 4.0 * (double)n * C * V, head_call, &h,
         "head_loss with gradient, rows of a label, chunk 128");
    cx.prec = DT_F32;
    free((void *)h.w.data), free(h.x), free(h.d_x), free(h.nll), free(h.gscale), free(h.label);
}

/* ---- what lies between the products: 24576 tokens, so that nothing stays in a cache ---- */
enum { ROWS = 24576 };
static float *wide, *narrow, *third, *stat, *gain;
static int32_t *pos;

static void norm_fwd(void *c, long i)
{
    (void)c, (void)i;
    ops->norm_fwd(&cx, third, C, stat, narrow, C, gain, ROWS, C, 1e-5f);
}
static void norm_bwd(void *c, long i)
{
    (void)c, (void)i;
    ops->norm_bwd(&cx, third, C, NULL, wide, C, narrow, C, gain, stat, ROWS, C);
}
static void swiglu_fwd(void *c, long i)
{
    (void)c, (void)i;
    ops->swiglu_fwd(&cx, narrow, F, wide, 2 * F, ROWS / 4, F);
}
static void swiglu_bwd(void *c, long i)
{
    (void)c, (void)i;
    ops->swiglu_bwd(&cx, wide, 2 * F, narrow, F, wide, 2 * F, ROWS / 4, F);
}
static void rope(void *c, long i)
{
    (void)c;
    ops->rope(&cx, wide, QKV, pos, gain, ROWS / 2, H + K, D, i % 2 ? -1 : 1);
}
static void adamw(void *c, long i)
{
    static const struct adamw hp = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = 0.01f, .rate = 1};
    const double t = 1 + (double)i;
    const struct step_dev s = {.lr = 1e-6f, .bias1 = 1 - pow(0.9, t), .bias2 = 1 - pow(0.999, t), .grad_scale = 1};
    long n = (long)ROWS * C;
    (void)c;
    ops->adamw(&cx, narrow, third, wide, wide + n, n, &hp, &s);
}

static void between(void)
{
    static const struct {
        const char *name;
        void (*call)(void *, long);
        double bytes;
        const char *what;
    } op[] = {{"norm.fwd", norm_fwd, 8.0 * ROWS * C, "norm_fwd: read x, write y"},
              {"norm.bwd", norm_bwd, 16.0 * ROWS * C, "norm_bwd: read x, d_y, d_x, write d_x"},
              {"swiglu.fwd", swiglu_fwd, 12.0 * ROWS / 4 * F, "swiglu_fwd: read g, u, write h"},
              {"swiglu.bwd", swiglu_bwd, 20.0 * ROWS / 4 * F, "swiglu_bwd: read d_h, g, u, write d_g, d_u"},
              {"rope", rope, 8.0 * ROWS / 2 * (H + K) * D, "rope: read and write q, k"},
              {"adamw", adamw, 28.0 * ROWS * C, "adamw: read p, m, v, g, write p, m, v"}};
    bool any = false;
    for (int i = 0; i < 6; i++) any = any || wanted(op[i].name);
    if (!any) return;
    wide = case_floats(2L * ROWS * C, 1), narrow = case_floats((long)ROWS * C, 1);
    third = case_floats((long)ROWS * C, 1), stat = case_floats(ROWS, 1), gain = case_floats(C, 1);
    pos = case_alloc(ROWS * 4);
    for (int t = 0; t < ROWS; t++) pos[t] = t % 256, stat[t] = 1;
    for (int i = 0; i < C; i++) gain[i] = 0.5f;
    for (long i = 0; i < 2L * ROWS * C; i++) wide[i] = fabsf(wide[i]); /* adamw's second moment */
    for (int i = 5; i >= 0; i--) /* adamw first: it alone minds what the others leave */
        if (wanted(op[i].name))
            show("between the products", op[i].name, BENCH_READ, op[i].bytes, op[i].call, NULL, op[i].what);
    free(wide), free(narrow), free(third), free(stat), free(gain), free(pos);
}

int main(int argc, char **argv)
{
    if (argc < 3 || (threads = atoi(argv[1])) < 1 || (rounds = atoi(argv[2])) < 1 || rounds > BENCH_ROUNDS) {
        fprintf(stderr, "usage: kernels THREADS ROUNDS [PATTERN]...\n");
        return 64;
    }
    pattern = argv + 3;
    cpu_set_threads(threads);
    cx = (struct op_ctx){.dev = dev_open(DEVICE_CPU, 0, NULL), .act = DT_F32, .prec = DT_F32};
    if (!cx.dev) return 1;
    ops = ops_of(cx.dev);
    if (*pattern && !strcmp(*pattern, "-")) return printf("%s bf16=%d\n", dev_name(cx.dev), dev_bf16(cx.dev)) < 0;
    static const enum dtype types[] = {DT_F32, DT_BF16, DT_Q8_0, DT_Q4_1, DT_NF4};
    for (int t = 0; t < 5; t++) products(types[t], DT_F32);
    if (dev_bf16(cx.dev))
        for (int t = 0; t < 5; t++) products(types[t], DT_BF16);
    adapted();
    for (int bf16 = 0; bf16 <= (dev_bf16(cx.dev) ? 1 : 0); bf16++) {
        attention(32, 18, bf16);
        attention(1, 128, bf16);
        attention(1, 256, bf16);
        attention(2, 256, bf16);
        attention(8, 256, bf16);
        attention(1, 512, bf16);
        attention(1, 2048, bf16);
    }
    head(DT_F32, 256, false);
    head(DT_Q8_0, 256, false);
    head(DT_Q8_0, 64, false);
    if (dev_bf16(cx.dev)) head(DT_BF16, 256, true);
    between();
    dev_close(cx.dev);
    return 0;
}
