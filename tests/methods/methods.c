/* methods: walks methods.def; each method must keep what an adapter promises: a fresh one is the identity (where
 * promised), its gradient is the slope of the loss, a saved one loads to the same bytes, and merging equals applying.
 */
#include <unistd.h>
#include "libcommon/peft/lora.h"
#include "tests/methods/fixture.h"

static const struct peft_method *method;
#define BASE "mha_untied_all"

/* Options by which each method is tested; a method without a line here fails. */
static void *config_of(const struct peft_method *m)
{
    static char *all[] = {"all-linear"};
    static struct lora_opts lora = {.r = 4, .alpha = 8, .target = {1, all}};
    return !strcmp(m->name, "lora") ? (void *)&lora : NULL;
}

static struct adapter *fresh(struct fixture *f, bool noise, struct err *e)
{
    struct adapter *a = adapter_new(method, config_of(method), f->m, e);
    if (!a) return NULL;
    method->init(a, 7, a->data);
    for (long i = 0; noise && i < a->size; i++) a->data[i] += 0.05f * sinf((float)i * 1.7f);
    return a;
}

static double loss_of(struct fixture *f, struct decoder *d, bool backward)
{
    struct err e = {0};
    float nll[64];
    CHECK_MSG(!decoder_loss(d, &f->b, backward, 1.0f / (float)f->b.n, nll, NULL, &e), "%s", e.msg);
    double sum = 0;
    for (long i = 0; i < f->b.n; i++) sum += nll[i];
    return sum / (double)f->b.n;
}

static double base_loss(struct fixture *f)
{
    struct err e = {0};
    struct decoder d;
    struct decoder_size size = {.T = 64, .n = 64, .B = 4, .chunk = 8};
    CHECK(!decoder_init(&d, f->m, DECODER_TRAIN, DT_F32, &size, &e) && !decoder_alloc(&d, &e));
    double l = loss_of(f, &d, false);
    decoder_fini(&d);
    return l;
}

static void identity(void)
{
    struct err e = {0};
    struct fixture f;
    struct decoder d;
    CHECK_MSG(!fx_open(&f, BASE, false, &e), "%s", e.msg);
    double before = base_loss(&f);
    f.a = fresh(&f, false, &e);
    CHECK_MSG(f.a && !fx_train(&f, &d, false, DT_F32, &e), "%s", e.msg);
    double after = loss_of(&f, &d, false);
    CHECK_MSG(before == after, "loss %.9g without, %.9g with a fresh adapter", before, after);
    decoder_fini(&d);
    fx_close(&f);
}

/* Central differences along 24 coordinates spread over the parameters, and along one random direction. */
static void slope(void)
{
    struct err e = {0};
    struct fixture f;
    struct decoder d;
    CHECK_MSG(!fx_open(&f, BASE, false, &e), "%s", e.msg);
    f.a = fresh(&f, true, &e);
    CHECK_MSG(f.a && !fx_train(&f, &d, false, DT_F32, &e), "%s", e.msg);
    loss_of(&f, &d, true);
    double h = 2e-3, dir = 0, scale = 0;
    for (long i = 0; i < f.a->size; i++) {
        dir += f.a->grad[i] * sin((double)i);
        if (fabs(f.a->grad[i]) > scale) scale = fabs(f.a->grad[i]);
    }
    for (int k = 0; k < 24; k++) {
        long i = (f.a->size - 1) * k / 23;
        float keep = f.a->data[i];
        f.a->data[i] = keep + (float)h;
        double up = loss_of(&f, &d, false);
        f.a->data[i] = keep - (float)h;
        double down = loss_of(&f, &d, false);
        f.a->data[i] = keep;
        double num = (up - down) / (2 * h);
        CHECK_MSG(fabs(num - f.a->grad[i]) < 5e-3 * scale, "parameter %ld: slope %g, gradient %g", i, num,
                  (double)f.a->grad[i]);
    }
    double loss[2];
    float *kept = mem_alloc((size_t)f.a->size, 4);
    memcpy(kept, f.a->data, (size_t)f.a->size * 4);
    h = 2e-4;
    for (int s = 0; s < 2; s++) {
        for (long i = 0; i < f.a->size; i++) f.a->data[i] = kept[i] + (float)((s ? -h : h) * sin((double)i));
        loss[s] = loss_of(&f, &d, false);
    }
    double num = (loss[0] - loss[1]) / (2 * h);
    CHECK_MSG(fabs(num - dir) < 1e-2 * fabs(dir) + 2e-3, "direction: slope %g, gradient %g", num, dir);
    free(kept);
    decoder_fini(&d);
    fx_close(&f);
}

