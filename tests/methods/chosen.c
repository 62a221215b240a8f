/* chosen: options of a method choose the modules, ranks and scales that the same keys of an adapter_config.json choose.
 */
#include <unistd.h>
#include "tests/methods/fixture.h"

static const struct {
    const char *name, *line;
} cases[] = {{"lora_patterns",
              "--lora-r 3 --lora-alpha 6 --layers-to-transform 1 --target-modules q_proj,v_proj,mlp.up_proj,"
              "model.layers.0.mlp.down_proj --rank-pattern down_proj=1,layers\\.1\\..*q_proj=2,q_proj=5 "
              "--alpha-pattern (down|up)_proj=3,up_proj=20,v_proj=4"},
             {"lora_chosen", "--lora-r 2 --lora-alpha 6 --rslora --target-modules all-linear --layers-to-transform 0,2 "
                             "--layers-pattern blocks,layers --exclude-modules .*\\.2\\..*(k|up)_proj"}};
static char dir[] = "/tmp/peft-chosen-XXXXXX";
static int n_saved;

static json_t *saved(const struct adapter *a, const struct model *m, const char *name)
{
    struct err e = {0};
    char path[64], file[128];
    snprintf(path, sizeof path, "%s/%s-%d", dir, name, ++n_saved);
    CHECK_MSG(!adapter_save(a, path, OUTDIR_KEEP, NULL, m, NULL, &e), "%s", e.msg);
    snprintf(file, sizeof file, "%s/adapter_config.json", path);
    json_t *j = json_load_file(file, 0, NULL);
    json_object_del(j, "base_model_name_or_path");
    json_object_del(j, "target_modules"); /* a set, in any order */
    return j;
}

static void as_in_file(void)
{
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct err e = {0};
        struct fixture f;
        CHECK_MSG(!fx_open(&f, cases[k].name, true, &e), "%s", e.msg);
        struct adapter *a = fx_adapter(&f, peft_method_find("lora"), cases[k].line, &e);
        CHECK_MSG(a && a->n_param == f.a->n_param, "%s: %s", cases[k].name, e.msg);
        for (int i = 0; a && i < a->n_param; i++) {
            CHECK_STR(a->param[i].name, f.a->param[i].name);
            CHECK(a->param[i].rows == f.a->param[i].rows && a->param[i].cols == f.a->param[i].cols);
        }
        json_t *got = saved(a, f.m, "got"), *want = saved(f.a, f.m, "want");
        char *text = json_dumps(got, JSON_COMPACT), *other = json_dumps(want, JSON_COMPACT);
        CHECK_STR(text, other);
        free(text);
        free(other);
        json_decref(got);
        json_decref(want);
        adapter_free(a);
        fx_close(&f);
    }
}

/* PEFT's IA3 knows no layers: what they choose is written as paths, and read again as the same. */
static void as_paths(void)
{
    struct err e = {0};
    struct fixture f;
    char path[64];
    CHECK_MSG(!fx_open(&f, "lora_chosen", false, &e), "%s", e.msg);
    f.a = fx_adapter(&f, peft_method_find("ia3"), "--layers-to-transform 1-2 --exclude-modules v_proj", &e);
    CHECK_MSG(f.a && f.a->n_param == 4, "%s", e.msg);
    snprintf(path, sizeof path, "%s/ia3", dir);
    CHECK_MSG(!adapter_save(f.a, path, OUTDIR_KEEP, NULL, f.m, NULL, &e), "%s", e.msg);
    struct adapter *b = adapter_load(path, f.m, false, &e);
    CHECK_MSG(b && b->n_param == 4 && !b->shared.layers.n && b->shared.target.n == 4, "%s", e.msg);
    CHECK(b && !strcmp(b->shared.target.v[3], "model.layers.2.mlp.down_proj"));
    adapter_free(b);
    fx_close(&f);
}

static void refused(void)
{
    static const char *const line[][2] = {
        {"--layers-to-transform 3", "the model has the layers 0 to 2"},
        {"--layers-to-transform 2-1", "expected numbers of layers, or spans such as 0-2"},
        {"--layers-to-transform -1", "expected numbers of layers"},
        {"--layers-to-transform 1 --target-modules .*q_proj", "not with an expression"},
        {"--layers-to-transform 1 --layers-pattern blocks", "leave nothing of target_modules"},
        {"--layers-to-transform 1 --layers-pattern a|layers", "alternatives are not supported"},
        {"--layers-pattern layers", "that is not given"},
        {"--exclude-modules .*", "leave nothing of target_modules"},
        {"--exclude-modules (", "exclude_modules: '(': character"},
        {"--rank-pattern q_proj=1.5", "rank_pattern: 'q_proj': found 1.5, expected a whole number from 1 to 1024"},
        {"--rank-pattern q_proj=0", "found 0"},
        {"--rank-pattern q_proj=1,q_proj=2", "stands there twice"},
        {"--alpha-pattern q_proj=-1", "alpha_pattern: 'q_proj': found -1"}};
    struct fixture f;
    struct err e = {0};
    CHECK_MSG(!fx_open(&f, "lora_chosen", false, &e), "%s", e.msg);
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
    RUN(as_in_file, "chosen: options and files say the same");
    RUN(as_paths, "chosen: layers as paths");
    RUN(refused, "chosen: what is refused");
    tree_remove(dir);
    return test_failed;
}
