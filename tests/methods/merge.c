/* merge: the three outputs on recorded tiny models: each loads, its weights are W + s B A to rounding, its logits are
 * those of base and adapter; shards; tied heads; what is refused, and that a refused merge leaves nothing. And the
 * strictness of adapter_load. */
#include <dirent.h>
#include <unistd.h>

#include "libcommon/base/out.h"
#include "libcommon/format/gguf_names.h"
#include "libcommon/format/gguf_write.h"
#include "libcommon/format/json.h"
#include "libcommon/format/safetensors_write.h"
#include "libcommon/merge/merge_model.h"
#include "libcommon/merge/merge_verify.h"
#include "tests/methods/fixture.h"

static const char *const cases[] = {"gqa_tied", "mha_untied_all", "odd_llama3", "qwen2", "qwen2_untied"};
enum { CASES = sizeof cases / sizeof *cases };
static char root[64];

/* The path in the test's directory, in one of 64 rotating buffers. */
static char *in(const char *name)
{
    static char buf[64][512];
    static int at;
    char *p = buf[at++ % 64];
    snprintf(p, sizeof buf[0], "%s/%s", root, name);
    return p;
}

static int entries(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *f; d && (f = readdir(d));) n += f->d_name[0] != '.' || strlen(f->d_name) > 2;
    if (d) closedir(d);
    return n;
}

/* The rows of the fixture as rows to verify with. */
static void rows_of(const struct fixture *f, struct merge_verify *v)
{
    const struct packer *p = &f->p;
    *v = (struct merge_verify){.row = mem_alloc((size_t)p->b.B, sizeof *v->row), .n = p->b.B};
    for (int i = 0; i < v->n; i++) {
        v->row[i] = (struct verify_row){.ids = mem_alloc((size_t)p->q_len[i], 4), .n = p->q_len[i], .first = 0};
        memcpy(v->row[i].ids, p->ids + p->q_start[i], (size_t)p->q_len[i] * 4);
    }
}

struct check {
    struct fixture *f;
    double max_abs, limit;
    int made_tensors;
    bool tied;
    struct composed part; /* f's adapter */
    struct composition adapters;
};

static int compare(void *ctx, struct weights *w, struct err *e)
{
    struct check *c = ctx;
    struct merge_verify v;
    struct model *made = model_from(w, c->f->dev, e);
    if (!made) return -e->id;
    c->made_tensors = made->weights->n;
    c->tied = made->cfg.tied;
    rows_of(c->f, &v);
    struct hooks hooks;
    int rc = adapter_bind(c->f->a, &hooks, c->f->m, e);
    if (!rc) rc = merge_verify_run(&v, c->f->m, &hooks, made, e);
    hooks_fini(&hooks);
    c->max_abs = v.max_abs;
    merge_verify_free(&v);
    model_free(made);
    return rc ? rc : c->max_abs <= c->limit ? 0 : err_set(e, E_VERIFY, "differs by %g", c->max_abs);
}

static struct merge job(struct fixture *f, struct check *c, enum dtype dtype, double limit)
{
    static char dir[] = "adapter";
    *c = (struct check){.f = f, .limit = limit, .part = {.dir = dir, .factor = 1, .route = -1, .a = f->a}};
    c->adapters = (struct composition){.part = &c->part, .n = 1};
    return (struct merge){.m = f->m,
                          .adapters = &c->adapters,
                          .factor = 1,
                          .dtype = dtype,
                          .shard_bytes = 5000000000,
                          .check = compare,
                          .check_ctx = c};
}

