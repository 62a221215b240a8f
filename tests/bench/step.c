/* step: LoRA training steps in process: forward, backward, clipping, AdamW, on one sequence of made-up tokens.
 *
 * Nothing is random: the adapter begins with A = 0.02 sin(0.37 i + t), B = 0.01 sin(0.37 i + t) for its parameter
 * number t, and the ids come from an LCG, so that peer_worker.py computes the same loss and the same gradients by
 * transformers + peft. The register peak is measured between the steps; the share is that of the step's FLOPs
 * (decoder_flops) in it.
 *
 * usage: step MODEL T f32|bf16 qv|all R LABELS [ROUNDS [THREADS]] [--json | --figures NAME | --scaling NAME]
 * LABELS: of the last n tokens; 0: of all.  --figures prints bench.h's figures; --scaling times one thread and THREADS
 * in turn. */
#include <math.h>
#include "libcommon/base/mem.h"
#include "libcommon/model/decoder.h"
#include "libcommon/peft/method.h"
#include "tests/bench/bench.h"
#include "tests/method_options.h"

struct setup {
    const char *model, *targets, *figures, *scaling;
    long T, labels;
    enum dtype prec;
    int r, rounds, threads;
    bool json;
};
struct state {
    struct device *dev;
    struct model *m;
    struct adapter *a;
    struct hooks hooks;
    struct decoder d;
    struct batch b;
    float *mom, *var;
    double loss, norm; /* of the last step */
};

static int fail(const struct err *e)
{
    fprintf(stderr, "step: %s\n", e->msg);
    return 1;
}

static int parse(struct setup *s, int argc, char **argv)
{
    const char *v[8] = {[6] = "5", [7] = "0"};
    int n = 0;
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--json"))
            s->json = true;
        else if (!strcmp(argv[i], "--figures") && i + 1 < argc)
            s->figures = argv[++i];
        else if (!strcmp(argv[i], "--scaling") && i + 1 < argc)
            s->scaling = argv[++i];
        else if (n < 8)
            v[n++] = argv[i];
        else
            return -1;
    if (n < 6) return -1;
    s->model = v[0], s->targets = v[3];
    s->T = atol(v[1]), s->r = atoi(v[4]), s->labels = atol(v[5]);
    s->rounds = atoi(v[6]), s->threads = atoi(v[7]);
    s->prec = strcmp(v[2], "bf16") ? DT_F32 : DT_BF16;
    bool known = !strcmp(v[2], "bf16") || !strcmp(v[2], "f32");
    known = known && (!strcmp(s->targets, "qv") || !strcmp(s->targets, "all"));
    if (s->labels == 0 || s->labels > s->T - 1) s->labels = s->T - 1;
    return known && s->T > 1 && s->r > 0 && s->labels > 0 && s->rounds > 0 && s->rounds <= BENCH_ROUNDS ? 0 : -1;
}

static void tokens(struct batch *b, long T, long labels, int V)
{
    int32_t *ids = mem_alloc((size_t)T, 4), *pos = mem_alloc((size_t)T, 4), *at = mem_alloc(2, 4),
            *row = mem_alloc((size_t)labels, 4), *label = mem_alloc((size_t)labels, 4);
    float *weight = mem_alloc((size_t)labels, 4);
    uint64_t x = 1;
    for (long t = 0; t < T; t++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        ids[t] = (int32_t)(5 + (x >> 33) % (uint64_t)(V - 5));
        pos[t] = (int32_t)t;
    }
    at[0] = 0, at[1] = (int32_t)T;
    for (long i = 0; i < labels; i++) {
        row[i] = (int32_t)(T - 1 - labels + i);
        label[i] = ids[row[i] + 1];
        weight[i] = 1.0f / (float)labels;
    }
    *b = (struct batch){.T = T,
                        .B = 1,
                        .ids = ids,
                        .pos = pos,
                        .q_start = at,
                        .q_len = at + 1,
                        .n = labels,
                        .row = row,
                        .label = label,
                        .weight = weight};
}

