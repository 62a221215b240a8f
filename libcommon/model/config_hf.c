/* config_hf: config.json of a Hugging Face directory. Meant is what transformers' classes of the families compute
 * (modeling_llama.py, modeling_mistral.py, modeling_qwen2.py; configuration_utils.py for what every file may carry). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "libcommon/base/msg.h"
#include "libcommon/format/json.h"
#include "libcommon/model/config_table.h"
#include "libcommon/model/model_internal.h"

#define ORIGIN   "where the file comes from and who made it"
#define STORAGE  "the tensors say how they are stored"
#define RUNTIME  "how a program runs the model; the values are the same"
#define TRAINING "of pre-training; a model that is used has none of it"
#define GENERATE "defaults of generation; the options of peft-eval say it"
#define HEADS    "of heads for other tasks, which no causal model has"
#define LENGTH   "a length it was trained with; max_position_embeddings counts"

static const struct config_row top[] = {
    HANDLED("architectures", "config_arch_hf"),
    HANDLED("model_type", "config_arch_hf"),
    NUMBER("hidden_size", C),
    NUMBER("num_hidden_layers", L),
    NUMBER("num_attention_heads", H),
    NUMBER("num_key_value_heads", K),
    NUMBER("head_dim", D),
    NUMBER("intermediate_size", F),
    NUMBER("vocab_size", V),
    NUMBER("max_position_embeddings", max_pos),
    NUMBER("rms_norm_eps", norm_eps),
    NUMBER("rope_theta", rope_theta),
    NUMBER("original_max_position_embeddings", original_outside),
    HANDLED("rope_scaling", "rope"),
    HANDLED("rope_parameters", "rope"), /* transformers 5 */
    FLAG("tie_word_embeddings", tied),
    {"attention_bias", ROW_FLAG, offsetof(struct config_raw, attention_bias), NULL, "llama"},
    {"attention_bias", ROW_IGNORED, 0, "the class leaves no choice; the tensors are looked at", "mistral qwen2"},
    {"mlp_bias", ROW_FLAG, offsetof(struct config_raw, mlp_bias), NULL, "llama"},
    {"mlp_bias", ROW_IGNORED, 0, "the class leaves no choice; the tensors are looked at", "mistral qwen2"},
    NUMBER("sliding_window", window),
    {"use_sliding_window", ROW_FLAG, offsetof(struct config_raw, use_window), NULL, "qwen2"},
    {"use_sliding_window", ROW_IGNORED, 0, "the class does not read it: sliding_window alone counts", "llama mistral"},
    {"max_window_layers", ROW_NUMBER, offsetof(struct config_raw, window_layer), NULL, "qwen2"},
    {"max_window_layers", ROW_IGNORED, 0, "the class does not read it: sliding_window alone counts", "llama mistral"},
    HANDLED("layer_types", "windows"),
    NUMBER("attention_multiplier", attn_scale), /* Granite */

    /* Nothing but these values is computed. */
    NEUTRAL("hidden_act", "silu swish"),
    NEUTRAL("hidden_activation", "silu swish"),
    NEUTRAL("activation_function", "silu swish"),
    NEUTRAL("rope_interleaved", "false"),
    NEUTRAL("partial_rotary_factor", "1"),
    NEUTRAL("rotary_pct", "1"),
    NEUTRAL("position_embedding_type", "rotary rope"),
    NEUTRAL("no_rope_layers", ""),
    NEUTRAL("no_rope_layer_interval", ""),
    NEUTRAL("embedding_multiplier", "1"),
    NEUTRAL("residual_multiplier", "1"),
    NEUTRAL("logits_scaling", "1"),
    NEUTRAL("logit_scale", "1"),
    NEUTRAL("attn_logit_softcapping", ""),
    NEUTRAL("final_logit_softcapping", ""),
    NEUTRAL("query_pre_attn_scalar", ""),
    NEUTRAL("clip_qkv", ""),
    NEUTRAL("qk_norm", "false"),
    NEUTRAL("use_qk_norm", "false"),
    NEUTRAL("qk_layernorm", "false"),
    NEUTRAL("use_mrope", "false"),
    {"qkv_bias", ROW_NEUTRAL, 0, "true", "qwen2"},
    NEUTRAL("qkv_bias", "false"),
    NEUTRAL("num_experts", "0"),
    NEUTRAL("num_local_experts", "0"),
    NEUTRAL("num_experts_per_tok", "0"),
    NEUTRAL("n_routed_experts", "0"),
    NEUTRAL("use_parallel_residual", "false"),
    NEUTRAL("is_encoder_decoder", "false"),
    NEUTRAL("tie_encoder_decoder", "false"),
    NEUTRAL("add_cross_attention", "false"),
    NEUTRAL("cross_attention_hidden_size", ""),
    NEUTRAL("pruned_heads", ""),
    NEUTRAL("per_layer_config", ""),
    NEUTRAL("quantization_config", ""),
    NEUTRAL("quantization", ""), /* MLX */
    NEUTRAL("compression_config", ""),
    NEUTRAL("adapters", ""), /* AdapterHub: adapters that are part of the model */

    IGNORED("pretraining_tp", "the same products summed in another order; transformers 5 no longer reads it"),
    IGNORED("is_llama_config", ORIGIN),
    IGNORED("_name_or_path", ORIGIN),
    IGNORED("name_or_path", ORIGIN),
    IGNORED("_commit_hash", ORIGIN),
    IGNORED("transformers_version", ORIGIN),
    IGNORED("transformers.js_config", ORIGIN),
    IGNORED("unsloth_*", ORIGIN),
    IGNORED("model_name", ORIGIN),
    IGNORED("base_model", ORIGIN),
    IGNORED("license", ORIGIN),
    IGNORED("auto_map", "code beside the weights is never run"),
    IGNORED("_auto_class", "code beside the weights is never run"),
    IGNORED("custom_pipelines", "code beside the weights is never run"),
    IGNORED("tokenizer_class", "of the tokenizer"),
    IGNORED("prefix", "of the tokenizer"),
    IGNORED("bos_token_id", "of the tokenizer"),
    IGNORED("eos_token_id", "of the tokenizer"),
    IGNORED("pad_token_id", "of the tokenizer; rows are not padded"),
    IGNORED("sep_token_id", "of the tokenizer"),
    IGNORED("unk_token_id", "of the tokenizer"),
    IGNORED("mask_token_id", "of the tokenizer"),
    IGNORED("decoder_start_token_id", "of the tokenizer"),
    IGNORED("dtype", STORAGE),
    IGNORED("torch_dtype", STORAGE),
    IGNORED("use_bfloat16", STORAGE),
    IGNORED("use_cache", RUNTIME),
    IGNORED("return_dict", RUNTIME),
    IGNORED("output_attentions", RUNTIME),
    IGNORED("_output_attentions", RUNTIME),
    IGNORED("output_hidden_states", RUNTIME),
    IGNORED("torchscript", RUNTIME),
    IGNORED("tf_legacy_loss", RUNTIME),
    IGNORED("chunk_size_feed_forward", RUNTIME),
    IGNORED("gradient_checkpointing", RUNTIME),
    IGNORED("attn_implementation", RUNTIME),
    IGNORED("_attn_implementation*", RUNTIME), /* also _autoset and _internal */
    IGNORED("_experts_implementation*", RUNTIME),
    IGNORED("_flash_attn_2_enabled", RUNTIME),
    IGNORED("use_flash_attn", RUNTIME),
    IGNORED("is_decoder", "causal attention is what these classes have, whatever it says"),
    IGNORED("initializer_range", TRAINING),
    IGNORED("attention_dropout", TRAINING),
    IGNORED("attention_probs_dropout_prob", TRAINING),
    IGNORED("attn_pdrop", TRAINING),
    IGNORED("embd_pdrop", TRAINING),
    IGNORED("resid_pdrop", TRAINING),
    IGNORED("hidden_dropout", TRAINING),
    IGNORED("hidden_dropout_prob", TRAINING),
    IGNORED("classifier_dropout", HEADS),
    IGNORED("finetuning_task", HEADS),
    IGNORED("problem_type", HEADS),
    IGNORED("num_labels", HEADS),
    IGNORED("id2label", HEADS),
    IGNORED("label2id", HEADS),
    IGNORED("task_specific_params", HEADS),
    IGNORED("max_sequence_length", LENGTH),
    IGNORED("max_seq_len", LENGTH),
    IGNORED("seq_length", LENGTH),
    IGNORED("model_max_length", LENGTH),
    IGNORED("tokenizer_model_max_length", LENGTH),
    IGNORED("max_length", GENERATE),
    IGNORED("min_length", GENERATE),
    IGNORED("max_new_tokens", GENERATE),
    IGNORED("do_sample", GENERATE),
    IGNORED("early_stopping", GENERATE),
    IGNORED("num_beams", GENERATE),
    IGNORED("num_beam_groups", GENERATE),
    IGNORED("num_return_sequences", GENERATE),
    IGNORED("diversity_penalty", GENERATE),
    IGNORED("temperature", GENERATE),
    IGNORED("top_k", GENERATE),
    IGNORED("top_p", GENERATE),
    IGNORED("typical_p", GENERATE),
    IGNORED("min_p", GENERATE),
    IGNORED("repetition_penalty", GENERATE),
    IGNORED("length_penalty", GENERATE),
    IGNORED("no_repeat_ngram_size", GENERATE),
    IGNORED("encoder_no_repeat_ngram_size", GENERATE),
    IGNORED("bad_words_ids", GENERATE),
    IGNORED("output_scores", GENERATE),
    IGNORED("return_dict_in_generate", GENERATE),
    IGNORED("forced_bos_token_id", GENERATE),
    IGNORED("forced_eos_token_id", GENERATE),
    IGNORED("remove_invalid_values", GENERATE),
    IGNORED("exponential_decay_length_penalty", GENERATE),
    IGNORED("suppress_tokens", GENERATE),
    IGNORED("begin_suppress_tokens", GENERATE),
    IGNORED("renormalize_logits", GENERATE),
    IGNORED("pad_token", "of the tokenizer"),
    IGNORED("eos_token", "of the tokenizer"),
    IGNORED("bos_token", "of the tokenizer"),
};