/* W + s B A, element by element, beside what stands in the directory. */
static void check_weights(const struct fixture *f, const char *name_of_case, const char *dir)
{
    struct err e = {0};
    struct weights *w = weights_open(dir, &e);
    CHECK_MSG(w != NULL, "%s", e.msg);
    char path[256];
    snprintf(path, sizeof path, "tests/parity/model/%s/adapter/adapter_config.json", name_of_case);
    json_t *o = json_load_file(path, 0, NULL);
    const double r = json_number_value(json_object_get(o, "r")),
                 alpha = json_number_value(json_object_get(o, "lora_alpha"));
    const double scale = alpha / (json_is_true(json_object_get(o, "use_rslora")) ? sqrt(r) : r);
    json_decref(o);
    for (int i = 0; w && i < f->a->n_param; i += 2) {
        const struct param *pa = &f->a->param[i], *pb = &f->a->param[i + 1];
        char name[160];
        snprintf(name, sizeof name, "%s", pa->name + strlen("base_model.model."));
        strcpy(strstr(name, ".lora_A"), ".weight");
        const struct tensor *base = weights_find(f->m->weights, name), *made = weights_find(w, name);
        CHECK_MSG(base && made && made->dtype == DT_F32, "%s", name);
        if (!base || !made) continue;
        double worst = 0, moved = 0;
        for (int row = 0; row < pb->rows; row++)
            for (int c = 0; c < pa->cols; c++) {
                float b, m;
                double want = 0;
                memcpy(&b, (const char *)base->data + ((long)row * pa->cols + c) * 4, 4);
                memcpy(&m, (const char *)made->data + ((long)row * pa->cols + c) * 4, 4);
                for (int k = 0; k < pa->rows; k++)
                    want += (double)f->a->data[pb->off + (long)row * pa->rows + k] *
                            f->a->data[pa->off + (long)k * pa->cols + c];
                worst = fmax(worst, fabs(b + scale * want - m));
                moved = fmax(moved, fabs((double)b - m));
            }
        CHECK_MSG(worst < 1e-6 && moved > 1e-5, "%s: off by %g, moved by %g", name, worst, moved);
    }
    weights_close(w);
}

static void test_hf(void)
{
    for (int i = 0; i < CASES; i++) {
        struct fixture f;
        struct err e = {0};
        struct check c;
        char *out = in(cases[i]);
        if (fx_open(&f, cases[i], true, &e)) {
            CHECK_MSG(0, "%s", e.msg);
            continue;
        }
        struct merge g = job(&f, &c, DT_F32, 1e-4);
        CHECK_MSG(merge_hf(&g, out, &e) == 0, "%s: %s", cases[i], e.msg);
        CHECK(g.merged * 2 == f.a->n_param && c.tied == f.m->cfg.tied && c.made_tensors == f.m->weights->n);
        check_weights(&f, cases[i], out);
        /* Again in shards of 2 kB: the index holds, the logits too. */
        char *shards = mem_printf("%s-shards", out), *index = mem_printf("%s/model.safetensors.index.json", shards);
        g = job(&f, &c, DT_F32, 1e-4);
        g.shard_bytes = 2000;
        CHECK_MSG(merge_hf(&g, shards, &e) == 0, "%s: %s", cases[i], e.msg);
        CHECK(file_exists(index) && entries(shards) > 4);
        check_weights(&f, cases[i], shards);
        free(shards);
        free(index);
        fx_close(&f);
    }
}

/* Ranks and scales that differ from site to site. */
static void test_patterns(void)
{
    struct fixture f;
    struct err e = {0};
    struct check c;
    CHECK_MSG(fx_open(&f, "lora_patterns", true, &e) == 0, "%s", e.msg);
    struct merge g = job(&f, &c, DT_F32, 1e-4);
    CHECK_MSG(merge_hf(&g, in("patterns"), &e) == 0, "%s", e.msg);
    CHECK(g.merged == 4 && f.a->n_param == 8);
    fx_close(&f);
}

static void test_pt(void)
{
    for (int i = 0; i < CASES; i++) {
        struct fixture f;
        struct err e = {0};
        struct check c;
        char *out = mem_printf("%s/%s.pt", root, cases[i]);
        CHECK_MSG(fx_open(&f, cases[i], true, &e) == 0, "%s", e.msg);
        struct merge g = job(&f, &c, DT_F32, 1e-4);
        CHECK_MSG(merge_pt(&g, out, &e) == 0, "%s: %s", cases[i], e.msg);
        CHECK(c.made_tensors == f.m->weights->n + f.m->cfg.tied && file_exists(out));
        free(out);
        fx_close(&f);
    }
}

