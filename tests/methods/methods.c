/* methods: walks methods.def; each method must keep what an adapter promises: a fresh one is the identity (where
 * promised), its gradient is the slope of the loss, a saved one loads to the same bytes, and merging equals applying.
 */
#include <unistd.h>
#include "libcommon/peft/bottleneck.h"
#include "tests/methods/fixture.h"

static const struct peft_method *method;
static const char *options;
#define BASE "mha_untied_all"

/* Every method is tested with its own defaults, on all projections if it asks for some; but these on what they are for,
 * of a model that has it. */
static const struct {
    const char *name, *base;
} particular[] = {{"bitfit", "qwen2"}, {"ln_tuning", BASE}, {"full", BASE}};

static const char *base_of(void)
{
    for (size_t i = 0; i < sizeof particular / sizeof *particular; i++)
        if (!strcmp(method->name, particular[i].name)) return particular[i].base;
    return NULL;
}
static const char *base(void) { return base_of() ? base_of() : BASE; }

/* And as these are. */
static const struct variant {
    const char *name, *method, *options;
    bool constant; /* a part of what is computed is a constant to the gradient, which so is not the slope */
} variants[] = {{"lora-chosen", "lora",
                 "--target-modules all-linear --rslora --rank-pattern q_proj=3,mlp.*=2 --alpha-pattern v_proj=3 "
                 "--exclude-modules k_proj",
                 false},
                {"lora-gaussian", "lora", "--target-modules q_proj,down_proj --init gaussian", false},
                {"lora-orthogonal", "lora", "--target-modules q_proj,down_proj --init orthogonal --lora-r 4", false},
                {"dora", "lora", "--target-modules all-linear --dora --lora-r 4", true},
                {"prefix-projection", "prefix", "--prefix-projection --prefix-hidden 7 --prefix-tokens 5", false},
                {"ptuning-lstm", "ptuning", "--ptuning-encoder LSTM --ptuning-hidden 7 --ptuning-tokens 5", false},
                {"bottleneck-learned", "bottleneck", "--bottleneck-scaling learned", false},
                {"bottleneck-channel", "bottleneck", "--bottleneck-scaling channel", false}};

static struct adapter *with(struct fixture *f, const char *more, bool noise, struct err *e)
{
    char line[400];
    snprintf(line, sizeof line, "%s%s", options, more);
    struct adapter *a = fx_adapter(f, method, line, e);
    for (long i = 0; a && noise && i < a->size; i++) a->data[i] += 0.05f * sinf((float)i * 1.7f);
    return a;
}
static struct adapter *fresh(struct fixture *f, bool noise, struct err *e) { return with(f, "", noise, e); }

/* The option that drops out inputs, or "" if the method has none. */
static const char *dropout(void)
{
    static char option[64];
    char name[32];
    snprintf(name, sizeof name, "%s-dropout", method->name);
    *option = 0;
    for (const struct opt *o = method->opts; o->name; o++)
        if (!strcmp(o->name, name)) snprintf(option, sizeof option, " --%s 0.4", name);
    return option;
}

static double base_loss(struct fixture *f)
{
    struct err e = {0};
    struct decoder d;
    struct decoder_size size = {.T = 64, .n = 64, .B = 4, .chunk = 8};
    fx_rows(f, NULL, false);
    CHECK(!decoder_init(&d, f->m, NULL, DECODER_TRAIN, DT_F32, &size, &e) && !decoder_alloc(&d, &e));
    double l = fx_loss(f, &d, false);
    decoder_fini(&d);
    return l;
}

static void identity(void)
{
    struct err e = {0};
    struct fixture f;
    struct decoder d;
    CHECK_MSG(!fx_open(&f, base(), false, &e), "%s", e.msg);
    double before = base_loss(&f);
    f.a = fresh(&f, false, &e);
    CHECK_MSG(f.a && !fx_train(&f, &d, false, DT_F32, &e), "%s", e.msg);
    double after = fx_loss(&f, &d, false);
    /* some starts are no identity but up to rounding */
    CHECK_MSG(before == after || (strstr(options, "--init") && fabs(before - after) < 1e-7 * before),
              "loss %.9g without, %.9g with a fresh adapter", before, after);
    decoder_fini(&d);
    fx_close(&f);
}