static int set_up(struct state *st, const struct setup *s, struct err *e)
{
    st->dev = dev_open(DEVICE_CPU, 0, NULL);
    st->m = st->dev ? model_load(s->model, st->dev, e) : NULL;
    if (!st->m) return -1;
    char line[96];
    snprintf(line, sizeof line, "--lora-r %d --target-modules %s", (int)s->r,
             strcmp(s->targets, "all") ? "q_proj,v_proj" : "all-linear");
    const struct peft_method *lora = peft_method_find("lora");
    struct opt_set *set = method_options(line);
    struct adapter *a = st->a = adapter_new(lora, opt_block(set, lora->opts), opt_block(set, adapter_opt_rows), st->m,
                                            e);
    opt_set_free(set);
    if (!a) return -1;
    for (int t = 0; t < a->n_param; t++) {
        const struct param *p = &a->param[t];
        double amplitude = strstr(p->name, "lora_B") ? 0.01 : 0.02;
        for (long i = 0; i < (long)p->rows * p->cols; i++)
            a->data[p->off + i] = (float)(amplitude * sin(0.37 * (double)i + t));
    }
    a->grad = dev_alloc(st->dev, (size_t)a->size * 4);
    st->mom = mem_alloc((size_t)a->size, 4), st->var = mem_alloc((size_t)a->size, 4);
    tokens(&st->b, s->T, s->labels, st->m->cfg.V);
    struct decoder_size size = {.T = s->T, .n = s->labels, .B = 1, .chunk = DECODER_CHUNK};
    int rc = adapter_bind(a, &st->hooks, st->m, e);
    if (!rc) rc = decoder_init(&st->d, st->m, &st->hooks, DECODER_TRAIN, s->prec, &size, e);
    return rc ? rc : decoder_alloc(&st->d, e);
}

static int step(struct state *st, int number, struct err *e)
{
    struct adapter *a = st->a;
    memset(a->grad, 0, (size_t)a->size * 4);
    const struct adamw hp = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = 0.01f, .rate = 1};
    struct step_dev sc = {.lr = 2e-4f, .max_norm = 1, .bias1 = 1 - pow(0.9f, number), .bias2 = 1 - pow(0.999f, number)};
    const struct ops *ops = st->m->ops;
    int rc = decoder_step_begin(&st->d, &sc, e);
    if (!rc) rc = decoder_loss(&st->d, &st->b, true, e);
    if (rc) return rc;
    rc = ops->sumsq(&st->d.cx, st->d.step, a->grad, a->size);
    if (!rc) rc = ops->step_clip(&st->d.cx, st->d.step);
    if (!rc) rc = ops->adamw(&st->d.cx, a->data, st->mom, st->var, a->grad, a->size, &hp, st->d.step);
    if (rc) return err_set(e, E_BUG, "optimizer");
    rc = decoder_step_end(&st->d, &sc, e);
    st->loss = sc.loss / (double)st->b.n;
    st->norm = sqrt(sc.sumsq);
    return rc;
}

/* What s.threads threads make of one, beside what they make of multiply-adds on registers. */
static int scaling(struct state *st, const struct setup *s, bool bf16, struct err *e)
{
    double ratio[BENCH_ROUNDS], ideal[BENCH_ROUNDS], share[BENCH_ROUNDS];
    for (int r = 0; r < s->rounds; r++) {
        double took[2], peak[2];
        for (int i = 0; i < 2; i++) {
            int n = i ? s->threads : 1;
            cpu_set_threads(n);
            /* the wall's clock for both: bench_peak of one thread would use its own */
            double before = bench_peak_wall(st->dev, n, bf16), t = bench_now();
            if (step(st, 2 * r + i + 2, e)) return -1;
            took[i] = bench_now() - t;
            peak[i] = 0.5 * (before + bench_peak_wall(st->dev, n, bf16));
        }
        ratio[r] = took[0] / took[1], ideal[r] = peak[1] / peak[0], share[r] = ratio[r] / ideal[r];
    }
    struct bench_speed v = {bench_median(ratio, s->rounds), bench_median(ideal, s->rounds),
                            bench_median(share, s->rounds)};
    char name[96];
    snprintf(name, sizeof name, "step.%s.threads", s->scaling);
    bench_figure(stdout, "training step", name, "x", v, "1 thread against all, beside the register peak's gain");
    return 0;
}

static void figures(const struct setup *s, double tok_s, double share, double rss, double first_s)
{
    char name[96], what[128];
    snprintf(name, sizeof name, "step.%s", s->figures);
    snprintf(what, sizeof what, "LoRA r %d on %s, T=%ld, %ld labels, %d threads: tok/s", s->r, s->targets, s->T,
             s->labels, s->threads);
    bench_figure(stdout, "training step", name, "tok/s", (struct bench_speed){tok_s, tok_s / share, share}, what);
    snprintf(name, sizeof name, "step.%s.memory", s->figures);
    bench_figure(stdout, "memory and start", name, "MiB", (struct bench_speed){rss / 1048576, 0, 0},
                 "largest resident size");
    snprintf(name, sizeof name, "step.%s.start", s->figures);
    bench_figure(stdout, "memory and start", name, "s", (struct bench_speed){first_s, 0, 0},
                 "from main to the end of the first step");
}

