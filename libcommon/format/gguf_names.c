/* gguf_names: see gguf_names.h. Source: the tensor name map of llama.cpp's converter for decoder-only models. */
#include "libcommon/format/gguf_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pair {
    const char *gguf, *hf;
};
static const struct pair outer[] = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};
static const struct pair inner[] = {
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
    {"attn_norm", "input_layernorm"},
    {"ffn_norm", "post_attention_layernorm"},
};

/* The layer number at s (canonical decimal: no sign, no leading zero), and the text after the dot behind it; NULL:
 * none. */
static const char *layer_number(const char *s, unsigned *layer)
{
    char *end;
    if (*s < '0' || *s > '9' || (*s == '0' && s[1] != '.')) return NULL;
    unsigned long n = strtoul(s, &end, 10);
    if (*end != '.' || n > 99999) return NULL;
    *layer = (unsigned)n;
    return end + 1;
}

/* Translate with the side of the pairs chosen by to_hf. The suffix is ".weight" or ".bias". */
static bool translate(const char *from, char *to, bool to_hf)
{
    const char *suffix = strrchr(from, '.');
    if (!suffix || (strcmp(suffix, ".weight") && strcmp(suffix, ".bias"))) return false;
    const char *in_layer = to_hf ? "blk." : "model.layers.", *stem = from;
    const struct pair *table = outer;
    size_t n = sizeof outer / sizeof *outer;
    unsigned layer = 0;
    if (!strncmp(from, in_layer, strlen(in_layer))) {
        stem = layer_number(from + strlen(in_layer), &layer);
        if (!stem || stem >= suffix) return false;
        table = inner;
        n = sizeof inner / sizeof *inner;
    }
    size_t len = (size_t)(suffix - stem);
    for (size_t i = 0; i < n; i++) {
        const char *have = to_hf ? table[i].gguf : table[i].hf, *want = to_hf ? table[i].hf : table[i].gguf;
        if (strlen(have) != len || memcmp(have, stem, len)) continue;
        if (table == inner)
            snprintf(to, GGUF_NAME_MAX, "%s%u.%s%s", to_hf ? "model.layers." : "blk.", layer, want, suffix);
        else
            snprintf(to, GGUF_NAME_MAX, "%s%s", want, suffix);
        return true;
    }
    return false;
}

bool gguf_name_to_hf(const char *gguf, char hf[GGUF_NAME_MAX]) { return translate(gguf, hf, true); }

bool gguf_name_from_hf(const char *hf, char gguf[GGUF_NAME_MAX]) { return translate(hf, gguf, false); }
