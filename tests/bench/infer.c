/* infer: speed of inference in process: prefill of 512 tokens, decode of one sequence and of sixteen after 128 tokens
 * each, and generation as peft-eval does it (64 prompts of 18 tokens, 16 new ones each, 16 at a time).
 *
 * Limits: prefill by the register peak; decode by whichever is slower of reading each weight once a step and computing;
 * both measured in the same round. The ids are made up as in step.c, so that a peer can check the same logits.
 *
 * usage: infer MODEL f32|bf16 NAME [ROUNDS [THREADS]]     figures infer.NAME.{prefill,decode1,decode16,generate}
 * (bench.h), and a line {"check": ...} with the largest logit after the prefill */
#include "libcommon/base/mem.h"
#include "libcommon/eval/generate.h"
#include "tests/bench/bench.h"

enum { PREFILL = 512, SLOTS = 16, CONTEXT = 128, STEPS = 16, PROMPTS = 64, PROMPT = 18, NEW = 16 };

static struct device *dev;
static struct model *m;
static struct decoder d;
static struct err e;
static int32_t ids[SLOTS * CONTEXT], pos[SLOTS * CONTEXT], cache_row[SLOTS * CONTEXT];
static int32_t q_start[SLOTS], q_len[SLOTS], kv_start[SLOTS], kv_len[SLOTS], row[SLOTS];
static float *logits;
static int threads, rounds = 5;
static bool bf16;
static const char *label;

static void check(int rc)
{
    if (!rc) return;
    fprintf(stderr, "infer: %s\n", e.msg);
    exit(1);
}

/* One call: `n` tokens for each of B sequences, of which `cached` are there already; the last of each gets logits. */
static void call(int B, int cached, int n)
{
    for (int b = 0; b < B; b++) {
        q_start[b] = b * n, q_len[b] = n;
        kv_start[b] = b * (PREFILL / (B > 1 ? 2 : 1)), kv_len[b] = cached + n;
        row[b] = (b + 1) * n - 1;
        for (int i = 0; i < n; i++) {
            pos[b * n + i] = cached + i;
            cache_row[b * n + i] = kv_start[b] + cached + i;
        }
    }
    struct batch c = {.T = (long)B * n,
                      .B = B,
                      .ids = ids,
                      .pos = pos,
                      .q_start = q_start,
                      .q_len = q_len,
                      .kv_start = kv_start,
                      .kv_len = kv_len,
                      .cache_row = cache_row,
                      .n = B,
                      .row = row};
    check(decoder_logits(&d, &c, logits, &e));
}

/* value, limit in tokens/s */
static void show(const char *what, const char *name, const char *unit, double *value, double *limit)
{
    double share[BENCH_ROUNDS];
    char full[96];
    for (int r = 0; r < rounds; r++) share[r] = value[r] / limit[r];
    snprintf(full, sizeof full, "infer.%s.%s", label, name);
    bench_figure(
        stdout, "inference", full, unit,
        (struct bench_speed){bench_median(value, rounds), bench_median(limit, rounds), bench_median(share, rounds)},
        what);
}

static void prefill(void)
{
    double value[BENCH_ROUNDS], limit[BENCH_ROUNDS];
    double flops = decoder_flops(m, NULL, PREFILL, 1, PREFILL, false) * 1e-9;
    call(1, 0, PREFILL);
    long best = 0;
    for (long i = 1; i < m->cfg.V; i++)
        if (logits[i] > logits[best]) best = i;
    printf("{\"check\":{\"argmax\":%ld,\"logit\":%.6f}}\n", best, (double)logits[best]);
    for (int r = 0; r < rounds; r++) {
        double before = bench_peak_wall(dev, threads, bf16), t = bench_now();
        call(1, 0, PREFILL);
        value[r] = PREFILL / (bench_now() - t);
        limit[r] = PREFILL * 0.5 * (before + bench_peak_wall(dev, threads, bf16)) / flops;
    }
    show("512 tokens of one sequence, logits of the last: tok/s", "prefill", "tok/s", value, limit);
}

static double matrix_bytes(void)
{
    double n = (double)dtype_row_bytes(m->head.dtype, m->head.cols) * m->head.rows;
    for (int i = 0; i < m->n_site; i++) {
        if (m->site[i].kind != SITE_LINEAR) continue;
        const struct mat *w = &model_part(m, &m->site[i])->w;
        n += (double)dtype_row_bytes(w->dtype, w->cols) * w->rows;
    }
    return n;
}

static double bandwidth_wall(void)
{
    /* bench_read_bandwidth goes by the thread's own clock for one thread; so does no other figure here */
    double t = bench_now();
    bench_read_bandwidth(threads);
    return 0.268435456 / (bench_now() - t);
}

