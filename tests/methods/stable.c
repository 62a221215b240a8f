/* stable: what is added to the house moves no random bit of what is there: initial values and dropout masks hang on the
 * names of sites and tensors alone, never on a place in a table or an offset in a buffer. And a method of one's own,
 * with options of its own, is declared, parsed, bound and trained beside the others without their knowing. */
#include "libcommon/base/opt_set.h"
#include "libcommon/base/rng.h"
#include "libcommon/model/model_internal.h"
#include "tests/methods/fixture.h"

#define BASE "mha_untied_all"
#define LORA "--lora-r 3 --lora-dropout 0.4 --target-modules "

/* ---- a method that nobody has heard of: a second low-rank path on one projection of each layer, its B zero ---- */

struct extra_opts {
    char padding[4096]; /* larger than any other method's */
    int64_t r;
    struct strlist names;
};
static const struct opt extra_rows[] = {
    OPT(struct extra_opts, r, "extra-r", OPT_INT, "peft.extra", .def = "2", .lo = 1, .hi = 64),
    OPT(struct extra_opts, names, "extra-names", OPT_LIST, "peft.extra"), OPT_END};

static int extra_declare(struct adapter *a, const struct model *m, struct err *e)
{
    (void)e;
    const struct extra_opts *o = a->config;
    for (int i = 0; i < m->n_site; i++) {
        const struct site *s = &m->site[i];
        if (s->kind != SITE_LINEAR || s->lin != LIN_O) continue;
        param_add(a, s, 0, (int)o->r, site_cols(s), INIT_UNIFORM, 0.1, "%s.extra_A", s->path);
        param_add(a, s, 1, site_rows(s), (int)o->r, INIT_ZERO, 0, "%s.extra_B", s->path);
    }
    return 0;
}

static int extra_bind(const struct adapter *a, struct hooks *h, struct err *e)
{
    (void)e;
    const struct extra_opts *o = a->config;
    for (int i = 0; i < a->n_param; i += 2)
        hooks_low(h, a->param[i].site,
                  (struct lowrank){.r = (int)o->r,
                                   .scale = 1,
                                   .drop_p = 0.5f,
                                   .key = ~a->param[i].site->key,
                                   .a = a->data + a->param[i].off,
                                   .b = a->data + a->param[i + 1].off,
                                   .d_a = param_grad(a, &a->param[i]),
                                   .d_b = param_grad(a, &a->param[i + 1]),
                                   .span = -1});
    return 0;
}

static const struct peft_method extra = {.name = "extra",
                                         .peft_type = "EXTRA",
                                         .opts = extra_rows,
                                         .opts_size = sizeof(struct extra_opts),
                                         .declare = extra_declare,
                                         .bind = extra_bind};

static struct adapter *extra_adapter(struct model *m, struct err *e)
{
    static char *argv[] = {"test", "--extra-r", "5", "--extra-names", "a,b"};
    struct opt_common common = {0};
    const struct opt_group groups[] = {
        {opt_common_rows, 0, 0}, {extra_rows, 0, sizeof(struct extra_opts)}, {NULL, 0, 0}};
    struct strlist operands;
    struct opt_set *set = opt_parse("test", groups, &common, 5, argv, &operands, e);
    CHECK_MSG(set, "%s", e->msg);
    const struct adapter_opts none = {0};
    struct adapter *a = adapter_new(&extra, opt_block(set, extra_rows), &none, m, e);
    opt_set_free(set); /* the adapter has strings of its own */
    const struct extra_opts *o = a ? a->config : NULL;
    CHECK(o && o->r == 5 && o->names.n == 2 && !strcmp(o->names.v[1], "b"));
    CHECK(a && !adapter_start(a, m, 7, e));
    return a;
}

/* ---- what must not move ---- */

struct values {
    int n;
    char *name[64];
    float *data[64], *grad[64];
    long size[64];
};

/* A fresh LoRA adapter and its gradient after one pass with dropout; other: a second adapter bound beside it, or NULL.
 */
