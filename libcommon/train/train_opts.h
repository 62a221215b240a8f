/* train_opts: the options of training: one table for the command line and config.yaml. */
#ifndef PEFT_TRAIN_TRAIN_OPTS_H
#define PEFT_TRAIN_TRAIN_OPTS_H
#include "libcommon/base/opt.h"
#include "libcommon/model/device_pick.h"
#include "libcommon/model/quantize.h"

struct train_opts {
    char *model, *base_name, *eval, *method, *init_adapter, *adapters, *train_adapter, *optim;
    double lr, loraplus_ratio, epochs, warmup_ratio, max_grad_norm;
    int64_t max_steps, batch_size, eval_batch_size, accumulate, warmup_steps, save_steps, eval_steps, logging_steps,
        keep;
    int64_t patience, micro_tokens, max_skips, eval_max_new;
    int scheduler;   /* index into schedules[] */
    int precision;   /* enum precision */
    int torch_dtype; /* enum torch_dtype */
    int consumer;    /* enum consumer, that shall take the adapter */
    char *device, *device_memory, *metric;
    struct strlist eval_metrics;
    bool shuffle, pack, resume, plan, fp16, bf16, checkpointing, force_base;
    struct quantize_opts quantize; /* its rows are a group of their own */
};
enum torch_dtype { TORCH_AUTO, TORCH_FLOAT32, TORCH_FLOAT16, TORCH_BFLOAT16 };
extern const struct opt train_opt_rows[];
#endif