/* Central differences along 24 coordinates spread over the parameters, and along one random direction. All losses are
 * those of passes with backward, where what drops out drops out, always the same. */
static void slope_of(const char *more, void (*change)(struct adapter *))
{
    struct err e = {0};
    struct fixture f;
    struct decoder d;
    CHECK_MSG(!fx_open(&f, base(), false, &e), "%s", e.msg);
    f.a = with(&f, more, true, &e);
    if (f.a && change) change(f.a);
    CHECK_MSG(f.a && !fx_train(&f, &d, false, DT_F32, &e), "%s", e.msg);
    fx_loss(&f, &d, true);
    double h = 2e-3, dir = 0, scale = 0;
    float *grad = mem_alloc((size_t)f.a->n_trained, 4);
    memcpy(grad, f.a->grad, (size_t)f.a->n_trained * 4);
    for (long i = 0; i < f.a->n_trained; i++) {
        dir += grad[i] * sin((double)i);
        if (fabs(grad[i]) > scale) scale = fabs(grad[i]);
    }
    for (int k = 0; k < 24; k++) {
        long i = (f.a->n_trained - 1) * k / 23;
        float keep = f.a->data[i];
        f.a->data[i] = keep + (float)h;
        double up = fx_loss(&f, &d, true);
        f.a->data[i] = keep - (float)h;
        double down = fx_loss(&f, &d, true);
        f.a->data[i] = keep;
        double num = (up - down) / (2 * h);
        CHECK_MSG(fabs(num - grad[i]) < 5e-3 * scale, "parameter %ld: slope %g, gradient %g", i, num, (double)grad[i]);
    }
    double loss[2];
    float *kept = mem_alloc((size_t)f.a->n_trained, 4);
    memcpy(kept, f.a->data, (size_t)f.a->n_trained * 4);
    h = 2e-4;
    for (int s = 0; s < 2; s++) {
        for (long i = 0; i < f.a->n_trained; i++) f.a->data[i] = kept[i] + (float)((s ? -h : h) * sin((double)i));
        loss[s] = fx_loss(&f, &d, true);
    }
    double num = (loss[0] - loss[1]) / (2 * h);
    CHECK_MSG(fabs(num - dir) < 1e-2 * fabs(dir) + 2e-3, "direction: slope %g, gradient %g", num, dir);
    free(kept);
    free(grad);
    decoder_fini(&d);
    fx_close(&f);
}

static void slope(void) { slope_of("", NULL); }
static void slope_dropout(void) { slope_of(dropout(), NULL); }

/* The residual stream counts twice: no option says so, but configurations of AdapterHub do. */
static void residual_twice(struct adapter *a)
{
    struct bottleneck_opts *o = a->config;
    CHECK(o->ln_before);
    o->residual_before_ln = false;
}
static void slope_residual_twice(void) { slope_of("", residual_twice); }

/* A directory for two adapters. */
struct two {
    char dir[32], a[40], b[40];
};
static void two_open(struct two *t)
{
    snprintf(t->dir, sizeof t->dir, "/tmp/peft-method-XXXXXX");
    CHECK(mkdtemp(t->dir));
    snprintf(t->a, sizeof t->a, "%s/a", t->dir);
    snprintf(t->b, sizeof t->b, "%s/b", t->dir);
}
/* They are the same bytes. */
static void two_close(const struct two *t)
{
    char cmd[200];
    snprintf(cmd, sizeof cmd, "diff -r %s %s >&2", t->a, t->b);
    CHECK(system(cmd) == 0);
    snprintf(cmd, sizeof cmd, "rm -rf %s", t->dir);
    CHECK(system(cmd) == 0);
}

