/* hf_config: see hf_config.h. Source of the keys: transformers' LlamaConfig. */
#include "libcommon/merge/hf_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/format/gguf.h"
#include "libcommon/format/json.h"

/* Do all numbers survive 15 digits? */
static bool short_reals(const json_t *j)
{
    const char *key;
    json_t *v;
    size_t i;
    char s[40];
    bool ok = true;
    if (json_is_real(j)) {
        snprintf(s, sizeof s, "%.15g", json_real_value(j));
        return strtod(s, NULL) == json_real_value(j);
    }
    json_object_foreach((json_t *)j, key, v) ok = ok && short_reals(v);
    json_array_foreach(j, i, v) ok = ok && short_reals(v);
    return ok;
}

char *hf_json_text(const json_t *j)
{
    return json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(short_reals(j) ? 15 : 17));
}

static const char *torch_name(enum dtype t) { return t == DT_F32 ? "float32" : t == DT_F16 ? "float16" : "bfloat16"; }

static json_t *from_hf(const struct model *m, enum dtype dtype, bool tied, struct err *e)
{
    const char *text = m->weights->config_json;
    json_t *j = json_parse(text, strlen(text), "config.json", E_MODEL, e);
    if (!j) return NULL;
    const char *key = json_object_get(j, "dtype") ? "dtype" : "torch_dtype";
    json_object_set_new(j, key, json_string(torch_name(dtype)));
    json_object_del(j, "quantization_config");
    if (json_is_true(json_object_get(j, "tie_word_embeddings")) != tied)
        json_object_set_new(j, "tie_word_embeddings", json_boolean(tied));
    return j;
}

/* The double that prints as the float does: 1e-5f is 1e-05, not 9.99999974737875e-06. */
static json_t *float_json(float f)
{
    char s[40];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, (double)f);
        if (strtof(s, NULL) == f) break;
    }
    return json_real(strtod(s, NULL));
}

static void put_id(json_t *j, const struct gguf *g, const char *key, const char *name)
{
    struct err e = {0};
    int64_t id = -1;
    bool known = gguf_get_i64(g, key, &id, &e) > 0;
    json_object_set_new(j, name, known ? json_integer(id) : json_null());
}

/* Do all products of a half of the layers (attention's, the MLP's) have biases? A configuration can say all or none:
 * some are an error. */
static int has_biases(const struct model *m, bool mlp, struct err *e)
{
    int n = 0, all = 0;
    for (int i = 0; i < m->n_site; i++) {
        const struct site *s = &m->site[i];
        if (s->kind != SITE_LINEAR || (s->lin >= LIN_GATE_UP) != mlp) continue;
        n += s->bias != NULL;
        all++;
    }
    if (!n || n == all) return n > 0;
    err_set(e, E_VERSION, "%s: some projections have a bias and others none, which config.json cannot say", m->path);
    return err_hint(e, "write GGUF instead: --format gguf");
}

/* What the class of config.json says by itself of biases and windows. A Llama with a window is Mistral's class, which
 * has no biases. */
static int put_class(const struct model *m, json_t *j, struct err *e)
{
    const char *names = m->arch->hf_names, *type = m->arch->name;
    const int window = m->cfg.window;
    if (m->arch->bias_keys) {
        const int attn = has_biases(m, false, e), mlp = attn < 0 ? attn : has_biases(m, true, e);
        if (mlp < 0) return mlp;
        if (window && (attn || mlp))
            return err_set(e, E_VERSION, "%s: it has biases and a sliding window, which no class of config.json has",
                           m->path);
        if (window) {
            names = "MistralForCausalLM", type = "mistral";
        } else {
            json_object_set_new(j, "attention_bias", json_boolean(attn));
            json_object_set_new(j, "mlp_bias", json_boolean(mlp));
            json_object_set_new(j, "pretraining_tp", json_integer(1));
        }
    }
    if (window) json_object_set_new(j, "sliding_window", json_integer(window));
    json_object_set_new(j, "architectures", json_pack("[o]", json_stringn(names, strcspn(names, " "))));
    json_object_set_new(j, "model_type", json_string(type));
    return 0;
}

static json_t *floats_json(const float *v, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, float_json(v[i]));
    return list;
}

/* The scaling of the rotary frequencies as transformers 4 reads it; the factor on cosines and sines is always written,
 * since GGUF's own rule for it is another (model/rope.c). */