static void decode(int B)
{
    double value[BENCH_ROUNDS], limit[BENCH_ROUNDS];
    double bytes = matrix_bytes() * 1e-9, flops = decoder_flops(m, NULL, B, B, 2 * (CONTEXT + STEPS / 2), false) * 1e-9;
    call(B, 0, CONTEXT);
    bandwidth_wall();
    for (int r = 0; r < rounds; r++) {
        double bw = bandwidth_wall(), peak = bench_peak_wall(dev, threads, bf16), t = bench_now();
        for (int s = 0; s < STEPS; s++) call(B, CONTEXT + s, 1);
        value[r] = B * STEPS / (bench_now() - t);
        bw = 0.5 * (bw + bandwidth_wall());
        peak = 0.5 * (peak + bench_peak_wall(dev, threads, bf16));
        double slowest = bytes / bw > flops / peak ? bytes / bw : flops / peak;
        limit[r] = B / slowest;
    }
    show(B == 1 ? "one sequence, 128 tokens cached: tok/s; limit: each weight read once a step"
                : "16 sequences, 128 tokens cached: tok/s; limit: weights read once a step, or "
                  "computing",
         B == 1 ? "decode1" : "decode16", "tok/s", value, limit);
}

static void generation(const char *path, enum dtype prec)
{
    struct tokenizer *tok = tokenizer_load(path, &e);
    struct gen_opts o = {.max_new = NEW, .slots = SLOTS, .top_p = 1};
    struct decoder_size size = gen_size(&o, PROMPT, 0);
    if (!tok) check(-1);
    check(decoder_init(&d, m, NULL, DECODER_INFER, prec, &size, &e));
    check(decoder_alloc(&d, &e));
    struct gen_prompt p[PROMPTS];
    for (int i = 0; i < PROMPTS; i++) p[i] = (struct gen_prompt){ids + i * PROMPT, PROMPT, (uint64_t)i, 0};
    double value[BENCH_ROUNDS], limit[BENCH_ROUNDS];
    double flops = (decoder_flops(m, NULL, PROMPTS * PROMPT, PROMPTS, PROMPT, false) +
                    decoder_flops(m, NULL, PROMPTS * (NEW - 1), PROMPTS * (NEW - 1), 2 * PROMPT, false)) *
                   1e-9;
    double bytes = matrix_bytes() * 1e-9 * (NEW - 1) * PROMPTS / SLOTS;
    for (int r = 0; r < rounds; r++) {
        double bw = bandwidth_wall(), peak = bench_peak_wall(dev, threads, bf16), t = bench_now();
        check(generate(&d, tok, &o, p, PROMPTS, NULL, NULL, &e));
        value[r] = PROMPTS / (bench_now() - t);
        bw = 0.5 * (bw + bandwidth_wall());
        peak = 0.5 * (peak + bench_peak_wall(dev, threads, bf16));
        limit[r] = PROMPTS / (bytes / bw > flops / peak ? bytes / bw : flops / peak);
    }
    show("64 prompts of 18 tokens, 16 new ones each, 16 at a time: prompts/s", "generate", "1/s", value, limit);
    tokenizer_free(tok);
    decoder_fini(&d);
}

int main(int argc, char **argv)
{
    if (argc < 4 || (strcmp(argv[2], "f32") && strcmp(argv[2], "bf16"))) {
        fprintf(stderr, "usage: infer MODEL f32|bf16 NAME [ROUNDS [THREADS]]\n");
        return 64;
    }
    enum dtype prec = strcmp(argv[2], "bf16") ? DT_F32 : DT_BF16;
    label = argv[3];
    if (argc > 4) rounds = atoi(argv[4]);
    if (rounds < 1 || rounds > BENCH_ROUNDS) rounds = 5;
    if (argc > 5 && atoi(argv[5]) > 0) cpu_set_threads(atoi(argv[5]));
    threads = cpu_threads();
    dev = dev_open(DEVICE_CPU, 0, NULL);
    m = dev ? model_load(argv[1], dev, &e) : NULL;
    if (!m) check(-1);
    bf16 = prec == DT_BF16 && dev_bf16(dev);
    uint64_t x = 1;
    for (int i = 0; i < SLOTS * CONTEXT; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        ids[i] = (int32_t)(5 + (x >> 33) % (uint64_t)(m->cfg.V - 5));
    }
    struct decoder_size size = {
        .T = SLOTS * CONTEXT, .n = SLOTS, .B = SLOTS, .logits = SLOTS, .cache_rows = SLOTS * PREFILL / 2};
    check(decoder_init(&d, m, NULL, DECODER_INFER, prec, &size, &e));
    check(decoder_alloc(&d, &e));
    logits = mem_alloc((size_t)SLOTS * (size_t)m->cfg.V, sizeof *logits);
    prefill();
    decode(1);
    decode(SLOTS);
    decoder_fini(&d);
    generation(argv[1], prec);
    free(logits);
    model_free(m);
    dev_close(dev);
    return 0;
}
