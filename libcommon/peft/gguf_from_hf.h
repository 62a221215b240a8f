/* gguf_from_hf: the metadata of a GGUF file for a Hugging Face base: architecture, dimensions, tokenizer, chat
 * template. */
#ifndef PEFT_PEFT_GGUF_FROM_HF_H
#define PEFT_PEFT_GGUF_FROM_HF_H
#include "libcommon/format/gguf_write.h"
#include "libcommon/model/model.h"
/* E_VERSION: something that GGUF's llama architecture or our tokenizer export cannot say. */
int gguf_from_hf(const struct model *m, struct gguf_writer *w, struct err *e);
#endif
