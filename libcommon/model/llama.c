/* llama.c: the Llama family: RMSNorm, rotary grouped-query attention, SwiGLU, no or q/k/v biases. Llama-1/2/3, SmolLM,
 * TinyLlama, Mistral. Source: Touvron et al. 2023; transformers modeling_llama.py for names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/format/gguf.h"
#include "libcommon/model/model_internal.h"

static const struct gguf_pair outer[] = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}, {NULL, NULL}};
static const struct gguf_pair inner[] = {{"attn_q", "self_attn.q_proj"},
                                         {"attn_k", "self_attn.k_proj"},
                                         {"attn_v", "self_attn.v_proj"},
                                         {"attn_output", "self_attn.o_proj"},
                                         {"ffn_gate", "mlp.gate_proj"},
                                         {"ffn_up", "mlp.up_proj"},
                                         {"ffn_down", "mlp.down_proj"},
                                         {"attn_norm", "input_layernorm"},
                                         {"ffn_norm", "post_attention_layernorm"},
                                         {NULL, NULL}};
const struct gguf_names llama_names = {"model.layers.", outer, inner};

/* A projection of layer l with its optional bias. Rows that a GGUF file holds permuted are put into Hugging Face's
 * order. */
static int bind_part(struct model *m, int l, enum lin_id id, const char *sub, bool rotated, int rows, int cols,
                     struct err *e)
{
    struct linear *lin = &m->layer[l].lin[id];
    struct site site = {.layer = l, .kind = SITE_LINEAR, .lin = id, .part = lin->n, .rotated = rotated};
    struct lin_part *p = &lin->part[lin->n++];
    char path[96], name[112];
    snprintf(path, sizeof path, "model.layers.%d.%s", l, sub);
    snprintf(name, sizeof name, "%s.weight", path);
    site.weight = model_tensor(m, name, rows, cols, e);
    int rc = site.weight ? model_place_matrix(m, &p->w, site.weight, true, rotated, e) : -e->id;
    if (rc) return rc;
    lin->in = cols;
    lin->out += rows;
    snprintf(name, sizeof name, "%s.bias", path);
    site.bias = weights_find(m->weights, name);
    model_site_add(m, path, site);
    const char *why = m->cfg.bias[id].why;
    if (m->cfg.bias[id].rule == BIAS_ALL && !site.bias)
        return err_set(e, E_MODEL, "%s: tensor %s is missing; %s asks for it", m->weights->path, name, why);
    if (m->cfg.bias[id].rule == BIAS_NONE && site.bias)
        return err_set(e, E_ARCH, "%s: tensor %s is there, but by %s there is none", m->weights->path, name, why);
    if (!site.bias) return 0;
    if (rotated && model_rows_permuted(m))
        return err_set(e, E_ARCH, "%s: %s: biases of re-ordered rows are not supported", m->weights->path, name);
    const struct tensor *bias = model_tensor(m, name, rows, 0, e);
    return bias ? model_place_vector(m, &p->bias, bias, e) : -e->id;
}

static int bind_norm(struct model *m, int l, enum norm_id id, const char *path, const float **w, struct err *e)
{
    char name[112];
    snprintf(name, sizeof name, "%s.weight", path);
    const struct tensor *t = model_tensor(m, name, m->cfg.C, 0, e);
    if (!t) return -e->id;
    model_site_add(m, path, (struct site){.layer = l, .kind = SITE_NORM, .norm = id, .weight = t});
    return model_place_vector(m, w, t, e);
}

