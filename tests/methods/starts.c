/* starts: LoRA that begins with values out of the base: trained as Hugging Face PEFT does, which takes them out of its
 * copy of the base, and saved as a normal adapter of twice the rank to the base as it is. */
#include <unistd.h>
#include "tests/methods/fixture.h"

static const struct {
    const char *name, *line;
    int r; /* in the file */
} cases[] = {
    {"pissa", "--lora-r 3 --lora-alpha 6 --rslora --target-modules all-linear --init pissa", 6},
    {"olora", "--lora-r 3 --lora-alpha 6 --target-modules all-linear --rank-pattern q_proj=2 --init olora", 6}};
static size_t at;
static char dir[] = "/tmp/peft-starts-XXXXXX";

static bool same_values(const struct adapter *a, const struct adapter *b)
{
    return a && b && a->size == b->size && !memcmp(a->data, b->data, (size_t)a->size * 4);
}

/* 30 steps as recorded; what is frozen stays. */
static void steps(struct fixture *f, struct decoder *d)
{
    float *m = mem_alloc((size_t)f->a->size, 4), *v = mem_alloc((size_t)f->a->size, 4),
          *begun = mem_alloc((size_t)f->a->size, 4);
    const float *want = fx_f32(f, "losses", 30);
    memcpy(begun, f->a->data, (size_t)f->a->size * 4);
    for (int s = 0; s < 30; s++) {
        double loss = fx_loss(f, d, true);
        CHECK_MSG(fabs(loss - want[s]) < 2e-5 * want[s], "%s: step %d: loss %.7f, recorded %.7f", cases[at].name, s + 1,
                  loss, want[s]);
        fx_adamw(f, d, m, v, 3e-3f, s + 1);
    }
    for (int i = 0; i < f->a->n_param; i++) {
        const struct param *p = &f->a->param[i];
        CHECK(p->frozen == !memcmp(begun + p->off, f->a->data + p->off, (size_t)param_size(p) * 4));
    }
    free(m);
    free(v);
    free(begun);
}

static double loss_of(struct fixture *f, struct adapter *a)
{
    struct err e = {0};
    struct hooks h;
    struct decoder d;
    struct decoder_size size = {.T = 64, .n = 64, .B = 4, .chunk = 8};
    CHECK_MSG(!adapter_bind(a, &h, f->m, &e), "%s", e.msg);
    CHECK(!decoder_init(&d, f->m, &h, DECODER_TRAIN, DT_F32, &size, &e) && !decoder_alloc(&d, &e));
    const double l = fx_loss(f, &d, false);
    decoder_fini(&d);
    hooks_fini(&h);
    return l;
}

static void trained(void)
{
    struct err e = {0};
    struct fixture f;
    struct decoder d;
    char out[64], again[64], cmd[200];
    snprintf(out, sizeof out, "%s/%s", dir, cases[at].name);
    snprintf(again, sizeof again, "%s/%s-2", dir, cases[at].name);
    CHECK_MSG(!fx_open(&f, cases[at].name, false, &e), "%s", e.msg);
    f.a = fx_adapter(&f, peft_method_find("lora"), cases[at].line, &e);
    CHECK_MSG(f.a && !fx_train(&f, &d, false, DT_F32, &e), "%s", e.msg);
    steps(&f, &d);
    CHECK_MSG(!adapter_save(f.a, out, OUTDIR_KEEP, NULL, f.m, NULL, &e), "%s", e.msg);
    CHECK_MSG(!adapter_save_trained(f.a, again, OUTDIR_KEEP, f.m, &e), "%s", e.msg);
    /* Everybody's: one pair of twice the rank. */
    struct adapter *plain = adapter_load(out, f.m, false, &e), *more = adapter_load(again, f.m, false, &e);
    CHECK_MSG(plain && more, "%s", e.msg);
    CHECK(plain->n_param * 2 == f.a->n_param && plain->param[1].cols == (at ? 4 : 6) && !plain->param[0].frozen);
    const double applied = fx_loss(&f, &d, false), loaded = loss_of(&f, plain);
    CHECK_MSG(fabs(loaded - applied) < 1e-6 * applied, "loss %.8f, as one pair %.8f", applied, loaded);
    /* Ours again: the two halves. */
    CHECK(same_values(more, f.a) && more->n_trained == plain->size / 2);
    snprintf(cmd, sizeof cmd, "rm -r %s", out);
    CHECK(system(cmd) == 0 && !adapter_save(more, out, OUTDIR_KEEP, NULL, f.m, NULL, &e));
    struct adapter *same = adapter_load(out, f.m, false, &e);
    CHECK(same_values(same, plain));
    adapter_free(same);
    adapter_free(plain);
    adapter_free(more);
    decoder_fini(&d);
    fx_close(&f);
}

static void refused(void)
{
    static const char *const line[][2] = {{"--init pissa --lora-r 30", "has no more than"},
                                          {"--init olora --lora-r 600", "at most 512"},
                                          {"--init pissa --dora", "DoRA does not go with"},
                                          {"--init orthogonal --lora-r 3", "needs an even rank"}};
    struct fixture f;
    struct err e = {0};
    CHECK_MSG(!fx_open(&f, "pissa", false, &e), "%s", e.msg);
    for (size_t i = 0; i < sizeof line / sizeof *line; i++) {
        struct err why = {0};
        CHECK_MSG(!fx_adapter(&f, peft_method_find("lora"), line[i][0], &why) && strstr(why.msg, line[i][1]), "%s: %s",
                  line[i][0], why.msg);
    }
    fx_close(&f);
}

int main(void)
{
    if (!mkdtemp(dir)) return 1;
    for (at = 0; at < sizeof cases / sizeof *cases; at++) {
        char name[64];
        snprintf(name, sizeof name, "starts: %s", cases[at].name);
        RUN(trained, name);
    }
    RUN(refused, "starts: what is refused");
    tree_remove(dir);
    return test_failed;
}
