/* llama.c: the Llama family: RMSNorm, rotary grouped-query attention, SwiGLU, no or q/k/v biases. Llama-1/2/3, SmolLM,
 * TinyLlama, Mistral (rows up to its sliding window). Source: Touvron et al. 2023; transformers modeling_llama.py
 * for names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/format/gguf.h"
#include "libcommon/model/model_internal.h"

extern const struct arch arch_llama;

static int config(struct model_config *c, const struct weights *w, struct err *e)
{
    return model_config_read(c, &arch_llama, w, e);
}

/* A projection of layer l with its optional bias; q and k rows of a GGUF file are put into Hugging Face's order. */
static int bind_part(struct model *m, int l, enum module mod, struct linear *lin, int rows, int cols, struct err *e)
{
    struct lin_part *p = &lin->part[lin->n++];
    char path[96], name[112];
    module_path(l, mod, path);
    snprintf(name, sizeof name, "%s.weight", path);
    int rc = model_mat(m, &p->w, name, rows, cols, e);
    if (rc) return rc;
    bool reorder = m->weights->rope_interleaved && (mod == MOD_Q || mod == MOD_K);
    if (reorder) {
        size_t row = dtype_row_bytes(p->w.dtype, cols);
        const struct tensor *t = weights_find(m->weights, name);
        void *host = mem_alloc((size_t)rows, row), *dst = model_own(m, (size_t)rows * row, e);
        if (dst) gguf_unpermute_rows(host, t->data, row, rows / m->cfg.D, m->cfg.D);
        int s = dst ? dev_from_host(m->dev, dst, host, (size_t)rows * row) : 0;
        free(host);
        if (!dst || s) return err_set(e, E_DEVICE, "%s: copy of %s failed", dev_name(m->dev), name);
        p->w.data = dst;
    }
    p->module = (uint32_t)(l * MOD_COUNT + (int)mod);
    lin->in = cols;
    lin->out += rows;
    snprintf(name, sizeof name, "%s.bias", path);
    if (!weights_find(m->weights, name)) return 0;
    if (reorder)
        return err_set(e, E_ARCH, "%s: %s: biases of re-ordered rows are not supported", m->weights->path, name);
    p->bias = model_vector(m, name, rows, e);
    return p->bias ? 0 : -e->id;
}

static int bind_layer(struct model *m, int l, struct err *e)
{
    const struct model_config *c = &m->cfg;
    struct layer *w = &m->layer[l];
    char name[96];
    int rc = bind_part(m, l, MOD_Q, &w->qkv, c->H * c->D, c->C, e);
    if (!rc) rc = bind_part(m, l, MOD_K, &w->qkv, c->K * c->D, c->C, e);
    if (!rc) rc = bind_part(m, l, MOD_V, &w->qkv, c->K * c->D, c->C, e);
    if (!rc) rc = bind_part(m, l, MOD_O, &w->o, c->C, c->H * c->D, e);
    if (!rc) rc = bind_part(m, l, MOD_GATE, &w->gate_up, c->F, c->C, e);
    if (!rc) rc = bind_part(m, l, MOD_UP, &w->gate_up, c->F, c->C, e);
    if (!rc) rc = bind_part(m, l, MOD_DOWN, &w->down, c->C, c->F, e);
    if (rc) return rc;
    snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", l);
    w->attn_norm = model_vector(m, name, c->C, e);
    snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight", l);
    w->mlp_norm = w->attn_norm ? model_vector(m, name, c->C, e) : NULL;
    return w->mlp_norm ? 0 : -e->id;
}

/* Llama-3.1 GGUF files carry the frequency scaling as a tensor of divisors. */
static int scale_by_tensor(const struct model *m, float *inv_freq, struct err *e)
{
    if (m->weights->kind != WEIGHTS_GGUF) return 0;
    const struct gguf_tensor *t = gguf_tensor_find(m->weights->gguf, "rope_freqs.weight");
    if (!t) return 0;
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

static int bind(struct model *m, struct err *e)
{
    const struct model_config *c = &m->cfg;
    int rc = model_mat(m, &m->embed, "model.embed_tokens.weight", c->V, c->C, e);
    m->head = m->embed;
    if (!rc && !c->tied) rc = model_mat(m, &m->head, "lm_head.weight", c->V, c->C, e);
    for (int l = 0; l < c->L && !rc; l++) rc = bind_layer(m, l, e);
    if (rc) return rc;
    m->final_norm = model_vector(m, "model.norm.weight", c->C, e);
    m->inv_freq = m->final_norm ? model_own(m, (size_t)c->D / 2 * 4, e) : NULL;
    if (!m->inv_freq) return -e->id;
    float *host = mem_alloc((size_t)c->D / 2, sizeof *host);
    rope_frequencies(c, host);
    rc = scale_by_tensor(m, host, e);
    if (!rc && dev_from_host(m->dev, m->inv_freq, host, (size_t)c->D / 2 * 4))
        rc = err_set(e, E_DEVICE, "%s: copy of the rotary frequencies failed", dev_name(m->dev));
    free(host);
    return rc;
}

const struct arch arch_llama = {
    .name = "llama",
    .hf_names = "LlamaForCausalLM MistralForCausalLM",
    .gguf_name = "llama",
    .config = config,
    .bind = bind,
};
