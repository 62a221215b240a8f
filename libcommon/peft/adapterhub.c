/* adapterhub.c: directories of the Python package adapters: adapter_config.json with the bottleneck's configuration
 * under "config", adapter.safetensors, and the same tensors in pytorch_adapter.bin, which that package reads unless
 * told otherwise. A head's files beside them are the base model's own head, and are left alone. Source: adapters 1.3,
 * configuration and loading. */
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/peft/bottleneck.h"

#define F(field) offsetof(struct bottleneck_opts, field)
/* Of "config". Those of layers that have another arithmetic are refused unless they say nothing. */
static const struct json_key keys[] = {
    {"non_linearity", KEY_ENUM, F(act), .choices = BOTTLENECK_ACTS},
    {"dropout", KEY_REAL, F(dropout), .text = "0.0", .lo = 0, .hi = 0.999999},
    {"is_parallel", KEY_BOOL, F(parallel), .text = "false"},
    {"original_ln_before", KEY_BOOL, F(ln_before), .text = "false"},
    {"residual_before_ln", KEY_BOOL, F(residual_before_ln), .text = "true"},
    {.name = "original_ln_after", .kind = KEY_ACCEPT, .text = "true", .choices = ""},
    {.name = "adapter_residual_before_ln",
     .kind = KEY_INFO,
     .text = "false"}, /* without norms it makes no difference */
    {.name = "architecture", .kind = KEY_NEUTRAL, .text = "null"},
    {.name = "cross_adapter", .kind = KEY_NEUTRAL, .text = "false"},
    {.name = "inv_adapter", .kind = KEY_NEUTRAL, .text = "null"},
    {.name = "inv_adapter_reduction_factor", .kind = KEY_INFO, .text = "null"},
    {.name = "ln_after", .kind = KEY_NEUTRAL, .text = "false"},
    {.name = "ln_before", .kind = KEY_NEUTRAL, .text = "false"},
    {.name = "phm_layer", .kind = KEY_NEUTRAL, .text = "false"},
    {.name = "stochastic_depth", .kind = KEY_NEUTRAL, .text = "0.0"},
    {.name = "use_gating", .kind = KEY_NEUTRAL, .text = "false"},
    /* of phm_layer */
    {.name = "factorized_phm_W", .kind = KEY_INFO, .text = "true"},
    {.name = "factorized_phm_rule", .kind = KEY_INFO, .text = "false"},
    {.name = "hypercomplex_nonlinearity", .kind = KEY_INFO, .text = "\"glorot-uniform\""},
    {.name = "learn_phm", .kind = KEY_INFO, .text = "true"},
    {.name = "phm_bias", .kind = KEY_INFO, .text = "true"},
    {.name = "phm_c_init", .kind = KEY_INFO, .text = "\"normal\""},
    {.name = "phm_dim", .kind = KEY_INFO, .text = "4"},
    {.name = "phm_init_range", .kind = KEY_INFO, .text = "0.0001"},
    {.name = "phm_rank", .kind = KEY_INFO, .text = "1"},
    {.name = "shared_W_phm", .kind = KEY_INFO, .text = "false"},
    {.name = "shared_phm_rule", .kind = KEY_INFO, .text = "true"},
    /* how it once began */
    {.name = "init_weights", .kind = KEY_INFO},
    {.name = "init_weights_seed", .kind = KEY_INFO, .text = "null"},
    {.name = NULL}};
/* Read and written below. */
static const char *const by_hand[] = {"mh_adapter", "output_adapter", "reduction_factor", "scaling", "leave_out", NULL};

static bool is_adapterhub(const json_t *config)
{
    return json_is_object(json_object_get(config, "config")) && json_object_get(config, "model_type");
}

static int read_reduction(struct adapter *a, struct bottleneck_opts *o, const json_t *v, struct err *e)
{
    struct buf b = {0};
    const char *key;
    json_t *x;
    bool good = json_is_number(v) || json_object_size(v);
    if (json_is_number(v)) buf_printf(&b, "%.17g", json_number_value(v));
    json_object_foreach((json_t *)v, key, x)
    {
        good = good && json_is_number(x) && !strpbrk(key, "=,");
        buf_printf(&b, "%s%s=%.17g", b.n ? "," : "", key, json_number_value(x));
    }
    o->reduction = adapter_keep(a, buf_str(&b));
    buf_fini(&b);
    return good
               ? 0
               : err_set(e, E_ADAPTER, "adapter_config.json: reduction_factor is neither a number nor a map of layers");
}

static int read_leave_out(struct adapter *a, struct bottleneck_opts *o, const json_t *v, struct err *e)
{
    const size_t n = json_array_size(v);
    if (n > 4096 || (v && !json_is_array(v) && !json_is_null(v)))
        return err_set(e, E_ADAPTER, "adapter_config.json: leave_out is no list of layers");
    o->leave_out = (struct strlist){0, adapter_own(a, mem_alloc(n + 1, sizeof(char *)))};
    for (size_t i = 0; i < n; i++) {
        const json_t *l = json_array_get(v, i);
        if (!json_is_integer(l)) return err_set(e, E_ADAPTER, "adapter_config.json: leave_out[%zu] is no layer", i);
        o->leave_out.v[o->leave_out.n++] = adapter_own(a, mem_printf("%lld", (long long)json_integer_value(l)));
    }
    return 0;
}