#define TYPES "default linear llama3 yarn longrope"
static const struct config_row in_rope[] = {
    TEXT("rope_type", rope_type, TYPES),
    TEXT("type", rope_type, TYPES), /* its name before transformers 4.43 */
    NUMBER("rope_theta", rope_theta),
    NUMBER("factor", factor),
    NUMBER("low_freq_factor", low_freq_factor),
    NUMBER("high_freq_factor", high_freq_factor),
    NUMBER("original_max_position_embeddings", original_max_pos),
    NEUTRAL("partial_rotary_factor", "1"),
    NUMBER("attention_factor", attention_factor),
    NUMBER("beta_fast", beta_fast),
    NUMBER("beta_slow", beta_slow),
    NUMBER("mscale", mscale),
    NUMBER("mscale_all_dim", mscale_all_dim),
    FLAG("truncate", truncate),
    HANDLED("short_factor", "pair_factors"),
    HANDLED("long_factor", "pair_factors"),
    IGNORED("finetuned", "says that it was trained with the scaling"),
};

enum { N_TOP = sizeof top / sizeof *top, N_ROPE = sizeof in_rope / sizeof *in_rope };
const struct config_table config_table_hf = {"config.json", top, N_TOP};
const struct config_table config_table_rope = {"rope_scaling", in_rope, N_ROPE};