static int put_rope(const struct model *m, json_t *j, struct err *e)
{
    const struct rope_scaling *s = &m->cfg.rope_scaling;
    json_t *o = json_null();
    if (s->type < ROPE_YARN && s->attention_factor != 1) {
        err_set(e, E_VERSION,
                "%s: rope.scaling.attn_factor is %.9g, which config.json can say of yarn and longrope only", m->path,
                s->attention_factor);
        return err_hint(e, "write GGUF instead: --format gguf");
    }
    if (s->type == ROPE_LINEAR) {
        o = json_pack("{s:s, s:f}", "rope_type", "linear", "factor", s->factor);
    } else if (s->type == ROPE_YARN) {
        o = json_pack("{s:s, s:f, s:f, s:f, s:f, s:i}", "rope_type", "yarn", "factor", s->factor, "attention_factor",
                      s->attention_factor, "beta_fast", s->beta_fast, "beta_slow", s->beta_slow,
                      "original_max_position_embeddings", s->original_max_pos);
    } else if (s->type == ROPE_LONGROPE) {
        o = json_pack("{s:s, s:f, s:f, s:o, s:o}", "rope_type", "longrope", "factor",
                      (double)m->cfg.max_pos / s->original_max_pos, "attention_factor", s->attention_factor,
                      "short_factor", floats_json(s->short_factor, m->cfg.D / 2), "long_factor",
                      floats_json(s->long_factor, m->cfg.D / 2));
        json_object_set_new(j, "original_max_position_embeddings", json_integer(s->original_max_pos));
    }
    json_object_set_new(j, "rope_scaling", o);
    return 0;
}

static json_t *from_gguf(const struct model *m, enum dtype dtype, bool tied, struct err *e)
{
    const struct model_config *c = &m->cfg;
    json_t *j = json_pack("{s:n, s:f, s:n, s:n, s:i, s:s, s:i, s:f, s:i, s:i}", "architectures", "attention_dropout",
                          0.0, "bos_token_id", "eos_token_id", "head_dim", c->D, "hidden_act", "silu", "hidden_size",
                          c->C, "initializer_range", 0.02, "intermediate_size", c->F, "max_position_embeddings",
                          c->max_pos);
    if (put_class(m, j, e)) {
        json_decref(j);
        return NULL;
    }
    put_id(j, m->weights->gguf, "tokenizer.ggml.bos_token_id", "bos_token_id");
    put_id(j, m->weights->gguf, "tokenizer.ggml.eos_token_id", "eos_token_id");
    json_object_set_new(j, "num_attention_heads", json_integer(c->H));
    json_object_set_new(j, "num_hidden_layers", json_integer(c->L));
    json_object_set_new(j, "num_key_value_heads", json_integer(c->K));
    put_id(j, m->weights->gguf, "tokenizer.ggml.padding_token_id", "pad_token_id");
    json_object_set_new(j, "rms_norm_eps", float_json(c->norm_eps));
    if (put_rope(m, j, e)) {
        json_decref(j);
        return NULL;
    }
    json_object_set_new(j, "rope_theta", json_real(c->rope_theta));
    json_object_set_new(j, "tie_word_embeddings", json_boolean(tied));
    json_object_set_new(j, "torch_dtype", json_string(torch_name(dtype)));
    json_object_set_new(j, "use_cache", json_true());
    json_object_set_new(j, "vocab_size", json_integer(c->V));
    return j;
}

static char *text_of(json_t *j, struct err *e)
{
    char *text = j ? hf_json_text(j) : NULL;
    if (j && !text) err_set(e, E_MODEL, "config.json: no valid JSON");
    json_decref(j);
    return text;
}

char *hf_config_text(const struct model *m, enum dtype dtype, bool tied, struct err *e)
{
    return text_of(m->weights->kind == WEIGHTS_HF ? from_hf(m, dtype, tied, e) : from_gguf(m, dtype, tied, e), e);
}

char *hf_generation_text(const struct model *m, struct err *e)
{
    json_t *j = json_pack("{s:b}", "_from_model_config", 1);
    put_id(j, m->weights->gguf, "tokenizer.ggml.bos_token_id", "bos_token_id");
    put_id(j, m->weights->gguf, "tokenizer.ggml.eos_token_id", "eos_token_id");
    put_id(j, m->weights->gguf, "tokenizer.ggml.padding_token_id", "pad_token_id");
    return text_of(j, e);
}