/* As checkpoints hold it. */
static void save_load(void)
{
    struct err e = {0};
    struct fixture f;
    struct two t;
    two_open(&t);
    CHECK_MSG(!fx_open(&f, base(), false, &e), "%s", e.msg);
    f.a = fresh(&f, true, &e);
    CHECK_MSG(f.a && !adapter_save_trained(f.a, t.a, OUTDIR_KEEP, f.m, &e), "%s", e.msg);
    struct adapter *b = adapter_load(t.a, f.m, false, &e);
    CHECK_MSG(b && b->size == f.a->size && !memcmp(b->data, f.a->data, (size_t)b->size * 4), "%s", e.msg);
    CHECK_MSG(b && !adapter_save_trained(b, t.b, OUTDIR_KEEP, f.m, &e), "%s", e.msg);
    two_close(&t);
    adapter_free(b);
    fx_close(&f);
}

/* What others read of it gives the same loss, and again the same bytes. */
static void exported(void)
{
    struct err e = {0};
    struct fixture f;
    struct decoder d;
    struct two t;
    two_open(&t);
    CHECK_MSG(!fx_open(&f, base(), false, &e), "%s", e.msg);
    f.a = fresh(&f, true, &e);
    CHECK_MSG(f.a && !fx_train(&f, &d, false, DT_F32, &e), "%s", e.msg);
    const double trained = fx_loss(&f, &d, false);
    decoder_fini(&d);
    CHECK_MSG(!adapter_save(f.a, t.a, OUTDIR_KEEP, NULL, f.m, NULL, &e), "%s", e.msg);
    hooks_fini(&f.hooks);
    dev_free(f.dev, f.a->grad);
    adapter_free(f.a);
    f.a = adapter_load(t.a, f.m, false, &e);
    CHECK_MSG(f.a && !fx_train(&f, &d, false, DT_F32, &e), "%s", e.msg);
    const double loaded = fx_loss(&f, &d, false);
    CHECK_MSG(loaded == trained, "loss %.9g while it is trained, %.9g as others read it", trained, loaded);
    decoder_fini(&d);
    CHECK_MSG(!adapter_save(f.a, t.b, OUTDIR_KEEP, NULL, f.m, NULL, &e), "%s", e.msg);
    two_close(&t);
    fx_close(&f);
}

/* The model computes with these values. */
static void stand(struct model *m, const struct site *s, bool bias, float *v)
{
    if (s->kind == SITE_LINEAR && bias) model_part(m, s)->bias = v;
    if (s->kind == SITE_LINEAR && !bias) model_part(m, s)->w = (struct mat){v, DT_F32, site_rows(s), site_cols(s)};
    if (s->kind == SITE_NORM)
        *(s->norm == NORM_FINAL  ? &m->final_norm
          : s->norm == NORM_ATTN ? &m->layer[s->layer].attn_norm
                                 : &m->layer[s->layer].mlp_norm) = v;
    if (s->kind == SITE_EMBED) m->embed.data = v, m->embed.dtype = DT_F32;
    if (s->kind == SITE_EMBED && m->cfg.tied) m->head = m->embed;
    if (s->kind == SITE_HEAD) m->head.data = v, m->head.dtype = DT_F32;
}

/* Merge into f32 copies of the weights and compare the loss with that of the applied adapter. */
static void merged(void)
{
    struct err e = {0};
    struct fixture f;
    struct decoder d;
    CHECK_MSG(!fx_open(&f, base(), false, &e), "%s", e.msg);
    double base = base_loss(&f);
    f.a = fresh(&f, true, &e);
    CHECK_MSG(f.a && !fx_train(&f, &d, false, DT_F32, &e), "%s", e.msg);
    double applied = fx_loss(&f, &d, false);
    decoder_fini(&d);
    float **copy = mem_alloc((size_t)f.m->n_site * 2, sizeof *copy);
    int changed = 0;
    for (int i = 0; i < f.m->n_site * 2; i++) {
        const struct site *s = &f.m->site[i / 2];
        const bool bias = i % 2;
        if (bias && !s->bias) continue;
        const int cols = bias                   ? 1
                         : s->kind == SITE_NORM ? site_rows(s)
                                                : site_cols(s),
                  nrows = s->kind == SITE_NORM ? 1 : site_rows(s);
        copy[i] = mem_alloc((size_t)nrows * (size_t)cols, 4);
        CHECK_MSG(!model_values(f.m, s, bias, copy[i], &e), "%s", e.msg);
        int rc = method->merge(f.a, f.a->data, s, bias, copy[i], nrows, cols, 1, &e);
        CHECK_MSG(rc >= 0, "%s", e.msg);
        changed += rc == 1;
        stand(f.m, s, bias, copy[i]);
    }
    CHECK(changed > 0);
    double after = base_loss(&f);
    CHECK_MSG(fabs(after - applied) < 1e-5 * applied && fabs(base - applied) > 1e-4,
              "base %.7g applied %.7g merged %.7g", base, applied, after);
    for (int i = 0; i < f.m->n_site * 2; i++) free(copy[i]);
    free(copy);
    fx_close(&f);
}