/* Gains go into weights and, where outputs are scaled, into biases: recorded ones, and fresh ones on a model with
 * biases. */
static void test_gains(void)
{
    static const char *const base[] = {"ia3_default", "ia3_all", "qwen2"};
    for (int i = 0; i < 3; i++) {
        struct fixture f;
        struct err e = {0};
        struct check c;
        const bool own = !strncmp(base[i], "ia3", 3);
        CHECK_MSG(fx_open(&f, base[i], own, &e) == 0, "%s", e.msg);
        if (!own) f.a = fx_adapter(&f, peft_method_find("ia3"), "--target-modules all-linear", &e);
        CHECK_MSG(f.a != NULL, "%s", e.msg);
        for (long k = 0; k < f.a->size && !own; k++) f.a->data[k] += 0.3f * sinf((float)k);
        char *out = mem_printf("%s/gains-%s", root, base[i]);
        struct merge g = job(&f, &c, DT_F32, 1e-4);
        CHECK_MSG(merge_hf(&g, out, &e) == 0, "%s: %s", base[i], e.msg);
        /* half the adapter is half of what the gains change */
        const struct param *p = &f.a->param[0];
        float w[2] = {1, 1};
        CHECK(f.a->method->merge(f.a, f.a->data, p->site, false, w, 1, 2, 0.5, &e) == 1);
        CHECK(fabs(w[0] - (0.5 + 0.5 * f.a->data[p->off])) < 1e-6);
        const int biases = own ? 0 : 3 * f.m->cfg.L; /* of q, k and v */
        CHECK_MSG(g.merged == f.a->n_param + biases, "%d tensors merged", g.merged);
        free(out);
        fx_close(&f);
    }
}

static const char *key_of(const struct model *m, const char *name)
{
    static char key[96];
    snprintf(key, sizeof key, "%s.%s", m->arch->gguf_name, name);
    return key;
}

/* The base as a GGUF file, rows of q and k permuted as the converter does for some architectures. */
static void write_gguf_base(const struct model *m, const char *path)
{
    struct err e = {0};
    struct gguf_writer *w = gguf_create(path, true, &e);
    const struct model_config *c = &m->cfg;
    gguf_put_str(w, "general.architecture", STRZ(m->arch->gguf_name));
    gguf_put_str(w, "general.name", STRZ("tiny"));
    gguf_put_u32(w, "general.file_type", 0);
    gguf_put_u32(w, key_of(m, "embedding_length"), (uint32_t)c->C);
    gguf_put_u32(w, key_of(m, "block_count"), (uint32_t)c->L);
    gguf_put_u32(w, key_of(m, "attention.head_count"), (uint32_t)c->H);
    gguf_put_u32(w, key_of(m, "attention.head_count_kv"), (uint32_t)c->K);
    gguf_put_u32(w, key_of(m, "attention.key_length"), (uint32_t)c->D);
    gguf_put_u32(w, key_of(m, "feed_forward_length"), (uint32_t)c->F);
    gguf_put_f32(w, key_of(m, "attention.layer_norm_rms_epsilon"), c->norm_eps);
    gguf_put_f32(w, key_of(m, "rope.freq_base"), (float)c->rope_theta);
    char name[GGUF_NAME_MAX];
    for (int i = 0; i < m->weights->n; i++) {
        const struct tensor *t = &m->weights->t[i];
        CHECK(gguf_name_from_hf(m->arch->names, t->name, name) &&
              gguf_put_tensor(w, name, t->ndim, t->shape, 0, &e) == 0);
    }
    CHECK(gguf_begin(w, &e) == 0);
    for (int i = 0; i < m->weights->n; i++) {
        const struct tensor *t = &m->weights->t[i];
        char *data = mem_alloc(t->bytes, 1);
        memcpy(data, t->data, t->bytes);
        if (m->arch->gguf_rotated_rows && (strstr(t->name, "q_proj") || strstr(t->name, "k_proj")))
            gguf_permute_rows(data, t->data, (size_t)t->shape[1] * 4, (int)t->shape[0] / c->D, c->D);
        CHECK(gguf_data(w, data, t->bytes, &e) == 0);
        free(data);
    }
    CHECK_MSG(gguf_finish(w, &e) == 0, "%s", e.msg);
}

