/* llama.c: the Llama family: RMSNorm, rotary grouped-query attention, SwiGLU, no or q/k/v biases. Llama-1/2/3, SmolLM,
 * TinyLlama, Mistral (without sliding window in effect). Source: Touvron et al. 2023; transformers modeling_llama.py
 * for names. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/format/gguf.h"
#include "libcommon/model/model_internal.h"

#define DIM_MAX (1 << 20)

/* Everything is checked here once, so that no later product of dimensions can overflow an int. */
static int check(const struct model_config *c, const char *path, struct err *e)
{
    const struct {
        const char *name;
        int v, max;
    } dim[] = {
        {"hidden_size", c->C, DIM_MAX},      {"num_hidden_layers", c->L, 1024}, {"num_attention_heads", c->H, 4096},
        {"num_key_value_heads", c->K, 4096}, {"head_dim", c->D, 1024},          {"intermediate_size", c->F, DIM_MAX},
        {"vocab_size", c->V, 1 << 22}};
    for (size_t i = 0; i < sizeof dim / sizeof *dim; i++)
        if (dim[i].v < 1 || dim[i].v > dim[i].max)
            return err_set(e, E_MODEL, "%s: %s is %d, expected 1 to %d", path, dim[i].name, dim[i].v, dim[i].max);
    if (c->H % c->K)
        return err_set(e, E_MODEL, "%s: %d attention heads are no multiple of %d key/value heads", path, c->H, c->K);
    if (c->D % 2) return err_set(e, E_MODEL, "%s: head_dim %d is odd", path, c->D);
    if (!(c->norm_eps > 0 && c->norm_eps < 1) || !(c->rope_theta >= 1))
        return err_set(e, E_MODEL, "%s: rms_norm_eps %g or rope_theta %g out of range", path, (double)c->norm_eps,
                       c->rope_theta);
    return 0;
}

static int config_gguf(struct model_config *c, const struct weights *w, struct err *e)
{
    const struct gguf *g = w->gguf;
    int64_t C = 0, L = 0, H = 0, K = 0, D = 0, F = 0, V = 0, max_pos = 2048;
    double eps = 1e-5, theta = 10000, scale = 0;
    int rc = gguf_get_i64(g, "llama.embedding_length", &C, e);
    if (rc >= 0) rc = gguf_get_i64(g, "llama.block_count", &L, e);
    if (rc >= 0) rc = gguf_get_i64(g, "llama.attention.head_count", &H, e);
    K = H;
    if (rc >= 0) rc = gguf_get_i64(g, "llama.attention.head_count_kv", &K, e);
    if (rc >= 0) rc = gguf_get_i64(g, "llama.feed_forward_length", &F, e);
    D = H ? C / H : 0;
    if (rc >= 0) rc = gguf_get_i64(g, "llama.attention.key_length", &D, e);
    if (rc >= 0) rc = gguf_get_i64(g, "llama.context_length", &max_pos, e);
    if (rc >= 0) rc = gguf_get_f64(g, "llama.attention.layer_norm_rms_epsilon", &eps, e);
    if (rc >= 0) rc = gguf_get_f64(g, "llama.rope.freq_base", &theta, e);
    if (rc >= 0) rc = gguf_get_f64(g, "llama.rope.scaling.factor", &scale, e);
    if (rc < 0) return rc;
    const struct tensor *emb = weights_find(w, "model.embed_tokens.weight");
    if (!emb) return err_set(e, E_GGUF, "%s: tensor token_embd.weight is missing", w->path);
    V = emb->shape[0];
    if (C > DIM_MAX || L > 1024 || H > 4096 || K > 4096 || D > 1024 || F > DIM_MAX || V > 1 << 22 || C < 0 || L < 0 ||
        H < 0 || K < 0 || D < 0 || F < 0)
        return err_set(e, E_GGUF, "%s: a llama.* dimension is out of range", w->path);
    *c = (struct model_config){.arch = "llama",
                               .C = (int)C,
                               .L = (int)L,
                               .H = (int)H,
                               .K = (int)K,
                               .D = (int)D,
                               .F = (int)F,
                               .V = (int)V,
                               .max_pos = max_pos > 0 && max_pos < 1 << 28 ? (int)max_pos : 2048,
                               .norm_eps = (float)eps,
                               .rope_theta = theta};
    if (scale > 0 && scale != 1) c->rope_scaling.factor = scale;
    return check(c, w->path, e);
}