/* ---- which architecture -------------------------------------------------------------------- */

static json_t *parse(const struct weights *w, struct err *e)
{
    json_t *o = json_parse(w->config_json, strlen(w->config_json), "config.json", E_MODEL, e);
    if (!o) err_prefix(e, "%s: ", w->path);
    return o;
}

/* The family of a class of causal models: "llama" of LlamaForCausalLM. Early Llama files spell the class otherwise. */
static bool family_of(const char *class, size_t n, char family[FAMILY_MAX])
{
    static const char end[] = "ForCausalLM";
    size_t k = sizeof end - 1;
    if (n <= k || n - k >= FAMILY_MAX || strncasecmp(class + n - k, end, k)) return false;
    for (size_t i = 0; i < n - k; i++)
        family[i] = (char)(class[i] >= 'A' && class[i] <= 'Z' ? class[i] + 32 : class[i]);
    family[n - k] = 0;
    return true;
}

static const struct arch *arch_of_family(const char *family)
{
    char known[FAMILY_MAX];
    for (int i = 0; archs[i]; i++)
        for (const char *p = archs[i]->hf_names; *p;) {
            size_t n = strcspn(p, " ");
            if (family_of(p, n, known) && !strcmp(known, family)) return archs[i];
            p += n + (p[n] == ' ');
        }
    return NULL;
}