static void gguf_case(const char *name)
{
    struct fixture f;
    struct err e = {0};
    struct check c;
    char *base = mem_printf("%s/%s-base.gguf", root, name), *out = mem_printf("%s/%s-merged.gguf", root, name);
    CHECK_MSG(fx_open(&f, name, true, &e) == 0, "%s", e.msg);
    write_gguf_base(f.m, base);
    struct model *hf = f.m, *gg = model_load(base, f.dev, &e);
    CHECK_MSG(gg != NULL, "%s", e.msg);
    if (!gg) return;
    char dir[128];
    snprintf(dir, sizeof dir, "tests/parity/model/%s/adapter", name);
    struct adapter *on_hf = f.a; /* the adapter's own base is the directory, its tensors fit both */
    f.m = gg;
    f.a = adapter_load(dir, gg, true, &e);
    CHECK_MSG(f.a != NULL, "%s", e.msg);
    struct merge g = job(&f, &c, DT_F32, 1e-4);
    CHECK_MSG(merge_gguf(&g, out, &e) == 0, "%s", e.msg);
    struct model *made = model_load(out, f.dev, &e);
    CHECK_MSG(made && made->weights->gguf->n_kv == gg->weights->gguf->n_kv + 2, "%s", e.msg);
    struct merge_verify v;
    rows_of(&f, &v);
    struct hooks hooks;
    CHECK(adapter_bind(on_hf, &hooks, hf, &e) == 0 && merge_verify_run(&v, hf, &hooks, made, &e) == 0 &&
          v.max_abs < 1e-4);
    hooks_fini(&hooks);
    merge_verify_free(&v);
    model_free(made);
    e = (struct err){0};
    g = job(&f, &c, DT_F32, 1e-9); /* what does not verify leaves nothing */
    g.dtype = DT_BF16;
    CHECK(merge_gguf(&g, in("none.gguf"), &e) == -E_VERIFY && !file_exists(in("none.gguf")));
    adapter_free(f.a);
    f.m = hf;
    f.a = on_hf;
    fx_close(&f);
    model_free(gg);
    free(base);
    free(out);
}

static void test_gguf(void)
{
    gguf_case("gqa_tied");
    gguf_case("qwen2"); /* biases, rows as Hugging Face has them */
}

static void test_refusals(void)
{
    struct fixture f;
    struct err e = {0};
    struct check c;
    CHECK_MSG(fx_open(&f, "gqa_tied", true, &e) == 0, "%s", e.msg);
    int before = entries(root);
    struct merge g = job(&f, &c, DT_BF16, 1e-9);
    CHECK(merge_hf(&g, in("no"), &e) == -E_VERIFY);
    e = (struct err){0};
    g = job(&f, &c, DT_BF16, 1e-9);
    CHECK(merge_pt(&g, in("no.pt"), &e) == -E_VERIFY);
    e = (struct err){0};
    g = job(&f, &c, DT_Q8_0, 1);
    CHECK(merge_hf(&g, in("no"), &e) == -E_USAGE);
    e = (struct err){0};
    g = job(&f, &c, DT_F32, 1);
    g.factor = 0;
    CHECK(merge_hf(&g, in("no"), &e) == -E_ADAPTER_NOOP);
    e = (struct err){0};
    float keep = f.a->data[f.a->param[1].off];
    f.a->data[f.a->param[1].off] = INFINITY;
    g = job(&f, &c, DT_F32, 1);
    CHECK(merge_hf(&g, in("no"), &e) == -E_MODEL);
    e = (struct err){0};
    CHECK(adapter_save(f.a, in("inf"), false, NULL, f.m, NULL, &e) == -E_DIVERGED);
    e = (struct err){0};
    f.a->data[f.a->param[1].off] = keep * 1e8f + 1e8f; /* finite, but not in f16 */
    g = job(&f, &c, DT_F16, 1);
    CHECK(merge_hf(&g, in("no"), &e) == -E_MODEL);
    CHECK_MSG(entries(root) == before, "%d entries, %d before", entries(root), before);
    fx_close(&f);
}

