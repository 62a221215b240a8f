/* gguf_meta: the keys of a GGUF file for a model that comes from a Hugging Face directory. */
#ifndef PEFT_MERGE_GGUF_META_H
#define PEFT_MERGE_GGUF_META_H
#include "libcommon/format/gguf_write.h"
#include "libcommon/model/model.h"

/* Everything but the weights: dimensions, rotary embedding, and the tokenizer that lies beside the weights.
 * E_VERSION: it has something that GGUF files of its architecture do not say; E_TOKENIZER and others of the tokenizer.
 */
int gguf_meta_put(const struct model *m, struct gguf_writer *w, struct err *e);
/* Llama-3's scaling of frequencies is a tensor there, ROPE_FREQS [D/2]: divisors. NULL: the model has none. malloc'ed.
 */
#define ROPE_FREQS "rope_freqs.weight"
float *gguf_meta_rope_freqs(const struct model *m);
#endif