/* An integer key of config.json; absent: the default. */
static int want_int(const json_t *o, const char *key, int def)
{
    json_t *v = json_object_get(o, key);
    double x = json_is_number(v) ? json_number_value(v) : def;
    return x >= INT32_MIN && x <= INT32_MAX && x == floor(x) ? (int)x : -1;
}
static double want_num(const json_t *o, const char *key, double def)
{
    json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : def;
}

static int rope_json(struct model_config *c, const json_t *o, const char *path, struct err *e)
{
    const json_t *r = json_object_get(o, "rope_parameters"); /* transformers 5 */
    if (!json_is_object(r)) r = json_object_get(o, "rope_scaling");
    c->rope_theta = want_num(r, "rope_theta", want_num(o, "rope_theta", 10000));
    const char *type = json_string_value(json_object_get(r, "rope_type"));
    if (!type) type = json_string_value(json_object_get(r, "type"));
    if (!type || !strcmp(type, "default")) return 0;
    c->rope_scaling.factor = want_num(r, "factor", 1);
    if (!strcmp(type, "linear")) return 0;
    if (strcmp(type, "llama3"))
        return err_set(e, E_ARCH, "%s: rope_type %s is not supported (default, linear, llama3)", path,
                       err_quotez(type));
    c->rope_scaling.low_freq_factor = want_num(r, "low_freq_factor", 1);
    c->rope_scaling.high_freq_factor = want_num(r, "high_freq_factor", 4);
    c->rope_scaling.original_max_pos = want_int(r, "original_max_position_embeddings", 8192);
    return 0;
}

static int config_json(struct model_config *c, const struct weights *w, struct err *e)
{
    json_error_t je;
    json_t *o = json_loads(w->config_json, JSON_DECODE_INT_AS_REAL | JSON_REJECT_DUPLICATES, &je);
    if (!json_is_object(o)) {
        json_decref(o);
        return err_set(e, E_MODEL, "%s: config.json:%d:%d: %s", w->path, je.line, je.column, je.text);
    }
    *c = (struct model_config){.arch = "llama",
                               .C = want_int(o, "hidden_size", 0),
                               .L = want_int(o, "num_hidden_layers", 0),
                               .H = want_int(o, "num_attention_heads", 0),
                               .F = want_int(o, "intermediate_size", 0),
                               .V = want_int(o, "vocab_size", 0),
                               .max_pos = want_int(o, "max_position_embeddings", 2048),
                               .norm_eps = (float)want_num(o, "rms_norm_eps", 1e-6)};
    c->K = want_int(o, "num_key_value_heads", c->H);
    c->D = want_int(o, "head_dim", c->H > 0 ? c->C / c->H : 0);
    int rc = rope_json(c, o, w->path, e);
    const char *act = json_string_value(json_object_get(o, "hidden_act"));
    if (!rc && act && strcmp(act, "silu") && strcmp(act, "swish"))
        rc = err_set(e, E_ARCH, "%s: hidden_act %s is not supported (silu)", w->path, err_quotez(act));
    json_t *win = json_object_get(o, "sliding_window");
    if (!rc && json_is_number(win) && json_number_value(win) < c->max_pos)
        msg_note("%s: sliding_window %.0f: rows longer than that see more context here than in transformers", w->path,
                 json_number_value(win));
    json_decref(o);
    return rc ? rc : check(c, w->path, e);
}

static int config(struct model_config *c, const struct weights *w, struct err *e)
{
    int rc = w->kind == WEIGHTS_GGUF ? config_gguf(c, w, e) : config_json(c, w, e);
    if (!rc) c->tied = !weights_find(w, "lm_head.weight");
    return rc;
}