/* ---- adapter directories ------------------------------------------------------------------- */

static int load(struct fixture *f, const char *dir, bool force)
{
    struct err e = {0};
    struct adapter *a = adapter_load(dir, f->m, force, &e);
    adapter_free(a);
    return a ? 0 : e.id;
}

static char *slurp(const char *path)
{
    struct err e = {0};
    size_t n;
    return file_read(path, 1 << 20, &n, &e);
}

static void test_round_trip(void)
{
    struct fixture f;
    struct err e = {0};
    CHECK_MSG(fx_open(&f, "odd_llama3", true, &e) == 0, "%s", e.msg);
    char *dir = in("saved");
    memcpy(f.a->base_digest, f.m->digest, 32);
    f.a->has_base_digest = true;
    CHECK_MSG(adapter_save(f.a, dir, false, NULL, f.m, "[{\"tool\":\"test\"}]", &e) == 0, "%s", e.msg);
    struct adapter *b = adapter_load(dir, f.m, false, &e);
    CHECK_MSG(b && b->size == f.a->size && b->n_param == f.a->n_param && b->has_base_digest, "%s", e.msg);
    CHECK(b && !memcmp(b->data, f.a->data, (size_t)b->size * 4));
    adapter_free(b);
    char *config = slurp(in("saved/adapter_config.json"));
    json_t *j = json_parse(config, strlen(config), "saved", E_ADAPTER, &e);
    CHECK_MSG(json_object_size(j) == 24, "%zu keys; PEFT 0.10 has 24", json_object_size(j));
    json_decref(j);
    free(config);
    struct safetensors *s = safetensors_open(in("saved/adapter_model.safetensors"), &e);
    CHECK(s && safetensors_meta(s, "base_sha256") && strstr(safetensors_meta(s, "provenance"), "test"));
    safetensors_close(s);
    e = (struct err){0};
    CHECK(adapter_save(f.a, dir, false, NULL, f.m, NULL, &e) == -E_EXISTS);
    /* another base of the same shape */
    f.m->digest[0] ^= 1;
    CHECK(load(&f, dir, false) == E_MISMATCH && load(&f, dir, true) == 0);
    f.m->digest[0] ^= 1;
    fx_close(&f);
}

/* Write the adapter's tensors with one fault. */
enum fault { MISSING, EXTRA, SHAPE, RANK, NAN_VALUE, TYPE, FAULTS };
static void damaged(const struct adapter *a, const char *path, enum fault fault)
{
    struct err e = {0};
    struct st_writer *w = st_create(path, true, &e);
    float *zero = mem_alloc(1 << 16, sizeof *zero);
    zero[0] = fault == NAN_VALUE ? NAN : 0;
    int n = 0;
    for (int i = fault == MISSING; i < a->n_param; i++, n++) {
        const struct param *p = &a->param[i];
        bool here = i == 1;
        int64_t shape[2] = {p->rows + (here && fault == SHAPE), p->cols + (here && fault == RANK)};
        CHECK(st_declare(w, p->name, here && fault == TYPE ? "I32" : "F32", 2, shape, &e) == 0);
    }
    if (fault == EXTRA && ++n)
        CHECK(st_declare(w, "base_model.model.lm_head.lora_A.weight", "F32", 2, (int64_t[]){1, 1}, &e) == 0);
    CHECK(st_begin(w, &e) == 0);
    for (int i = 0; i < n; i++) {
        int k = st_order(w, i) + (fault == MISSING);
        const struct param *p = &a->param[k < a->n_param ? k : 0];
        long values = k >= a->n_param
                          ? 1
                          : (long)(p->rows + (k == 1 && fault == SHAPE)) * (p->cols + (k == 1 && fault == RANK));
        CHECK_MSG(st_data(w, zero, (size_t)values * 4, &e) == 0, "%s", e.msg);
    }
    CHECK(st_finish(w, &e) == 0);
    free(zero);
}

