/* qwen2.c: Qwen2 and Qwen2.5: Llama's layers with biases on q, k and v; GGUF files keep the rows as Hugging Face has
 * them. Source: transformers modeling_qwen2.py. */
#include "libcommon/model/model_internal.h"

const struct arch arch_qwen2 = {
    .name = "qwen2",
    .hf_names = "Qwen2ForCausalLM",
    .gguf_name = "qwen2",
    .names = &llama_names,
    .usual_targets = "ia3:q_proj,v_proj,down_proj",
    .head_weight = "lm_head.weight",
    .bind = llama_bind,
};