/* The losses of the last recorded row, in a pass with backward (and so with dropout, if the method has some). */
static long last_row(struct fixture *f, struct decoder *d, float *nll)
{
    struct err e = {0};
    float all[64];
    const struct step_dev step = {.dropout_step = 3};
    CHECK(!decoder_step_begin(d, &step, &e) && !decoder_loss(d, f->b, true, &e) &&
          !decoder_nll(d, f->b->n, all, NULL, &e));
    long n = 0;
    for (long i = 0; i < f->b->n; i++)
        if (f->p.row[i] >= f->p.q_start[f->b->B - 1]) nll[n++] = all[i];
    return n;
}

/* A row's losses are the same bits alone and behind another row, with dropout too: masks are the tokens'. */
static void packed(void)
{
    struct err e = {0};
    struct fixture f;
    struct decoder d;
    CHECK_MSG(!fx_open(&f, base(), false, &e), "%s", e.msg);
    f.a = with(&f, dropout(), true, &e);
    CHECK_MSG(f.a && !fx_train(&f, &d, false, DT_F32, &e), "%s", e.msg);
    float together[64], alone[64];
    const long n = last_row(&f, &d, together);
    fx_drop_first(&f);
    CHECK(n > 0 && last_row(&f, &d, alone) == n && !memcmp(alone, together, (size_t)n * 4));
    decoder_fini(&d);
    fx_close(&f);
}

/* Recomputed layers give the gradient's bits. */
static void recomputed(void)
{
    struct err e = {0};
    struct fixture f;
    struct decoder d;
    CHECK_MSG(!fx_open(&f, base(), false, &e), "%s", e.msg);
    f.a = fresh(&f, true, &e);
    CHECK_MSG(f.a && !fx_train(&f, &d, false, DT_F32, &e), "%s", e.msg);
    fx_loss(&f, &d, true);
    float *kept = mem_alloc((size_t)f.a->size, 4);
    memcpy(kept, f.a->grad, (size_t)f.a->size * 4);
    decoder_fini(&d);
    hooks_fini(&f.hooks);
    memset(f.a->grad, 0, (size_t)f.a->size * 4);
    CHECK_MSG(!fx_train(&f, &d, true, DT_F32, &e), "%s", e.msg);
    fx_loss(&f, &d, true);
    CHECK(!memcmp(kept, f.a->grad, (size_t)f.a->size * 4));
    free(kept);
    decoder_fini(&d);
    fx_close(&f);
}

static void run(const char *shown, bool constant)
{
    const struct {
        const char *name;
        void (*run)(void);
        bool wanted;
    } all[] = {{"identity", identity, method->promises & PROMISE_IDENTITY},
               {"slope", slope, !constant},
               {"slope_dropout", slope_dropout, *dropout() != 0 && !constant},
               {"slope_residual_twice", slope_residual_twice, !strcmp(method->name, "bottleneck")},
               {"save_load", save_load, true},
               {"exported", exported, true},
               {"packed", packed, true},
               {"recomputed", recomputed, true},
               {"merged", merged, method->merge != NULL}};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        char name[64];
        snprintf(name, sizeof name, "methods.%s.%s", shown, all[k].name);
        if (all[k].wanted) RUN(all[k].run, name);
    }
}

int main(void)
{
    for (int i = 0; peft_methods[i]; i++) {
        method = peft_methods[i];
        options = method->targets && !base_of() ? "--target-modules all-linear" : "";
        run(method->name, false);
    }
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        method = peft_method_find(variants[i].method);
        options = variants[i].options;
        run(variants[i].name, variants[i].constant);
    }
    return test_failed;
}
