/* eval_opts: the options of peft-eval. */
#ifndef PEFT_EVAL_EVAL_OPTS_H
#define PEFT_EVAL_EVAL_OPTS_H
#include "libcommon/base/opt.h"
#include "libcommon/model/device_pick.h"
#include "libcommon/model/quantize.h"

struct eval_opts {
    char *model, *adapter, *device, *prompt, *logits;
    struct strlist metrics, min, stop, stop_token;
    int64_t max_new, batch_size, top_k, limit, micro_tokens;
    double temperature, top_p;
    int precision; /* enum precision */
    bool force_base;
    struct quantize_opts quantize; /* its rows are a group of their own */
};
extern const struct opt eval_opt_rows[];
#endif