static struct values run(struct fixture *f, const char *targets, struct adapter *other)
{
    struct err e = {0};
    struct decoder d;
    struct values v = {0};
    char line[160];
    snprintf(line, sizeof line, LORA "%s", targets);
    f->a = fx_adapter(f, peft_method_find("lora"), line, &e);
    CHECK_MSG(f->a && !fx_bind(f, true, &e), "%s", e.msg);
    if (other) {
        other->grad = dev_alloc(f->dev, (size_t)other->size * 4);
        CHECK(!other->method->bind(other, &f->hooks, &e));
    }
    struct decoder_size size = {.T = 64, .n = 64, .B = 4, .chunk = 3};
    CHECK(!decoder_init(&d, f->m, &f->hooks, DECODER_TRAIN, DT_F32, &size, &e) && !decoder_alloc(&d, &e));
    d.seed = 42;
    const struct step_dev step = {.dropout_step = 3};
    CHECK(!decoder_step_begin(&d, &step, &e) && !decoder_loss(&d, f->b, true, &e));
    for (; v.n < f->a->n_param && v.n < 64; v.n++) {
        const struct param *p = &f->a->param[v.n];
        const size_t bytes = (size_t)param_size(p) * 4;
        v.name[v.n] = mem_dupz(p->name);
        v.size[v.n] = param_size(p);
        v.data[v.n] = memcpy(mem_alloc(bytes, 1), f->a->data + p->off, bytes);
        v.grad[v.n] = memcpy(mem_alloc(bytes, 1), f->a->grad + p->off, bytes);
    }
    if (other) {
        double sum = 0;
        for (long i = 0; i < other->size; i++) sum += fabs(other->grad[i]);
        CHECK(sum > 0); /* it is trained */
        dev_free(f->dev, other->grad);
    }
    decoder_fini(&d);
    return v;
}

/* Tensors of a that b has too: the same values, and the same gradients if asked for. */
static void same(const struct values *a, const struct values *b, bool grads, int least)
{
    int n = 0;
    for (int i = 0; i < a->n; i++)
        for (int k = 0; k < b->n; k++) {
            if (strcmp(a->name[i], b->name[k]) != 0) continue;
            n++;
            CHECK_MSG(!memcmp(a->data[i], b->data[k], (size_t)a->size[i] * 4), "%s begins with other values",
                      a->name[i]);
            CHECK_MSG(!grads || !memcmp(a->grad[i], b->grad[k], (size_t)a->size[i] * 4), "%s has another gradient",
                      a->name[i]);
        }
    CHECK_MSG(n >= least, "%d tensors compared", n);
}

static void drop(struct values *v)
{
    for (int i = 0; i < v->n; i++) free(v->name[i]), free(v->data[i]), free(v->grad[i]);
}

static void added(void)
{
    struct err e = {0};
    struct fixture f, g;
    CHECK(!fx_open(&f, BASE, false, &e) && !fx_open(&g, BASE, false, &e));
    struct values before = run(&f, "all-linear", NULL);
    /* a site more, in front of all others; and a method more */
    model_site_add(g.m, "model.layers.0.extra_norm",
                   (struct site){.layer = 0, .kind = SITE_NORM, .weight = g.m->site[0].weight});
    const struct site last = g.m->site[g.m->n_site - 1];
    memmove(g.m->site + 1, g.m->site, (size_t)(g.m->n_site - 1) * sizeof *g.m->site);
    g.m->site[0] = last;
    struct adapter *other = extra_adapter(g.m, &e);
    struct values after = run(&g, "all-linear", other);
    same(&before, &after, true, before.n);
    drop(&before), drop(&after);
    adapter_free(other);
    fx_close(&f), fx_close(&g);
}

/* Fewer targets: those that are left begin with the values that they had. */
static void fewer(void)
{
    struct err e = {0};
    struct fixture f, g;
    CHECK(!fx_open(&f, BASE, false, &e) && !fx_open(&g, BASE, false, &e));
    struct values all = run(&f, "all-linear", NULL), some = run(&g, "v_proj,down_proj", NULL);
    same(&some, &all, false, 4);
    drop(&all), drop(&some);
    fx_close(&f), fx_close(&g);
}

/* No two low-rank paths draw the same mask. */
static void keys(void)
{
    struct err e = {0};
    struct fixture f;
    CHECK(!fx_open(&f, BASE, false, &e));
    for (int i = 0; i < f.m->n_site; i++) {
        CHECK(f.m->site[i].key == rng_hash(0, f.m->site[i].path, strlen(f.m->site[i].path)));
        for (int k = 0; k < i; k++) CHECK(f.m->site[i].key != f.m->site[k].key);
    }
    fx_close(&f);
}

/* Every architecture of archs.def has a recorded case that is computed by parity.c. */
static void recorded(void)
{
    for (int i = 0; archs[i]; i++) {
        char cmd[160];
        snprintf(cmd, sizeof cmd, "grep -lq '\"model_type\": \"%s\"' tests/parity/model/*/base/config.json",
                 archs[i]->name);
        CHECK_MSG(system(cmd) == 0, "no case of tests/parity/model is of architecture %s", archs[i]->name);
    }
}

int main(void)
{
    RUN(added, "stable: a site and a method more");
    RUN(fewer, "stable: fewer targets");
    RUN(keys, "stable: a key for each site");
    RUN(recorded, "stable: a recorded case for each architecture");
    return test_failed;
}
