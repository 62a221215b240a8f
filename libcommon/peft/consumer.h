/* consumer: what programs that serve adapters make of one, by its adapter_config.json: the reasons why one would refuse
 * it, or would take it and compute something else. Sources: peft 0.21; vLLM's lora/peft_helper.py; llama.cpp's
 * convert_lora_to_gguf.py, whose part here is peft-merge's; adapters 1.3; mlx-lm's tuner/utils.py. */
#ifndef PEFT_PEFT_CONSUMER_H
#define PEFT_PEFT_CONSUMER_H
#include <jansson.h>
#include "libcommon/base/err.h"
#include "libcommon/base/mem.h"

#define CONSUMER_CHOICES "none|peft|vllm|llama.cpp|adapterhub|mlx"
enum consumer { /* in that order */
                FOR_NONE,
                FOR_PEFT,
                FOR_VLLM,
                FOR_LLAMA_CPP,
                FOR_ADAPTERHUB,
                FOR_MLX
};
const char *consumer_name(enum consumer c);
/* One line for each reason, appended to why; returns their number. */
int consumer_refuses(enum consumer c, const json_t *config, struct buf *why);

struct adapter;
struct model;
/* An adapter as it would be written. E_NEGATIVE with the first reason, the others as hints; E_CONFIG and others of its
 * configuration. */
int consumer_takes(enum consumer c, const struct adapter *a, const struct model *m, struct err *e);
#endif
