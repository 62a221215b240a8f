/* ln_tuning: the weights of the norms are trained (Zhao et al. 2023); like PEFT, whose names and configuration keys
 * these are, it takes other modules too. */
#include "libcommon/peft/whole.h"

struct ln_opts {
    char none; /* the modules are named by the shared option */
};
static const struct opt rows[] = {OPT_END};
static const struct json_key keys[] = {
    {"target_modules", KEY_LIST, offsetof(struct adapter_opts, target), .shared = true},
    {"exclude_modules", KEY_NEUTRAL, .text = "null"},
    {"modules_to_save", KEY_NEUTRAL, .text = "null"},
    {"inference_mode", KEY_INFO, .text = "true"},
    ADAPTER_KEYS_INFO,
    {.name = NULL}};

static int declare(struct adapter *a, const struct model *m, struct err *e)
{
    return whole_declare(a, m, "base_model.model.", ".ln_tuning_layers", e);
}

const struct peft_method peft_ln_tuning = {
    .name = "ln_tuning",
    .peft_type = "LN_TUNING",
    .opts = rows,
    .opts_size = sizeof(struct ln_opts),
    .keys = keys,
    .targets = "input_layernorm,post_attention_layernorm,norm",
    .promises = PROMISE_IDENTITY,
    .declare = declare,
    .start = whole_start,
    .bind = whole_bind,
    .merge = whole_merge,
};