/* transformers goes by model_type; a class that says otherwise is a contradiction. */
static const struct arch *pick(const json_t *o, const char *path, char family[FAMILY_MAX], struct err *e)
{
    const json_t *list = json_object_get(o, "architectures");
    const char *type = json_string_value(json_object_get(o, "model_type"));
    const char *class = json_string_value(json_array_get(list, 0));
    if (!class && !type) {
        err_set(e, E_MODEL, "%s: config.json has neither \"architectures\" nor \"model_type\"", path);
        return NULL;
    }
    if (!class)
        snprintf(family, FAMILY_MAX, "%s", type);
    else if (!family_of(class, strlen(class), family))
        return arch_refuse(WEIGHTS_HF, path, STRZ(class), e);
    const struct arch *a = arch_of_family(family);
    if (!a) return arch_refuse(WEIGHTS_HF, path, STRZ(class ? class : type), e);
    if (class && type && strcmp(type, family)) {
        err_set(e, E_ARCH, "%s: config.json: model_type is %s, the architecture %s", path, err_quotez(type),
                err_quotez(class));
        return NULL;
    }
    return a;
}

const struct arch *config_arch_hf(const struct weights *w, char family[FAMILY_MAX], struct err *e)
{
    json_t *o = parse(w, e);
    const struct arch *a = o ? pick(o, w->path, family, e) : NULL;
    json_decref(o);
    return a;
}

/* ---- reading ------------------------------------------------------------------------------- */

static struct config_value value_of(const json_t *v)
{
    bool empty = json_is_string(v)  ? !*json_string_value(v)
                 : json_is_array(v) ? !json_array_size(v)
                                    : json_is_object(v) && !json_object_size(v);
    if (json_is_null(v)) return (struct config_value){.kind = VALUE_NOTHING};
    if (empty) return (struct config_value){.kind = VALUE_EMPTY};
    if (json_is_boolean(v)) return (struct config_value){.kind = VALUE_BOOL, .number = json_is_true(v)};
    if (json_is_number(v)) return (struct config_value){.kind = VALUE_NUMBER, .number = json_number_value(v)};
    if (json_is_string(v)) return (struct config_value){.kind = VALUE_TEXT, .text = STRZ(json_string_value(v))};
    return (struct config_value){.kind = VALUE_OTHER, .text = STRZ(json_is_array(v) ? "a list" : "an object")};
}

