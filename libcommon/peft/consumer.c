/* consumer: see consumer.h. */
#include "libcommon/peft/consumer.h"
#include <stdlib.h>
#include <string.h>
#include "libcommon/peft/adapter.h"

enum { VLLM = 1 << FOR_VLLM, LLAMA = 1 << FOR_LLAMA_CPP, MLX = 1 << FOR_MLX };
static const struct {
    unsigned who;
    const char *key, *why;
} rules[] = {
    {VLLM | LLAMA | MLX, "use_dora", "DoRA's magnitudes have no place there"},
    {VLLM | LLAMA | MLX, "modules_to_save", "only pairs of A and B are taken, no whole modules"},
    {VLLM | LLAMA | MLX, "lora_bias", "only pairs of A and B are taken, no biases"},
    {VLLM | LLAMA | MLX, "fan_in_fan_out", "matrices are expected as [out][in]"},
    {VLLM | LLAMA | MLX, "trainable_token_indices", "only pairs of A and B are taken, no rows of the embedding"},
    {VLLM | LLAMA | MLX, "layer_replication", "the base has other layers there"},
    {VLLM, "rank_pattern",
     "one rank is read for all modules: others get a wrong factor; peft-merge --combine cat makes "
     "one rank of them"},
    {VLLM, "alpha_pattern",
     "one alpha is read for all modules: others get a wrong factor; peft-merge --combine cat makes "
     "one factor of them"},
};
enum { VLLM_R_MAX = 512 };

const char *consumer_name(enum consumer c)
{
    static const char *const name[] = {"none", "peft", "vllm", "llama.cpp", "adapterhub", "mlx"};
    return name[c];
}

static bool says_nothing(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) || (json_is_object(v) && !json_object_size(v)) ||
           (json_is_array(v) && !json_array_size(v));
}

/* Of its kind at all? */
static int of_kind(enum consumer c, const json_t *config, struct buf *why)
{
    const char *type = json_string_value(json_object_get(config, "peft_type"));
    const json_t *hub = json_object_get(config, "config");
    if (c == FOR_ADAPTERHUB) {
        if (!type && json_is_object(hub)) return 0;
        buf_printf(why, "a directory of %s: adapters reads its own format\n", type ? "PEFT" : "another kind");
        return 1;
    }
    if (!type) {
        buf_printf(why, "no peft_type: %s\n",
                   json_is_object(hub) ? "a directory of AdapterHub" : "not one of PEFT's methods");
        return 1;
    }
    if (c == FOR_PEFT || !strcmp(type, "LORA")) return 0;
    buf_printf(why, "peft_type: %s, only LORA is taken\n", type);
    return 1;
}

int consumer_refuses(enum consumer c, const json_t *config, struct buf *why)
{
    int n = of_kind(c, config, why);
    if (n || c == FOR_PEFT || c == FOR_ADAPTERHUB) return n;
    const char *bias = json_string_value(json_object_get(config, "bias"));
    const json_t *r = json_object_get(config, "r");
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (!(rules[i].who & 1u << c) || says_nothing(json_object_get(config, rules[i].key))) continue;
        buf_printf(why, "%s: %s\n", rules[i].key, rules[i].why);
        n++;
    }
    if (bias && strcmp(bias, "none") != 0) {
        buf_printf(why, "bias: %s, only pairs of A and B are taken, no biases\n", bias);
        n++;
    }
    if (c == FOR_VLLM && json_integer_value(r) > VLLM_R_MAX) {
        buf_printf(why, "r: %lld, at most %d is served\n", (long long)json_integer_value(r), VLLM_R_MAX);
        n++;
    }
    return n;
}

int consumer_takes(enum consumer c, const struct adapter *a, const struct model *m, struct err *e)
{
    if (c == FOR_NONE) return 0;
    json_t *config = adapter_config_json(a, m, e);
    struct buf why = {0};
    if (config && consumer_refuses(c, config, &why)) {
        char *line = buf_str(&why);
        const size_t first = strcspn(line, "\n");
        err_set(e, E_NEGATIVE, "%s would not take this adapter: %.*s", consumer_name(c), (int)first, line);
        if (line[first + 1]) err_hint(e, "also: %.*s", (int)strcspn(line + first + 1, "\n"), line + first + 1);
    }
    json_decref(config);
    buf_fini(&why);
    return -e->id;
}
