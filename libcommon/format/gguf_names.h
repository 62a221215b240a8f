/* gguf_names: tensor names of GGUF files and of Hugging Face, each into the other ("blk.3.attn_q.weight" is
 * "model.layers.3.self_attn.q_proj.weight"). The pairs are the architecture's; names outside have no counterpart. */
#ifndef PEFT_FORMAT_GGUF_NAMES_H
#define PEFT_FORMAT_GGUF_NAMES_H
#include <stdbool.h>
#define GGUF_NAME_MAX 160

struct gguf_pair {
    const char *gguf, *hf; /* without layer and ".weight" or ".bias": "attn_q", "self_attn.q_proj" */
};
struct gguf_names {
    const char *hf_layers;         /* what Hugging Face puts before a layer's number: "model.layers." */
    const struct gguf_pair *outer; /* ended by {NULL, NULL} */
    const struct gguf_pair *inner; /* of a layer; likewise */
};
bool gguf_name_to_hf(const struct gguf_names *n, const char *gguf, char hf[GGUF_NAME_MAX]);
bool gguf_name_from_hf(const struct gguf_names *n, const char *hf, char gguf[GGUF_NAME_MAX]);
#endif
