/* gguf_names: tensor names of GGUF files and of Hugging Face, each into the other ("blk.3.attn_q.weight" is
 * "model.layers.3.self_attn.q_proj.weight"). Names outside the table have no counterpart. */
#ifndef PEFT_FORMAT_GGUF_NAMES_H
#define PEFT_FORMAT_GGUF_NAMES_H
#include <stdbool.h>
#define GGUF_NAME_MAX 160
bool gguf_name_to_hf(const char *gguf, char hf[GGUF_NAME_MAX]);
bool gguf_name_from_hf(const char *hf, char gguf[GGUF_NAME_MAX]);
#endif
