/* parity: tiny random models against what transformers + peft recorded: logits, loss, every adapter gradient, 30 AdamW
 * steps. */
#include "tests/methods/fixture.h"

static const char *const cases[] = {"gqa_tied", "mha_untied_all", "odd_llama3"};
static const char *current;
static bool recompute;

static void logits(void)
{
    struct err e = {0};
    struct fixture f;
    struct decoder d = {0};
    CHECK_MSG(!fx_open(&f, current, true, &e), "%s", e.msg);
    if (e.id) return;
    CHECK_MSG(!f.a->method->attach(f.a, f.m, &e), "%s", e.msg);
    long V = f.m->cfg.V, T = f.b.T;
    struct decoder_size size = {.T = 64, .n = 64, .B = 4, .logits = 64};
    CHECK_MSG(!decoder_init(&d, f.m, DECODER_INFER, DT_F32, &size, &e) && !decoder_alloc(&d, &e), "%s", e.msg);
    int32_t all[64];
    for (int i = 0; i < T; i++) all[i] = i;
    struct batch b = f.b;
    b.row = all, b.n = T, b.label = NULL;
    float *out = mem_alloc((size_t)(T * V), 4);
    CHECK_MSG(!decoder_logits(&d, &b, out, &e), "%s", e.msg);
    double r = fx_rel(out, fx_f32(&f, "logits", T * V), T * V);
    CHECK_MSG(r < 1e-5, "logits differ by %g", r);
    free(out);
    decoder_fini(&d);
    fx_close(&f);
}

static void gradients(void)
{
    struct err e = {0};
    struct fixture f;
    struct decoder d;
    float nll[64];
    CHECK_MSG(!fx_open(&f, current, true, &e), "%s", e.msg);
    if (e.id) return;
    CHECK_MSG(!fx_train(&f, &d, recompute, DT_F32, &e), "%s", e.msg);
    CHECK_MSG(!decoder_loss(&d, &f.b, true, 1.0f / (float)f.b.n, nll, NULL, &e), "%s", e.msg);
    double sum = 0;
    for (long i = 0; i < f.b.n; i++) sum += nll[i];
    double want = fx_f32(&f, "loss", 1)[0], loss = sum / (double)f.b.n;
    CHECK_MSG(fabs(loss - want) < 1e-5 * want, "loss %.7f, recorded %.7f", loss, want);
    for (int i = 0; i < f.a->n_param; i++) {
        const struct param *p = &f.a->param[i];
        char key[192];
        snprintf(key, sizeof key, "grad.%s", p->name);
        long n = (long)p->rows * p->cols;
        const float *rec = fx_f32(&f, key, n);
        double r = rec ? fx_rel(f.a->grad + p->off, rec, n) : 1;
        CHECK_MSG(r < 1e-4, "%s differs by %g", p->name, r);
    }
    decoder_fini(&d);
    fx_close(&f);
}

static void steps(void)
{
    struct err e = {0};
    struct fixture f;
    struct decoder d;
    float nll[64];
    CHECK_MSG(!fx_open(&f, current, true, &e), "%s", e.msg);
    if (e.id) return;
    CHECK_MSG(!fx_train(&f, &d, recompute, DT_F32, &e), "%s", e.msg);
    long n = f.a->size;
    float *m = mem_alloc((size_t)n, 4), *v = mem_alloc((size_t)n, 4);
    const float *want = fx_f32(&f, "losses", 30);
    for (int s = 0; s < 30; s++) {
        memset(f.a->grad, 0, (size_t)n * 4);
        CHECK_MSG(!decoder_loss(&d, &f.b, true, 1.0f / (float)f.b.n, nll, NULL, &e), "%s", e.msg);
        double loss = 0, sumsq;
        for (long i = 0; i < f.b.n; i++) loss += nll[i] / (double)f.b.n;
        CHECK_MSG(fabs(loss - want[s]) < 1e-4 * want[s], "step %d: loss %.7f, recorded %.7f", s + 1, loss, want[s]);
        CHECK(!f.m->ops->sumsq(&d.cx, &sumsq, f.a->grad, n));
        double clip = 1.0 / (sqrt(sumsq) + 1e-6);
        struct adamw hp = {.lr = 3e-3f,
                           .beta1 = 0.9f,
                           .beta2 = 0.999f,
                           .eps = 1e-8f,
                           .weight_decay = 0.01f,
                           .grad_scale = clip < 1 ? (float)clip : 1.0f,
                           .step = s + 1};
        CHECK(!f.m->ops->adamw(&d.cx, f.a->data, m, v, f.a->grad, n, &hp));
    }
    free(m);
    free(v);
    decoder_fini(&d);
    fx_close(&f);
}

int main(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[64];
        current = cases[i];
        snprintf(name, sizeof name, "parity.logits.%s", current);
        RUN(logits, name);
        for (int r = 0; r < 2; r++) {
            recompute = r;
            snprintf(name, sizeof name, "parity.gradients.%s%s", current, r ? ".recompute" : "");
            RUN(gradients, name);
            snprintf(name, sizeof name, "parity.steps.%s%s", current, r ? ".recompute" : "");
            RUN(steps, name);
        }
    }
    return test_failed;
}