static void save_load(void)
{
    struct err e = {0};
    struct fixture f;
    char dir[] = "/tmp/peft-method-XXXXXX", out[64], again[64];
    CHECK(mkdtemp(dir));
    snprintf(out, sizeof out, "%s/a", dir);
    snprintf(again, sizeof again, "%s/b", dir);
    CHECK_MSG(!fx_open(&f, BASE, false, &e), "%s", e.msg);
    f.a = fresh(&f, true, &e);
    CHECK_MSG(f.a && !adapter_save(f.a, out, false, NULL, f.m, NULL, &e), "%s", e.msg);
    struct adapter *b = adapter_load(out, f.m, false, &e);
    CHECK_MSG(b && b->size == f.a->size && !memcmp(b->data, f.a->data, (size_t)b->size * 4), "%s", e.msg);
    CHECK_MSG(b && !adapter_save(b, again, false, NULL, f.m, NULL, &e), "%s", e.msg);
    char cmd[200];
    snprintf(cmd, sizeof cmd, "diff -r %s %s >&2", out, again);
    CHECK(system(cmd) == 0);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    CHECK(system(cmd) == 0);
    adapter_free(b);
    fx_close(&f);
}

/* Merge into f32 copies of the weights and compare the loss with that of the applied adapter. */
static void merged(void)
{
    struct err e = {0};
    struct fixture f;
    struct decoder d;
    CHECK_MSG(!fx_open(&f, BASE, false, &e), "%s", e.msg);
    double base = base_loss(&f);
    f.a = fresh(&f, true, &e);
    CHECK_MSG(f.a && !fx_train(&f, &d, false, DT_F32, &e), "%s", e.msg);
    double applied = loss_of(&f, &d, false);
    decoder_fini(&d);
    method->detach(f.a, f.m);
    float *copy[8 * MOD_COUNT];
    int n = 0, changed = 0;
    for (int l = 0; l < f.m->cfg.L; l++)
        for (int i = 0; i < MOD_COUNT; i++) {
            struct mat *w = &model_part(f.m, l, (enum module)i)->w;
            char path[96], name[112];
            snprintf(name, sizeof name, "%s.weight", module_path(l, (enum module)i, path));
            float *c = copy[n++] = mem_alloc((size_t)w->rows * (size_t)w->cols, 4);
            dtype_to_f32(w->dtype, w->data, c, (long)w->rows * w->cols);
            int rc = method->merge(f.a, f.a->data, name, c, w->rows, w->cols, 1, &e);
            CHECK_MSG(rc >= 0, "%s", e.msg);
            changed += rc == 1;
            w->data = c, w->dtype = DT_F32;
        }
    CHECK(changed > 0);
    double after = base_loss(&f);
    CHECK_MSG(fabs(after - applied) < 1e-5 * applied && fabs(base - applied) > 1e-4,
              "base %.7g applied %.7g merged %.7g", base, applied, after);
    for (int i = 0; i < n; i++) free(copy[i]);
    fx_close(&f);
}

int main(void)
{
    for (int i = 0; peft_methods[i]; i++) {
        method = peft_methods[i];
        char name[64];
        if (!config_of(method)) {
            printf("FAIL methods.%s: no test configuration in tests/methods/methods.c\n", method->name);
            test_failed = 1;
            continue;
        }
        snprintf(name, sizeof name, "methods.%s.identity", method->name);
        RUN(identity, name);
        snprintf(name, sizeof name, "methods.%s.slope", method->name);
        RUN(slope, name);
        snprintf(name, sizeof name, "methods.%s.save_load", method->name);
        RUN(save_load, name);
        if (method->merge) {
            snprintf(name, sizeof name, "methods.%s.merged", method->name);
            RUN(merged, name);
        }
    }
    return test_failed;
}