/* One line for people, one for programs. */
static void report(const struct setup *s, const struct state *st, double seconds, double peak, double share,
                   double first_loss, double first_norm, double rss, double first_s, bool bf16)
{
    const char *prec = s->prec == DT_BF16 ? "bf16" : "f32";
    double tok_s = (double)s->T / seconds, gflops = share * peak;
    printf("%s, %d threads, T=%ld, %s, r %d on %s, %ld labels: %.1f tok/s, %.1f GFLOP/s, %.1f %% of "
           "the "
           "%s register peak (%.0f); loss %.5f, norm %.5f, after %d steps %.5f; %.0f MiB, first step "
           "after %.2f s\n",
           dev_name(st->dev), s->threads, s->T, prec, s->r, s->targets, s->labels, tok_s, gflops, 100 * share,
           bf16 ? "bf16" : "f32", peak, first_loss, first_norm, s->rounds + 1, st->loss, rss / 1048576, first_s);
    if (s->json)
        printf("{\"tok_s\":%.4f,\"gflops\":%.4f,\"share\":%.5f,\"peak_gflops\":%.3f,\"first_loss\":"
               "%.8f,"
               "\"grad_norm\":%.8f,\"last_loss\":%.8f,\"peak_bytes\":%.0f,\"first_step_s\":%.4f,"
               "\"T\":%ld,\"labels\":%ld,\"precision\":\"%s\",\"targets\":\"%s\",\"r\":%d,"
               "\"rounds\":%d,"
               "\"threads\":%d,\"device\":\"%s\",\"bf16_peak\":%s}\n",
               tok_s, gflops, share, peak, first_loss, first_norm, st->loss, rss, first_s, s->T, s->labels, prec,
               s->targets, s->r, s->rounds, s->threads, dev_name(st->dev), bf16 ? "true" : "false");
}

/* Shares are of each round's own peak: a core that was lent away for seconds is in both. */
static int steps(struct state *st, const struct setup *s, bool bf16, double first_s, struct err *e)
{
    double took[BENCH_ROUNDS], peaks[BENCH_ROUNDS], share[BENCH_ROUNDS];
    double loss = st->loss, norm = st->norm, rss = bench_peak_bytes();
    double flops = decoder_flops(st->m, &st->hooks, s->T, s->labels, (double)s->T, true) * 1e-9;
    for (int r = 0; r < s->rounds; r++) {
        double before = bench_peak_wall(st->dev, s->threads, bf16), t = bench_now();
        if (step(st, r + 2, e)) return -1;
        took[r] = bench_now() - t;
        peaks[r] = 0.5 * (before + bench_peak_wall(st->dev, s->threads, bf16));
        share[r] = flops / took[r] / peaks[r];
    }
    if (bench_peak_bytes() > rss) rss = bench_peak_bytes();
    double seconds = bench_median(took, s->rounds), part = bench_median(share, s->rounds);
    if (s->figures)
        figures(s, (double)s->T / seconds, part, rss, first_s);
    else
        report(s, st, seconds, bench_median(peaks, s->rounds), part, loss, norm, rss, first_s, bf16);
    return 0;
}

int main(int argc, char **argv)
{
    double start = bench_now();
    struct setup s = {0};
    struct state st = {0};
    struct err e = {0};
    if (parse(&s, argc, argv)) {
        fprintf(stderr, "usage: step MODEL T f32|bf16 qv|all R LABELS [ROUNDS [THREADS]] "
                        "[--json | --figures NAME | --scaling NAME]\n");
        return 64;
    }
    if (s.threads > 0) cpu_set_threads(s.threads);
    s.threads = cpu_threads();
    if (set_up(&st, &s, &e) || step(&st, 1, &e)) return fail(&e);
    double first_s = bench_now() - start;
    bool bf16 = s.prec == DT_BF16 && dev_bf16(st.dev);
    if (s.scaling ? scaling(&st, &s, bf16, &e) : steps(&st, &s, bf16, first_s, &e)) return fail(&e);
    decoder_fini(&st.d);
    hooks_fini(&st.hooks);
    dev_free(st.dev, st.a->grad);
    adapter_free(st.a);
    model_free(st.m);
    dev_close(st.dev);
    return 0;
}