/* A list of longrope: one number for each pair of a head's values. */
static int pair_factors(float *to, int *n, const json_t *in, const char *key, const struct config_file *f,
                        struct err *e)
{
    const json_t *list = json_object_get(in, key), *v;
    size_t i;
    if (!list || json_is_null(list)) return 0;
    if (!json_is_array(list) || json_array_size(list) > ROPE_HALF_MAX)
        return err_set(e, E_MODEL, "%s: %s%s%s is no list of at most %d numbers", f->path, f->place, f->prefix, key,
                       ROPE_HALF_MAX);
    json_array_foreach((json_t *)list, i, v)
    {
        if (!json_is_number(v))
            return err_set(e, E_MODEL, "%s: %s%s%s[%zu] is no number", f->path, f->place, f->prefix, key, i);
        to[i] = (float)json_number_value(v);
    }
    *n = (int)json_array_size(list);
    return 0;
}

static int rope(const struct config_file *top_file, struct config_raw *r, json_t *o, const char *name, struct err *e)
{
    json_t *in = json_object_get(o, name), *v;
    if (!in || json_is_null(in)) return 0;
    if (!json_is_object(in)) return err_set(e, E_MODEL, "%s: config.json: %s is no object", top_file->path, name);
    struct config_file f = *top_file;
    char prefix[32];
    const char *key;
    snprintf(prefix, sizeof prefix, "%s.", name);
    f.prefix = prefix;
    f.row = in_rope;
    f.n = N_ROPE;
    /* The type first: that it is not computed says more than a key that only it has. */
    static const char *const types[2] = {"rope_type", "type"};
    for (int i = 0; i < 2; i++) {
        v = json_object_get(in, types[i]);
        int rc = v ? config_key(&f, r, types[i], value_of(v), e) : 0;
        if (rc) return rc;
    }
    json_object_foreach(in, key, v)
    {
        int rc = config_key(&f, r, key, value_of(v), e);
        if (rc) return rc;
    }
    if (json_is_null(json_object_get(in, "truncate"))) r->truncate = 0; /* in Python that is no truth */
    r->transformers5 = !strcmp(name, "rope_parameters");
    int rc = pair_factors(r->short_factor, &r->n_short, in, "short_factor", &f, e);
    return rc ? rc : pair_factors(r->long_factor, &r->n_long, in, "long_factor", &f, e);
}

/* layer_types into slides[]; the number of layers that have a window. Types other than the two
 * are refused. */
static int layer_types(bool slides[LAYERS_MAX], const json_t *o, const char *path, struct err *e)
{
    json_t *list = json_object_get(o, "layer_types"), *v;
    size_t i;
    int n = 0;
    if (list && !json_is_null(list) && !json_is_array(list))
        return err_set(e, E_MODEL, "%s: config.json: layer_types is no list", path);
    json_array_foreach(list, i, v)
    {
        const char *s = json_string_value(v);
        const bool sliding = s && !strcmp(s, "sliding_attention");
        if (!sliding && (!s || strcmp(s, "full_attention")))
            return err_set(e, E_ARCH,
                           "%s: config.json: layer_types has %s; supported: full_attention, sliding_attention", path,
                           err_quotez(s));
        if (i < LAYERS_MAX) slides[i] = sliding;
        n += sliding;
    }
    return n;
}

/* The window into r->window, NAN if no layer has one, and which layers do. */
static int windows(struct config_raw *r, bool slides[LAYERS_MAX], const json_t *o, const struct config_file *f,
                   struct err *e)
{
    const size_t listed = json_array_size(json_object_get(o, "layer_types"));
    const bool qwen2 = !strcmp(f->family, "qwen2"), said = json_object_get(o, "sliding_window") != NULL;
    const int sliding = layer_types(slides, o, f->path, e);
    if (sliding < 0) return sliding;
    if (listed && !isnan(r->L) && (double)listed != r->L)
        return err_set(e, E_MODEL, "%s: config.json: layer_types has %zu layers, num_hidden_layers says %.9g", f->path,
                       listed, r->L);
    if (!said && (qwen2 || !strcmp(f->family, "mistral"))) r->window = 4096; /* what the class takes then */
    bool on = !isnan(r->window) && r->window != 0;
    if (qwen2) {
        double from = isnan(r->window_layer) ? 28 : r->window_layer;
        on = on && r->use_window == 1 && (listed ? sliding : !(from >= r->L));
        for (int l = 0; !listed && l < LAYERS_MAX; l++) slides[l] = l >= from;
    } else {
        for (int l = 0; l < LAYERS_MAX; l++) slides[l] = true; /* the class does not read layer_types */
    }
    if (sliding && !on)
        return err_set(e, E_MODEL,
                       "%s: config.json: layer_types has sliding_attention, but no sliding_window is in use", f->path);
    if (!on) r->window = NAN;
    return 0;
}

