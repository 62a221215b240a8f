/* parity: tiny random models against what transformers + peft recorded: logits, loss, every adapter gradient, 30 AdamW
 * steps. */
#include "tests/methods/fixture.h"

/* tol: of losses over 30 steps, of gradients, of logits, each relative. Cases recorded in f32 have that much rounding
 * of their own. */
static const struct {
    const char *name;
    double loss, grad, logits;
} cases[] = {{"gqa_tied", 1e-4, 1e-4, 1e-5},
             {"mha_untied_all", 1e-4, 1e-4, 1e-5},
             {"odd_llama3", 1e-4, 1e-4, 1e-5},
             {"ia3_default", 2e-6, 2e-5, 1e-5},
             {"ia3_all", 2e-6, 2e-5, 1e-5},
             {"prompt", 2e-6, 2e-5, 1e-5},
             {"prefix", 2e-6, 2e-5, 1e-5},
             {"prefix_head", 2e-6, 2e-5, 1e-5},
             {"prefix_projection", 2e-6, 2e-5, 1e-5},
             {"p_tuning", 2e-5, 2e-5, 1e-5},
             {"p_tuning_lstm", 2e-6, 2e-5, 1e-5},
             {"bn_seq", 2e-6, 2e-5, 1e-5},
             {"bn_double", 2e-6, 2e-5, 1e-5},
             {"bn_par", 2e-6, 2e-5, 1e-5},
             {"bn_leave", 2e-6, 2e-5, 1e-5},
             {"bn_learned", 2e-6, 2e-5, 1e-5},
             {"qwen2", 2e-6, 2e-5, 1e-5},
             {"qwen2_untied", 2e-6, 2e-5, 1e-5},
             {"lora_patterns", 2e-6, 2e-5, 1e-5},
             {"lora_chosen", 2e-6, 2e-5, 1e-5},
             {"mistral_window", 2e-6, 2e-5, 1e-5},
             {"qwen2_window", 2e-6, 2e-5, 1e-5},
             {"yarn", 2e-6, 2e-5, 1e-5},
             {"yarn_all", 2e-6, 2e-5, 1e-5},
             {"longrope", 2e-6, 2e-5, 1e-5},
             {"ln_tuning", 2e-6, 2e-5, 1e-5},
             {"bitfit", 2e-6, 2e-5, 1e-5},
             {"loha", 5e-6, 2e-5, 1e-5},
             {"lokr", 5e-6, 2e-5, 1e-5},
             {"lokr_both", 2e-6, 2e-5, 1e-5},
             {"lokr_whole", 2e-6, 2e-5, 1e-5},
             {"vera", 2e-6, 2e-5, 1e-5},
             {"dora", 2e-6, 2e-5, 1e-5},
             {"dora_qwen2", 2e-6, 2e-5, 1e-5},
             {"lora_plus", 2e-6, 2e-5, 1e-5},
             /* AdamW divides gradients of unlikely tokens' rows, which are rounding, by their size: f32 of torch is
              * that far off too */
             {"full_tied", 1e-4, 2e-5, 1e-5},
             {"ln_tuning_more", 1e-3, 2e-5, 1e-5}};
static size_t at; /* the case */
static bool recompute;

static void logits(void)
{
    struct err e = {0};
    struct fixture f;
    struct decoder d = {0};
    CHECK_MSG(!fx_open(&f, cases[at].name, true, &e), "%s", e.msg);
    if (e.id) return;
    CHECK_MSG(!fx_bind(&f, false, &e), "%s", e.msg);
    fx_rows(&f, &f.hooks, true);
    long V = f.m->cfg.V, n = f.b->n;
    struct decoder_size size = {.T = 64, .n = 64, .B = 4, .logits = 64};
    CHECK_MSG(!decoder_init(&d, f.m, &f.hooks, DECODER_INFER, DT_F32, &size, &e) && !decoder_alloc(&d, &e), "%s",
              e.msg);
    float *out = mem_alloc((size_t)(n * V), 4);
    CHECK_MSG(!decoder_logits(&d, f.b, out, &e), "%s", e.msg);
    double r = fx_rel(out, fx_f32(&f, "logits", n * V), n * V);
    CHECK_MSG(r < cases[at].logits, "logits differ by %g", r);
    free(out);
    decoder_fini(&d);
    fx_close(&f);
}

