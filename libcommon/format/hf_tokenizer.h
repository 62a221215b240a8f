/* hf_tokenizer: the tokenizer of a GGUF file written as Hugging Face's files: tokenizer.json, tokenizer_config.json
 * (with the chat template), special_tokens_map.json. Byte-level BPE with the pre-tokenizers of GPT-2, SmolLM, Llama-3
 * and Qwen2, and SentencePiece-style BPE with byte fallback (its merges are rebuilt from the scores). */
#ifndef PEFT_FORMAT_HF_TOKENIZER_H
#define PEFT_FORMAT_HF_TOKENIZER_H
#include "libcommon/base/out.h"
#include "libcommon/format/gguf.h"

/* E_TOKENIZER (vocabulary wrong), E_TOKEN_UNSUPPORTED (a kind that is not written). */
int hf_tokenizer_put(const struct gguf *g, struct outdir *d, struct err *e);
#endif
