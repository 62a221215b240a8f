/* full: full fine-tuning, of all weights or of those of some modules, in f32: the yardstick of the others. Tensors have
 * the names of a Hugging Face model's, so that the file is one of weights; there is no such adapter in PEFT. */
#include "libcommon/peft/whole.h"

struct full_opts {
    char none; /* the modules are named by the shared option */
};
static const struct opt rows[] = {OPT_END};
static const struct json_key keys[] = {
    {"target_modules", KEY_LIST, offsetof(struct adapter_opts, target), .shared = true}, {.name = NULL}};

static int declare(struct adapter *a, const struct model *m, struct err *e) { return whole_declare(a, m, "", "", e); }

const struct peft_method peft_full = {
    .name = "full",
    .peft_type = "FULL",
    .opts = rows,
    .opts_size = sizeof(struct full_opts),
    .keys = keys,
    .layout = "a Hugging Face model's weights",
    .targets = "all",
    .promises = PROMISE_IDENTITY,
    .declare = declare,
    .start = whole_start,
    .bind = whole_bind,
    .merge = whole_merge,
};
