/* long_smollm2: the default model against what transformers + peft recorded in f32 (tests/parity/record_smollm2.py):
 * logits, gradients, 30 AdamW steps, 50 greedy texts. Needs the model: PEFT_TEST_MODEL, or the cache that
 * scripts/model.sh fills. */
#include "libcommon/eval/generate.h"
#include "libcommon/format/json.h"
#include "tests/methods/fixture.h"

#define DIR "tests/parity/smollm2/"
static const char *path;
static struct fixture f;

static void open_model(void)
{
    struct err e = {0};
    f = (struct fixture){.dev = dev_open(DEVICE_CPU, 0, NULL)};
    f.m = model_load(path, f.dev, &e);
    f.expect = f.m ? safetensors_open(DIR "expect.safetensors", &e) : NULL;
    CHECK_MSG(f.expect, "%s", e.msg);
    if (!f.expect) exit(1);
    fx_rows(&f, NULL, false);
    f.a = fx_adapter(&f, peft_method_find("lora"), "--target-modules q_proj,v_proj", &e);
    CHECK_MSG(f.a, "%s", e.msg);
    for (int t = 0; t < f.a->n_param; t++) {
        const struct param *p = &f.a->param[t];
        double amplitude = strstr(p->name, "lora_B") ? 0.01 : 0.02;
        for (long i = 0; i < (long)p->rows * p->cols; i++)
            f.a->data[p->off + i] = (float)(amplitude * sin(0.37 * (double)i + t));
    }
}

static void logits(void)
{
    struct err e = {0};
    struct decoder d;
    struct decoder_size size = {.T = 128, .n = 8, .B = 8, .logits = 8};
    CHECK(!fx_bind(&f, false, &e));
    CHECK_MSG(!decoder_init(&d, f.m, &f.hooks, DECODER_INFER, DT_F32, &size, &e) && !decoder_alloc(&d, &e), "%s",
              e.msg);
    int32_t last[8];
    struct batch b = *f.b;
    for (int s = 0; s < b.B; s++) last[s] = b.q_start[s] + b.q_len[s] - 1;
    b.row = last, b.n = b.B, b.label = NULL;
    long V = f.m->cfg.V, n = (V + 15) / 16;
    float *out = mem_alloc((size_t)(b.n * V), 4);
    CHECK_MSG(!decoder_logits(&d, &b, out, &e), "%s", e.msg);
    const float *want = fx_f32(&f, "logits", b.n * n);
    double worst = 0;
    for (long r = 0; r < b.n; r++)
        for (long i = 0; i < n; i++) {
            double diff = fabs((double)out[r * V + 16 * i] - want[r * n + i]);
            if (!(diff <= worst)) worst = diff;
        }
    fprintf(stderr, "largest difference of a logit: %.3g\n", worst);
    CHECK_MSG(worst < 1e-3, "logits differ by %g", worst);
    free(out);
    decoder_fini(&d);
    hooks_fini(&f.hooks);
}

static void gradients(void)
{
    const float *samples = fx_f32(&f, "grad_samples", f.a->n_param * 96L),
                *norms = fx_f32(&f, "grad_norms", f.a->n_param);
    double worst = 0;
    for (int t = 0; t < f.a->n_param; t++) {
        const struct param *p = &f.a->param[t];
        long n = (long)p->rows * p->cols;
        double sum = 0, big = 1e-30, diff = 0;
        for (long i = 0; i < n; i++) {
            double g = f.a->grad[p->off + i];
            sum += g * g;
            if (fabs(g) > big) big = fabs(g);
        }
        double r = fabs(sqrt(sum) - norms[t]) / norms[t];
        for (int k = 0; k < 96; k++) {
            long i = (long)(float)((double)(n - 1) * k / 95);
            double x = fabs((double)f.a->grad[p->off + i] - samples[t * 96 + k]);
            if (x > diff) diff = x;
        }
        if (diff / big > r) r = diff / big;
        if (!(r <= worst)) worst = r;
        CHECK_MSG(r < 1e-4, "%s differs by %g", p->name, r);
    }
    fprintf(stderr, "largest relative difference of a gradient: %.3g\n", worst);
}