static int read_rest(struct adapter *a, struct bottleneck_opts *o, const json_t *c, struct err *e)
{
    const bool mh = json_is_true(json_object_get(c, "mh_adapter")),
               out = json_is_true(json_object_get(c, "output_adapter"));
    if (!mh && !out)
        return err_set(e, E_ADAPTER,
                       "adapter_config.json: neither mh_adapter nor output_adapter is true: there is no adapter");
    o->place = mh && out ? PLACE_BOTH : mh ? PLACE_ATTENTION : PLACE_MLP;
    const json_t *scaling = json_object_get(c, "scaling");
    const char *kind = json_string_value(scaling);
    o->learned = kind && !strcmp(kind, "learned")   ? SCALING_LEARNED
                 : kind && !strcmp(kind, "channel") ? SCALING_CHANNEL
                                                    : SCALING_NUMBER;
    if (scaling && !json_is_number(scaling) && !o->learned)
        return err_set(e, E_VERSION, "adapter_config.json: scaling is neither a number nor learned nor channel");
    o->scaling = scaling && !o->learned ? json_number_value(scaling) : 1;
    int rc = read_reduction(a, o, json_object_get(c, "reduction_factor"), e);
    return rc ? rc : read_leave_out(a, o, json_object_get(c, "leave_out"), e);
}

static int config_read(struct adapter *a, const json_t *config, const struct model *m, struct err *e)
{
    struct bottleneck_opts *o = a->config;
    const json_t *c = json_object_get(config, "config"), *width = json_object_get(config, "hidden_size");
    int rc = adapter_json_read(a, keys, by_hand, m, c, e);
    if (!rc) rc = read_rest(a, o, c, e);
    if (rc) return rc;
    o->resolved = true;
    o->init = BOTTLENECK_INIT_BERT;
    const char *base = json_string_value(json_object_get(config, "model_name"));
    if (base && *base) a->base_name = mem_dupz(base);
    o->name = adapter_keep(a, json_string_value(json_object_get(config, "name")));
    if (!o->name) return err_set(e, E_ADAPTER, "adapter_config.json: name is missing");
    if (json_is_number(width) && json_number_value(width) != m->cfg.C)
        return err_set(e, E_MISMATCH, "adapter_config.json: hidden_size is %g, the model's %d",
                       json_number_value(width), m->cfg.C);
    return 0;
}

/* A whole number as an integer: 16, not 16.0. */
static json_t *short_number(double x)
{
    return x == (double)(json_int_t)x ? json_integer((json_int_t)x) : json_real(x);
}

static json_t *reduction_json(const char *text)
{
    if (!strchr(text, '=')) return short_number(strtod(text, NULL));
    json_t *map = json_object();
    for (const char *p = text; *p;) {
        const size_t n = strcspn(p, ","), k = strcspn(p, "=,");
        char *key = mem_dup(p, k);
        json_object_set_new(map, k < n ? key : "default", short_number(strtod(k < n ? p + k + 1 : p, NULL)));
        free(key);
        p += n + (p[n] == ',');
    }
    return map;
}

static int config_write(const struct adapter *a, const struct model *m, json_t *out, struct err *e)
{
    const struct bottleneck_opts *o = a->config;
    json_t *c = json_object(), *leave_out = json_array();
    int rc = adapter_json_write(a, keys, m, c, e);
    for (int i = 0; i < o->leave_out.n; i++) json_array_append_new(leave_out, json_integer(atoi(o->leave_out.v[i])));
    json_object_set_new(c, "leave_out", leave_out);
    json_object_set_new(c, "mh_adapter", json_boolean(o->place != PLACE_MLP));
    json_object_set_new(c, "output_adapter", json_boolean(o->place != PLACE_ATTENTION));
    json_object_set_new(c, "reduction_factor", reduction_json(o->reduction));
    json_object_set_new(c, "scaling",
                        o->learned == SCALING_LEARNED   ? json_string("learned")
                        : o->learned == SCALING_CHANNEL ? json_string("channel")
                                                        : json_real(o->scaling)); /* adapters refuses an integer */
    json_object_set_new(c, "init_weights", json_string(o->init == BOTTLENECK_INIT_MAM ? "mam_adapter" : "bert"));
    json_object_set_new(out, "config", c);
    json_object_set_new(out, "hidden_size", json_integer(m->cfg.C));
    json_object_set_new(out, "model_class", json_stringn(m->arch->hf_names, strcspn(m->arch->hf_names, " ")));
    json_object_set_new(out, "model_name", json_string(a->base_name ? a->base_name : ""));
    json_object_set_new(out, "model_type", json_string(m->arch->name));
    json_object_set_new(out, "name", json_string(o->name));
    json_object_set_new(out, "version", json_string("adapters.1.3.0")); /* whose layout this is */
    return rc;
}

const struct adapter_format adapterhub_format = {
    .is = is_adapterhub,
    .config_read = config_read,
    .config_write = config_write,
    .tensors = "adapter.safetensors",
    .pickled = "pytorch_adapter.bin",
};