/* LlamaForCausalLM reads no window, but the caches of some versions of transformers do; and Mistral's class is given a
 * list that it does not read. */
static bool window_unclear(const json_t *o, const char *family)
{
    return !strcmp(family, "llama") ||
           (!strcmp(family, "mistral") && json_array_size(json_object_get(o, "layer_types")));
}

/* Which products have biases by the class and its keys; those of the file are held against it when they are bound. */
static void biases(struct model_config *c, const struct config_raw *r, const char *family)
{
    const bool llama = !strcmp(family, "llama"), qwen2 = !strcmp(family, "qwen2");
    for (int i = 0; i < LIN_COUNT; i++) {
        const bool mlp = i >= LIN_GATE_UP;
        c->bias[i].rule = (llama ? (mlp ? r->mlp_bias : r->attention_bias) == 1 : qwen2 && i == LIN_QKV) ? BIAS_ALL
                                                                                                         : BIAS_NONE;
        c->bias[i].why = !llama ? "the architecture" : mlp ? "mlp_bias" : "attention_bias";
    }
}

static int head(const struct config_raw *r, const struct weights *w, struct err *e)
{
    const struct tensor *h = weights_find(w, "lm_head.weight"), *emb = weights_find(w, "model.embed_tokens.weight");
    if (!h && r->tied == 0)
        return err_set(e, E_MODEL, "%s: config.json: tie_word_embeddings is false, but lm_head.weight is missing",
                       w->path);
    if (!h && isnan(r->tied))
        msg_warn("%s: config.json does not say tie_word_embeddings and lm_head.weight is missing: the head is the "
                 "embedding",
                 w->path);
    if (!h || !emb || r->tied != 1) return 0;
    /* As transformers 5 has it; 4 would use the embedding. */
    if (h->dtype != emb->dtype || h->bytes != emb->bytes || memcmp(h->data, emb->data, h->bytes))
        msg_warn("%s: config.json says tie_word_embeddings, but lm_head.weight is not the embedding: not tied",
                 w->path);
    return 0;
}

static int read_object(struct model_config *c, const struct weights *w, json_t *o, const char *family, struct err *e)
{
    struct config_file f = {WEIGHTS_HF, w->path, "config.json: ", "", family, top, N_TOP};
    struct config_raw r;
    const char *key;
    json_t *v;
    int rc = 0;
    config_raw_init(&r);
    rc = rope(&f, &r, o, "rope_scaling", e);
    if (!rc) rc = rope(&f, &r, o, "rope_parameters", e);
    json_object_foreach(o, key, v) if (!rc) rc = config_key(&f, &r, key, value_of(v), e);
    if (isnan(r.norm_eps)) r.norm_eps = 1e-6;
    if (isnan(r.max_pos)) r.max_pos = !strcmp(family, "mistral") ? 131072 : !strcmp(family, "qwen2") ? 32768 : 2048;
    if (!rc) rc = windows(&r, c->slides, o, &f, e);
    if (!rc) rc = config_finish(c, &f, &r, e);
    if (rc) return rc;
    c->window_unclear = window_unclear(o, family);
    biases(c, &r, family);
    return head(&r, w, e);
}

int config_read_hf(struct model_config *c, const struct weights *w, const char *family, struct err *e)
{
    json_t *o = parse(w, e);
    int rc = o ? read_object(c, w, o, family, e) : -e->id;
    json_decref(o);
    return rc;
}
