/* replace: values of an adapter in the place of weights and biases (hooks_replace): the same values give the same bits,
 * gradients are slopes of the loss, nothing below what is trained is computed, and a tied model's two uses of one
 * tensor can be told apart. */
#include "tests/methods/fixture.h"

/* Some of a model's weights as f32 values of the test's. */
struct values {
    struct fixture f;
    struct hooks hooks;
    float *data, *grad;
    long size;
};

static bool trained(const struct site *s, enum hook_weight what, const char *which)
{
    if (!strcmp(which, "all")) return what == HOOK_WEIGHT || (what == HOOK_BIAS && s->bias);
    if (!strcmp(which, "biases")) return what == HOOK_BIAS && s->bias;
    if (!strcmp(which, "norms")) return what == HOOK_WEIGHT && s->kind == SITE_NORM;
    if (!strcmp(which, "mlp norm")) return what == HOOK_WEIGHT && s->kind == SITE_NORM && s->norm == NORM_MLP;
    if (!strcmp(which, "last norm")) return what == HOOK_WEIGHT && s->kind == SITE_NORM && s->norm == NORM_FINAL;
    if (!strcmp(which, "embedding")) return what == HOOK_WEIGHT && s->kind == SITE_EMBED;
    if (!strcmp(which, "head")) return what == HOOK_WEIGHT && s->kind == SITE_HEAD;
    if (!strcmp(which, "lookup alone")) return what == HOOK_EMBED_ALONE && s->kind == SITE_EMBED;
    return !strcmp(which, "head alone") && what == HOOK_HEAD_ALONE && s->kind == SITE_EMBED;
}

static long length(const struct site *s, enum hook_weight what)
{
    return what == HOOK_BIAS ? site_rows(s) : (long)site_rows(s) * (site_cols(s) ? site_cols(s) : 1);
}

/* Replace what `which` says by its own values. Returns how many tensors. */
static int begin(struct values *v, const char *model, const char *which)
{
    struct err e = {0};
    int n = 0;
    *v = (struct values){0};
    CHECK_MSG(!fx_open(&v->f, model, false, &e), "%s", e.msg);
    struct model *m = v->f.m;
    hooks_init(&v->hooks, m);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < m->n_site * HOOK_WEIGHTS; i++) {
            const struct site *s = &m->site[i / HOOK_WEIGHTS];
            const enum hook_weight what = (enum hook_weight)(i % HOOK_WEIGHTS);
            if (!trained(s, what, which)) continue;
            const struct tensor *t = what == HOOK_BIAS ? s->bias : s->weight;
            float *at = pass ? v->data + v->size : NULL;
            if (pass) {
                dtype_to_f32(t->dtype, t->data, at, length(s, what));
                const struct hook_values own = {at, v->grad + v->size};
                CHECK_MSG(!hooks_replace(&v->hooks, s, what, own, &e), "%s", e.msg);
                CHECK(hooks_replace(&v->hooks, s, what, own, &e) == -E_BUG);
                e.id = 0;
                n++;
            }
            v->size += length(s, what);
        }
        if (pass) break;
        v->data = mem_alloc((size_t)v->size, 4);
        v->grad = mem_alloc((size_t)v->size, 4);
        v->size = 0;
    }
    return n;
}

static void end(struct values *v)
{
    hooks_fini(&v->hooks);
    free(v->data);
    free(v->grad);
    fx_close(&v->f);
}

static void decoder_for(struct decoder *d, struct values *v, bool recompute, enum dtype prec)
{
    struct err e = {0};
    struct decoder_size size = {.T = 64, .n = 64, .B = 4, .chunk = 3, .recompute = recompute};
    CHECK_MSG(!decoder_init(d, v->f.m, &v->hooks, DECODER_TRAIN, prec, &size, &e) && !decoder_alloc(d, &e), "%s",
              e.msg);
}

static double base_loss(struct fixture *f)
{
    struct err e = {0};
    struct decoder d;
    struct decoder_size size = {.T = 64, .n = 64, .B = 4, .chunk = 3};
    CHECK(!decoder_init(&d, f->m, NULL, DECODER_TRAIN, DT_F32, &size, &e) && !decoder_alloc(&d, &e));
    const double l = fx_loss(f, &d, false);
    decoder_fini(&d);
    return l;
}

/* Central differences along a direction through all values, and along some of them. */
static void check_slopes(struct values *v, struct decoder *d, const char *what)
{
    float *kept = mem_alloc((size_t)v->size, 4);
    memcpy(kept, v->data, (size_t)v->size * 4);
    for (int k = -1; k < 6; k++) {
        const long only = k < 0 ? -1 : (v->size - 1) * k / 5;
        const double h = k < 0 ? 2e-4 : 4e-3;
        double loss[2], want = 0, scale = 0;
        for (long i = 0; i < v->size; i++) {
            want += v->grad[i] * (k < 0 ? sin((double)i) : i == only);
            scale = fmax(scale, fabs((double)v->grad[i]));
        }
        for (int s = 0; s < 2; s++) {
            for (long i = 0; i < v->size; i++)
                v->data[i] = kept[i] + (float)((s ? -h : h) * (k < 0 ? sin((double)i) : i == only));
            loss[s] = fx_loss(&v->f, d, false);
        }
        memcpy(v->data, kept, (size_t)v->size * 4);
        const double num = (loss[0] - loss[1]) / (2 * h);
        CHECK_MSG(fabs(num - want) < (k < 0 ? 1e-2 * fabs(want) + 2e-3 : 5e-3 * scale + 2e-5),
                  "%s: slope %g, gradient %g along %ld", what, num, want, only);
    }
    free(kept);
}