/* ---- binding ---- */

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
    int rc = model_mat(m, &p->w, name, rows, cols, e);
    if (rc) return rc;
    site.weight = weights_find(m->weights, name);
    const bool reorder = model_rows_permuted(m) && rotated;
    if (reorder) {
        size_t row = dtype_row_bytes(p->w.dtype, cols);
        void *host = mem_alloc((size_t)rows, row), *dst = model_own(m, (size_t)rows * row, e);
        if (dst) gguf_unpermute_rows(host, site.weight->data, row, rows / m->cfg.D, m->cfg.D);
        int s = dst ? dev_from_host(m->dev, dst, host, (size_t)rows * row) : 0;
        free(host);
        if (!dst || s) return err_set(e, E_DEVICE, "%s: copy of %s failed", dev_name(m->dev), name);
        p->w.data = dst;
    }
    lin->in = cols;
    lin->out += rows;
    snprintf(name, sizeof name, "%s.bias", path);
    site.bias = weights_find(m->weights, name);
    model_site_add(m, path, site);
    if (!site.bias) return 0;
    if (reorder)
        return err_set(e, E_ARCH, "%s: %s: biases of re-ordered rows are not supported", m->weights->path, name);
    p->bias = model_vector(m, name, rows, e);
    return p->bias ? 0 : -e->id;
}

static int bind_norm(struct model *m, int l, const char *path, const float **w, struct err *e)
{
    char name[112];
    snprintf(name, sizeof name, "%s.weight", path);
    *w = model_vector(m, name, m->cfg.C, e);
    if (!*w) return -e->id;
    model_site_add(m, path, (struct site){.layer = l, .kind = SITE_NORM, .weight = weights_find(m->weights, name)});
    return 0;
}

static int bind_layer(struct model *m, int l, struct err *e)
{
    const struct model_config *c = &m->cfg;
    struct layer *w = &m->layer[l];
    char path[96];
    snprintf(path, sizeof path, "model.layers.%d.input_layernorm", l);
    int rc = bind_norm(m, l, path, &w->attn_norm, e);
    if (!rc) rc = bind_part(m, l, LIN_QKV, "self_attn.q_proj", true, c->H * c->D, c->C, e);
    if (!rc) rc = bind_part(m, l, LIN_QKV, "self_attn.k_proj", true, c->K * c->D, c->C, e);
    if (!rc) rc = bind_part(m, l, LIN_QKV, "self_attn.v_proj", false, c->K * c->D, c->C, e);
    if (!rc) rc = bind_part(m, l, LIN_O, "self_attn.o_proj", false, c->C, c->H * c->D, e);
    snprintf(path, sizeof path, "model.layers.%d.post_attention_layernorm", l);
    if (!rc) rc = bind_norm(m, l, path, &w->mlp_norm, e);
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
    int rc = model_mat(m, w, name, m->cfg.V, m->cfg.C, e);
    if (!rc)
        model_site_add(m, path, (struct site){.layer = -1, .kind = kind, .weight = weights_find(m->weights, name)});
    return rc;
}

int llama_bind(struct model *m, struct err *e)
{
    const struct model_config *c = &m->cfg;
    int rc = bind_matrix(m, "model.embed_tokens", SITE_EMBED, &m->embed, e);
    for (int l = 0; l < c->L && !rc; l++) rc = bind_layer(m, l, e);
    if (!rc) rc = bind_norm(m, -1, "model.norm", &m->final_norm, e);
    m->head = m->embed;
    if (!rc && !c->tied) rc = bind_matrix(m, "lm_head", SITE_HEAD, &m->head, e);
    if (rc) return rc;
    m->inv_freq = model_own(m, (size_t)c->D / 2 * 4, e);
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
    .names = &llama_names,
    .head_weight = "lm_head.weight",
    .gguf_rotated_rows = true,
    .config = config,
    .bind = llama_bind,
};