static void gradients(void)
{
    struct err e = {0};
    struct fixture f;
    struct decoder d;
    CHECK_MSG(!fx_open(&f, cases[at].name, true, &e), "%s", e.msg);
    if (e.id) return;
    CHECK_MSG(!fx_train(&f, &d, recompute, DT_F32, &e), "%s", e.msg);
    double want = fx_f32(&f, "loss", 1)[0], loss = fx_loss(&f, &d, true);
    CHECK_MSG(fabs(loss - want) < 1e-5 * want, "loss %.7f, recorded %.7f", loss, want);
    for (int i = 0; i < f.a->n_param; i++) {
        const struct param *p = &f.a->param[i];
        if (p->frozen) continue;
        char key[192];
        snprintf(key, sizeof key, "grad.%s", p->name);
        long n = param_size(p);
        const float *rec = fx_f32(&f, key, n);
        double r = rec ? fx_rel(f.a->grad + p->off, rec, n) : 1;
        CHECK_MSG(r < cases[at].grad, "%s differs by %g", p->name, r);
    }
    decoder_fini(&d);
    fx_close(&f);
}

/* What others read of an adapter that is trained in another form: the values that peft would have saved. */
static void exported(void)
{
    struct err e = {0};
    struct fixture f;
    char dir[] = "/tmp/peft-parity-XXXXXX", out[64], cmd[64];
    CHECK(mkdtemp(dir));
    snprintf(out, sizeof out, "%s/a", dir);
    CHECK_MSG(!fx_open(&f, cases[at].name, true, &e), "%s", e.msg);
    CHECK_MSG(f.a && !adapter_save(f.a, out, OUTDIR_KEEP, NULL, f.m, NULL, &e), "%s", e.msg);
    struct adapter *flat = adapter_load(out, f.m, false, &e);
    CHECK_MSG(flat && flat->n_param == 1 && !strcmp(flat->param[0].name, "prompt_embeddings"), "%s", e.msg);
    if (flat) {
        const float *want = fx_f32(&f, "flat", flat->size);
        double r = want ? fx_rel(flat->data, want, flat->size) : 1;
        CHECK_MSG(r < 1e-6, "values differ by %g", r);
    }
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    CHECK(system(cmd) == 0);
    adapter_free(flat);
    fx_close(&f);
}

static void steps(void)
{
    struct err e = {0};
    struct fixture f;
    struct decoder d;
    CHECK_MSG(!fx_open(&f, cases[at].name, true, &e), "%s", e.msg);
    if (e.id) return;
    CHECK_MSG(!fx_train(&f, &d, recompute, DT_F32, &e), "%s", e.msg);
    const float ratio = !strcmp(cases[at].name, "lora_plus") ? 4 : 1;
    long n = f.a->size;
    float *m = mem_alloc((size_t)n, 4), *v = mem_alloc((size_t)n, 4);
    const float *want = fx_f32(&f, "losses", 30);
    for (int s = 0; s < 30; s++) {
        double loss = fx_loss(&f, &d, true);
        CHECK_MSG(fabs(loss - want[s]) < cases[at].loss * want[s], "step %d: loss %.7f, recorded %.7f", s + 1, loss,
                  want[s]);
        fx_loraplus(&f, &d, m, v, 3e-3f, ratio, s + 1);
    }
    free(m);
    free(v);
    decoder_fini(&d);
    fx_close(&f);
}

/* The same adapter as the Python package saves it by default: a file of torch. */
static void from_torch(void)
{
    struct err e = {0};
    struct fixture f;
    CHECK_MSG(!fx_open(&f, "bn_seq", true, &e), "%s", e.msg);
    struct adapter *bin = adapter_load("tests/parity/model/bn_seq/adapter_bin", f.m, false, &e);
    CHECK_MSG(bin && bin->size == f.a->size && !memcmp(bin->data, f.a->data, (size_t)bin->size * 4), "%s", e.msg);
    adapter_free(bin);
    fx_close(&f);
}

int main(void)
{
    RUN(from_torch, "parity.adapterhub.from_torch");
    for (at = 0; at < sizeof cases / sizeof *cases; at++) {
        char name[96];
        snprintf(name, sizeof name, "parity.logits.%s", cases[at].name);
        RUN(logits, name);
        snprintf(name, sizeof name, "tests/parity/model/%s/expect.safetensors", cases[at].name);
        struct err e = {0};
        struct safetensors *expect = safetensors_open(name, &e);
        const bool flat = expect && safetensors_find(expect, "flat");
        if (expect) safetensors_close(expect);
        snprintf(name, sizeof name, "parity.exported.%s", cases[at].name);
        if (flat) RUN(exported, name);
        for (int r = 0; r < 2; r++) {
            recompute = r;
            snprintf(name, sizeof name, "parity.gradients.%s%s", cases[at].name, r ? ".recompute" : "");
            RUN(gradients, name);
            snprintf(name, sizeof name, "parity.steps.%s%s", cases[at].name, r ? ".recompute" : "");
            RUN(steps, name);
        }
    }
    return test_failed;
}