static int bind_layer(struct model *m, int l, struct err *e)
{
    const struct model_config *c = &m->cfg;
    struct layer *w = &m->layer[l];
    char path[96];
    snprintf(path, sizeof path, "model.layers.%d.input_layernorm", l);
    int rc = bind_norm(m, l, NORM_ATTN, path, &w->attn_norm, e);
    if (!rc) rc = bind_part(m, l, LIN_QKV, "self_attn.q_proj", true, c->H * c->D, c->C, e);
    if (!rc) rc = bind_part(m, l, LIN_QKV, "self_attn.k_proj", true, c->K * c->D, c->C, e);
    if (!rc) rc = bind_part(m, l, LIN_QKV, "self_attn.v_proj", false, c->K * c->D, c->C, e);
    if (!rc) rc = bind_part(m, l, LIN_O, "self_attn.o_proj", false, c->C, c->H * c->D, e);
    snprintf(path, sizeof path, "model.layers.%d.post_attention_layernorm", l);
    if (!rc) rc = bind_norm(m, l, NORM_MLP, path, &w->mlp_norm, e);
    if (!rc) rc = bind_part(m, l, LIN_GATE_UP, "mlp.gate_proj", false, c->F, c->C, e);
    if (!rc) rc = bind_part(m, l, LIN_GATE_UP, "mlp.up_proj", false, c->F, c->C, e);
    if (!rc) rc = bind_part(m, l, LIN_DOWN, "mlp.down_proj", false, c->C, c->F, e);
    return rc;
}

/* Llama-3.1 GGUF files carry the frequency scaling as a tensor of divisors. */
static int scale_by_tensor(const struct model *m, float *inv_freq, struct err *e)
{
    if (m->weights->kind != WEIGHTS_GGUF) return 0;
    const struct gguf_tensor *t = gguf_tensor_find(m->weights->gguf, "rope_freqs.weight");
    if (!t) return 0;
    if (m->cfg.rope_scaling.type == ROPE_YARN || m->cfg.rope_scaling.type == ROPE_LONGROPE)
        return err_set(e, E_ARCH, "%s: rope_freqs.weight beside rotary scaling of its own type is not supported",
                       m->weights->path);
    if (t->type != 0 || t->ne[0] != m->cfg.D / 2)
        return err_set(e, E_GGUF, "%s: rope_freqs.weight is not f32 [%d]", m->weights->path, m->cfg.D / 2);
    for (int j = 0; j < m->cfg.D / 2; j++) {
        float f;
        memcpy(&f, t->data + 4 * j, 4);
        if (!(f > 0)) return err_set(e, E_GGUF, "%s: rope_freqs.weight[%d] is not positive", m->weights->path, j);
        inv_freq[j] /= f;
    }
    return 0;
}

static int bind_matrix(struct model *m, const char *path, enum site_kind kind, struct mat *w, struct err *e)
{
    char name[112];
    snprintf(name, sizeof name, "%s.weight", path);
    const struct tensor *t = model_tensor(m, name, m->cfg.V, m->cfg.C, e);
    if (!t) return -e->id;
    model_site_add(m, path, (struct site){.layer = -1, .kind = kind, .weight = t});
    return model_place_matrix(m, w, t, false, false, e);
}

int llama_bind(struct model *m, struct err *e)
{
    const struct model_config *c = &m->cfg;
    int rc = bind_matrix(m, "model.embed_tokens", SITE_EMBED, &m->embed, e);
    for (int l = 0; l < c->L && !rc; l++) rc = bind_layer(m, l, e);
    if (!rc) rc = bind_norm(m, -1, NORM_FINAL, "model.norm", &m->final_norm, e);
    if (!rc && !c->tied) rc = bind_matrix(m, "lm_head", SITE_HEAD, &m->head, e);
    if (rc) return rc;
    float *freq = mem_alloc((size_t)c->D / 2, sizeof *freq);
    rope_frequencies(c, false, freq);
    rc = scale_by_tensor(m, freq, e);
    if (rc) {
        free(freq);
        return rc;
    }
    rc = model_place_floats(m, &m->inv_freq, freq, c->D / 2, "rotary frequencies", e);
    if (rc || c->rope_scaling.type != ROPE_LONGROPE) return rc;
    freq = mem_alloc((size_t)c->D / 2, sizeof *freq);
    rope_frequencies(c, true, freq);
    return model_place_floats(m, &m->inv_freq_long, freq, c->D / 2, "rotary frequencies of long rows", e);
}

const struct arch arch_llama = {
    .name = "llama",
    .hf_names = "LlamaForCausalLM MistralForCausalLM",
    .gguf_name = "llama",
    .names = &llama_names,
    .head_weight = "lm_head.weight",
    .gguf_rotated_rows = true,
    .bias_keys = true,
    .bind = llama_bind,
};