static void test_strict_tensors(void)
{
    struct fixture f;
    struct err e = {0};
    CHECK_MSG(fx_open(&f, "gqa_tied", true, &e) == 0, "%s", e.msg);
    char *dir = in("strict"), *path = in("strict/adapter_model.safetensors");
    CHECK_MSG(adapter_save(f.a, dir, false, NULL, f.m, NULL, &e) == 0, "%s", e.msg);
    for (int i = 0; i < FAULTS; i++) {
        damaged(f.a, path, (enum fault)i);
        CHECK_MSG(load(&f, dir, false) == E_ADAPTER, "fault %d: %d", i, load(&f, dir, false));
    }
    unlink(path);
    CHECK(load(&f, dir, false) == E_NOINPUT);
    CHECK(rename(in("strict/README.md"), in("strict/adapter_model.bin")) == 0 && load(&f, dir, false) == E_PT);
    fx_close(&f);
}

static void test_strict_config(void)
{
    static const struct {
        const char *key, *value;
        int want;
    } change[] = {{"peft_type", "\"POLY\"", E_VERSION},
                  {"peft_type", "null", E_ADAPTER},
                  {"use_dora", "true", E_ADAPTER}, /* without its magnitudes */
                  {"modules_to_save", "[\"lm_head\"]", E_VERSION},
                  {"layer_replication", "[[0,1]]", E_VERSION},
                  {"rank_pattern", "{\"q_proj\": 3}", E_ADAPTER}, /* another shape than the file has */
                  {"rank_pattern", "{\"q_proj\": 4, \"up_proj\": 7}", 0},
                  {"rank_pattern", "{\"q_proj\": \"4\"}", E_ADAPTER},
                  {"rank_pattern", "{\"q_proj\": 0}", E_ADAPTER},
                  {"rank_pattern", "{\"(q_proj\": 4}", E_TARGET},
                  {"rank_pattern", "[4]", E_ADAPTER},
                  {"alpha_pattern", "{\"q_proj\": 4}", 0},
                  {"alpha_pattern", "{\"q_proj\": -4}", E_ADAPTER},
                  {"alpha_pattern", "\"q_proj\"", E_ADAPTER},
                  {"layers_to_transform", "[0]", E_ADAPTER}, /* a tensor of another layer is too much */
                  {"layers_to_transform", "[0, 1]", 0},
                  {"layers_to_transform", "[]", 0},
                  {"layers_to_transform", "[\"0\"]", E_ADAPTER},
                  {"layers_to_transform", "-1", E_ADAPTER},
                  {"layers_to_transform", "[0, 2]", E_TARGET}, /* a layer too far */
                  {"layers_pattern", "\"layers\"", E_TARGET},  /* of layers_to_transform, which is not there */
                  {"exclude_modules", "[]", 0},
                  {"exclude_modules", "[\"k_proj\", \"norm\"]", 0},
                  {"exclude_modules", "\"q_proj\"", 0}, /* an expression for the whole path: excludes nothing */
                  {"exclude_modules", "[\"q_proj\"]", E_ADAPTER},
                  {"exclude_modules", "\".*[qkv]_proj\"", E_TARGET},
                  {"exclude_modules", "\"(\"", E_TARGET},
                  {"exclude_modules", "4", E_ADAPTER},
                  {"eva_config", "{\"rho\": 2.0}", 0},
                  {"init_lora_weights", "\"eva\"", 0},
                  {"use_rslora", "\"true\"", E_ADAPTER},
                  {"use_rslora", "1", E_ADAPTER},
                  {"lora_dropout", "1.5", E_ADAPTER},
                  {"lora_dropout", "\"0\"", E_ADAPTER},
                  {"lora_alpha", "\"16\"", E_ADAPTER},
                  {"bias", "\"lora-only\"", E_VERSION},
                  {"bias", "true", E_VERSION},
                  {"r", "0", E_ADAPTER},
                  {"r", "\"8\"", E_ADAPTER},
                  {"r", "1.5", E_ADAPTER},
                  {"r", "3", E_ADAPTER},
                  {"lora_alpha", "-1", E_ADAPTER},
                  {"target_modules", "7", E_ADAPTER},
                  {"target_modules", "[]", E_ADAPTER},
                  {"target_modules", "[\"gate_proj\"]", E_ADAPTER},
                  {"target_modules", "[\"no_proj\"]", E_TARGET},
                  {"some_new_key", "\"odd\"", E_VERSION},
                  {"some_new_key", "null", 0},
                  {"peft_version", "\"0.21\"", 0},
                  {"use_qalora", "false", 0}};
    struct fixture f;
    struct err e = {0};
    CHECK_MSG(fx_open(&f, "gqa_tied", true, &e) == 0, "%s", e.msg);
    char *dir = in("config"), *path = in("config/adapter_config.json");
    CHECK_MSG(adapter_save(f.a, dir, false, NULL, f.m, NULL, &e) == 0, "%s", e.msg);
    char *good = slurp(path);
    for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
        json_t *j = json_parse(good, strlen(good), "good", E_ADAPTER, &e);
        json_object_set_new(j, change[i].key, json_loads(change[i].value, JSON_DECODE_ANY, NULL));
        json_dump_file(j, path, 0);
        json_decref(j);
        CHECK_MSG(load(&f, dir, false) == change[i].want, "%s = %s: %s", change[i].key, change[i].value,
                  err_name(load(&f, dir, false)));
    }
    /* Patterns, in their order, and layers are written as they were read. */
    static const char *const kept[][2] = {{"alpha_pattern", "{\"v_proj\":4,\"q_proj\":16,\".*_proj\":8}"},
                                          {"rank_pattern", "{\"q_proj\":4}"},
                                          {"layers_to_transform", "[1,0]"}};
    json_t *j = json_parse(good, strlen(good), "good", E_ADAPTER, &e);
    for (int i = 0; i < 3; i++) json_object_set_new(j, kept[i][0], json_loads(kept[i][1], 0, NULL));
    json_dump_file(j, path, 0);
    json_decref(j);
    struct adapter *a = adapter_load(dir, f.m, false, &e);
    CHECK_MSG(a && !adapter_save(a, dir, true, NULL, f.m, NULL, &e), "%s", e.msg);
    char *again = slurp(path);
    j = json_parse(again, strlen(again), "again", E_ADAPTER, &e);
    for (int i = 0; i < 3; i++) {
        char *text = json_dumps(json_object_get(j, kept[i][0]), JSON_COMPACT);
        CHECK_STR(text, kept[i][1]);
        free(text);
    }
    const char *key, *before = "";
    json_t *value;
    json_object_foreach(j, key, value)
    {
        CHECK_MSG(strcmp(before, key) < 0, "%s stands before %s", before, key);
        before = key;
    }
    json_decref(j);
    free(again);
    adapter_free(a);
    FILE *w = fopen(path, "w");
    fprintf(w, "\xef\xbb\xbf%s", good);
    fclose(w);
    struct err bom = {0};
    CHECK(!adapter_load(dir, f.m, false, &bom) && bom.id == E_ADAPTER && strstr(bom.msg, "byte order mark"));
    w = fopen(path, "w");
    fputs("{\"peft_type\": \"LORA\",,}", w);
    fclose(w);
    CHECK(load(&f, dir, false) == E_ADAPTER);
    free(good);
    fx_close(&f);
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/peft-merge-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(root)) return 1;
    RUN(test_hf, "merge: Hugging Face directory, one file and shards");
    RUN(test_patterns, "merge: ranks and scales by patterns");
    RUN(test_pt, "merge: torch file");
    RUN(test_gains, "merge: gains, and biases with them");
    RUN(test_gguf, "merge: GGUF from GGUF");
    RUN(test_refusals, "merge: what is refused leaves nothing");
    RUN(test_round_trip, "adapter: saved and loaded");
    RUN(test_strict_tensors, "adapter: tensors too few, too many, wrong");
    RUN(test_strict_config, "adapter: configuration");
    tree_remove(root);
    return test_failed;
}