static void check(const char *model, const char *which)
{
    struct values v;
    struct decoder d, again;
    char what[80];
    snprintf(what, sizeof what, "%s of %s", which, model);
    CHECK_MSG(begin(&v, model, which) > 0, "%s: there is none", what);
    const double base = base_loss(&v.f);
    decoder_for(&d, &v, false, DT_F32);
    const double same = fx_loss(&v.f, &d, true);
    CHECK_MSG(same == base, "%s: loss %.9g of the model, %.9g of its own values", what, base, same);
    double sum = 0;
    for (long i = 0; i < v.size; i++) sum += fabs((double)v.grad[i]);
    CHECK_MSG(sum > 0, "%s: no gradient", what);
    check_slopes(&v, &d, what);
    float *first = mem_alloc((size_t)v.size, 4);
    memcpy(first, v.grad, (size_t)v.size * 4);
    memset(v.grad, 0, (size_t)v.size * 4);
    decoder_for(&again, &v, true, DT_F32);
    fx_loss(&v.f, &again, true);
    CHECK_MSG(!memcmp(first, v.grad, (size_t)v.size * 4), "%s: recomputed layers give another gradient", what);
    CHECK(base_loss(&v.f) == base); /* the model itself is as it was */
    free(first);
    decoder_fini(&d);
    decoder_fini(&again);
    end(&v);
}

static void slopes(void)
{
    static const char *const untied[] = {"all", "norms", "mlp norm", "last norm", "embedding", "head", NULL};
    static const char *const tied[] = {"all", "biases", "embedding", "lookup alone", "head alone", NULL};
    for (int i = 0; untied[i]; i++) check("mha_untied_all", untied[i]);
    for (int i = 0; tied[i]; i++) check("qwen2", tied[i]);
}

/* The gradient of a tied tensor is that of its two uses. */
static void tied(void)
{
    struct values v;
    struct decoder d;
    float *sum = NULL;
    static const char *const which[] = {"embedding", "lookup alone", "head alone"};
    for (int k = 0; k < 3; k++) {
        begin(&v, "gqa_tied", which[k]);
        decoder_for(&d, &v, false, DT_F32);
        fx_loss(&v.f, &d, true);
        if (!sum) sum = mem_alloc((size_t)v.size, 4), memcpy(sum, v.grad, (size_t)v.size * 4);
        for (long i = 0; k && i < v.size; i++) sum[i] -= v.grad[i];
        if (k == 2)
            for (long i = 0; i < v.size; i++) CHECK(fabsf(sum[i]) < 1e-6f);
        decoder_fini(&d);
        end(&v);
    }
    free(sum);
}

/* With bf16 products the gradients stay near. */
static void bf16(void)
{
    struct values v;
    struct decoder d;
    begin(&v, "qwen2", "all");
    decoder_for(&d, &v, false, DT_F32);
    fx_loss(&v.f, &d, true);
    float *exact = mem_alloc((size_t)v.size, 4);
    memcpy(exact, v.grad, (size_t)v.size * 4);
    memset(v.grad, 0, (size_t)v.size * 4);
    decoder_fini(&d);
    decoder_for(&d, &v, false, DT_BF16);
    fx_loss(&v.f, &d, true);
    const double r = fx_rel(v.grad, exact, v.size);
    CHECK_MSG(r > 0 && r < 5e-2, "gradients of bf16 products differ by %g", r);
    free(exact);
    decoder_fini(&d);
    end(&v);
}

/* What has no such weight is refused. */
static void refused(void)
{
    struct err e = {0};
    struct values v;
    begin(&v, "mha_untied_all", "embedding");
    const struct site *embed = model_site_kind(v.f.m, SITE_EMBED), *norm = model_site_kind(v.f.m, SITE_NORM);
    const struct hook_values own = {v.data, NULL};
    CHECK(hooks_replace(&v.hooks, embed, HOOK_EMBED_ALONE, own, &e) == -E_BUG);
    e.id = 0;
    CHECK(hooks_replace(&v.hooks, norm, HOOK_BIAS, own, &e) == -E_BUG);
    end(&v);
    begin(&v, "gqa_tied", "lookup alone");
    e.id = 0;
    CHECK(hooks_replace(&v.hooks, model_site_kind(v.f.m, SITE_EMBED), HOOK_WEIGHT, own, &e) == -E_BUG);
    end(&v);
}

int main(void)
{
    RUN(slopes, "replace.slopes");
    RUN(tied, "replace.tied");
    RUN(bf16, "replace.bf16");
    RUN(refused, "replace.refused");
    return test_failed;
}