static void steps(void)
{
    struct err e = {0};
    struct decoder d;
    CHECK_MSG(!fx_train(&f, &d, false, DT_F32, &e), "%s", e.msg);
    long n = f.a->size;
    float *m = mem_alloc((size_t)n, 4), *v = mem_alloc((size_t)n, 4);
    const float *want = fx_f32(&f, "losses", 30);
    double worst = 0;
    for (int s = 0; s < 30; s++) {
        double loss = fx_loss(&f, &d, true);
        if (!s) gradients();
        double r = fabs(loss - want[s]) / want[s];
        if (!(r <= worst)) worst = r;
        CHECK_MSG(r < 1e-4, "step %d: loss %.7f, recorded %.7f", s + 1, loss, want[s]);
        fx_adamw(&f, &d, m, v, 2e-4f, s + 1);
    }
    fprintf(stderr, "largest relative difference of a loss over 30 steps: %.3g\n", worst);
    free(m);
    free(v);
    decoder_fini(&d);
    hooks_fini(&f.hooks);
}

static int compare_text(void *ctx, const uint32_t *ids, size_t n, struct err *e)
{
    (void)e;
    struct u32vec *got = ctx;
    got->n = 0;
    for (size_t i = 0; i < n; i++) u32vec_add(got, ids[i]);
    return 0;
}

static void texts(const char *file, const struct hooks *hooks)
{
    struct err e = {0};
    struct decoder d;
    struct tokenizer *tok = tokenizer_load(path, &e);
    json_t *all = json_load_file(file, 0, NULL);
    struct u32vec ends = {0};
    if (tok) tokenizer_ends(tok, &ends);
    struct gen_opts o = {.max_new = 24, .slots = 1, .top_p = 1, .ends = &ends, .on_token = compare_text};
    struct decoder_size size = gen_size(&o, 64, hooks_virtual(hooks));
    CHECK_MSG(tok && all && !decoder_init(&d, f.m, hooks, DECODER_INFER, DT_F32, &size, &e) && !decoder_alloc(&d, &e),
              "%s", e.msg);
    size_t i, same = 0;
    json_t *c;
    json_array_foreach(all, i, c)
    {
        json_t *ids = json_object_get(c, "ids"), *want = json_object_get(c, "new");
        int32_t in[64];
        struct u32vec got = {0}, enc = {0};
        const char *text = json_string_value(json_object_get(c, "prompt"));
        size_t n = json_array_size(ids), wn = json_array_size(want);
        for (size_t k = 0; k < n; k++) in[k] = (int32_t)json_integer_value(json_array_get(ids, k));
        if (text)
            CHECK(tokenizer_encode(tok, STRZ(text), TOK_SPECIAL, &enc, NULL, &e) >= 0 && enc.n == n &&
                  !memcmp(enc.v, in, n * 4));
        struct gen_prompt p = {in, (uint32_t)n, i, 0};
        CHECK_MSG(!generate(&d, tok, &o, &p, 1, NULL, &got, &e), "%s", e.msg);
        if (wn && json_integer_value(json_array_get(want, wn - 1)) == tokenizer_eos(tok)) wn--;
        bool ok = got.n == wn;
        for (size_t k = 0; k < wn && ok; k++) ok = got.v[k] == (uint32_t)json_integer_value(json_array_get(want, k));
        CHECK_MSG(ok, "prompt %zu: another text", i);
        same += ok;
        free(got.v);
        free(enc.v);
    }
    fprintf(stderr, "greedy texts identical: %zu of %zu\n", same, json_array_size(all));
    json_decref(all);
    free(ends.v);
    tokenizer_free(tok);
    decoder_fini(&d);
}

static void greedy(void) { texts(DIR "greedy.json", NULL); }

/* Behind a prefix. */
static void greedy_prefix(void)
{
    struct err e = {0};
    struct hooks h;
    struct adapter *a = fx_adapter(&f, peft_method_find("prefix"), "--prefix-tokens 8", &e);
    CHECK_MSG(a, "%s", e.msg);
    for (long i = 0; i < a->size; i++) a->data[i] = (float)(0.7 * sin(0.37 * (double)i));
    CHECK_MSG(!adapter_bind(a, &h, f.m, &e), "%s", e.msg);
    texts(DIR "greedy_prefix.json", &h);
    hooks_fini(&h);
    adapter_free(a);
}

int main(void)
{
    path = getenv("PEFT_TEST_MODEL");
    if (!path || !*path) {
        SKIP("smollm2", "PEFT_TEST_MODEL names no model");
        return 0;
    }
    open_model();
    RUN(logits, "smollm2.logits");
    RUN(steps, "smollm2.gradients_and_30_steps");
    RUN(greedy, "smollm2.greedy");
    RUN(greedy_prefix, "smollm2.greedy_prefix");
    fx_close(&f);
    return test_failed;
}
