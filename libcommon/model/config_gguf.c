/* config_gguf: the key/value pairs of a GGUF file. Meant is what llama.cpp computes from them; the names are those of
 * its gguf-py/gguf/constants.py. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/format/gguf.h"
#include "libcommon/model/config_table.h"
#include "libcommon/model/model_internal.h"

/* Keys of the architecture's section, "llama." and the like. */
static const struct config_row section[] = {
    NUMBER("embedding_length", C),
    NUMBER("block_count", L),
    NUMBER("attention.head_count", H),
    NUMBER("attention.head_count_kv", K),
    NUMBER("attention.key_length", D),
    NUMBER("attention.value_length", Dv),
    NUMBER("feed_forward_length", F),
    NUMBER("context_length", max_pos),
    NUMBER("attention.layer_norm_rms_epsilon", norm_eps),
    NUMBER("rope.freq_base", rope_theta),
    NUMBER("rope.dimension_count", rope_dims),
    TEXT("rope.scaling.type", rope_type, "none linear yarn longrope"),
    NUMBER("rope.scaling.factor", factor),
    NUMBER("rope.scale_linear", factor), /* its name in the first files */
    NUMBER("rope.scaling.attn_factor", attention_factor),
    NUMBER("rope.scaling.original_context_length", original_max_pos),
    NUMBER("rope.scaling.yarn_ext_factor", ext_factor),
    NUMBER("rope.scaling.yarn_beta_fast", beta_fast),
    NUMBER("rope.scaling.yarn_beta_slow", beta_slow),
    NUMBER("attention.scale", attn_scale),
    NUMBER("attention.sliding_window", window),

    /* Nothing but these values is computed. */
    NEUTRAL("rope.scaling.alpha", "0 1"),
    NEUTRAL("rope.scaling.yarn_attn_factor", "1"), /* versions of llama.cpp differ in whether it counts */
    NEUTRAL("rope.scaling.yarn_log_multiplier", "0"),
    NEUTRAL("attention.causal", "true"),
    NEUTRAL("attention.clamp_kqv", "0"),
    NEUTRAL("attention.max_alibi_bias", "0"),
    NEUTRAL("attention.output_scale", "0 1"),
    NEUTRAL("attention.temperature_length", "0"),
    NEUTRAL("attention.temperature_scale", "0"),
    NEUTRAL("attention.shared_kv_layers", "0"),
    NEUTRAL("expert_count", "0"),
    NEUTRAL("expert_used_count", "0"),
    NEUTRAL("expert_shared_count", "0"),
    NEUTRAL("leading_dense_block_count", "0"),
    NEUTRAL("nextn_predict_layers", "0"),
    NEUTRAL("use_parallel_residual", "false"),
    NEUTRAL("logit_scale", "0 1"),
    NEUTRAL("residual_scale", "0 1"),
    NEUTRAL("embedding_scale", "0 1"),
    NEUTRAL("attn_logit_softcapping", "0"),
    NEUTRAL("final_logit_softcapping", "0"),
    NEUTRAL("swin_norm", "false"),
    {"tensor_data_layout", ROW_NEUTRAL, 0, "Meta AI original pth", "llama"}, /* rows of q and k as gguf.h has them */

    IGNORED("vocab_size", "the rows of token_embd.weight say it"),
    IGNORED("pooling_type", "of embeddings of sentences"),
    IGNORED("attention.layer_norm_epsilon", "of LayerNorm, which these architectures do not have"),
    IGNORED("attention.sliding_window_pattern", "which layers have the window; longer rows are refused"),
    IGNORED("rope.scaling.finetuned", "says that it was trained with the scaling"),
};

/* Keys of other sections. */
static const struct config_row others[] = {
    HANDLED("general.architecture", "arch_of"),
    NEUTRAL("general.type", "model"),             /* no adapter, no projector */
    NEUTRAL("general.quantization_version", "2"), /* what block types mean, since before GGUF */
    IGNORED("general.*", "where the file comes from and who made it"),
    IGNORED("tokenizer.*", "of the tokenizer, which reads them"),
    IGNORED("quantize.*", "how it was quantised; the tensors say the types"),
    IGNORED("imatrix.*", "how it was quantised; the tensors say the types"),
    IGNORED("split.*", "split files are refused where the file is opened"),
    NEUTRAL("adapter.*", ""),
    NEUTRAL("clip.*", ""),
    IGNORED("*", "a section that is no architecture's: notes of who made the file"),
};

enum { N_SECTION = sizeof section / sizeof *section, N_OTHERS = sizeof others / sizeof *others };
const struct config_table config_table_gguf = {"GGUF, section of the architecture", section, N_SECTION};
const struct config_table config_table_sections = {"GGUF, other sections", others, N_OTHERS};

/* A list of equal numbers, one a layer, is that number. */
static struct config_value of_list(const struct gguf_kv *kv)
{
    bool number = kv->elem != GGUF_STRING && kv->elem != GGUF_BOOL;
    struct config_value v = {.kind = VALUE_OTHER, .text = STRZ("a list")};
    if (!kv->n) return (struct config_value){.kind = VALUE_EMPTY};
    if (!number) return v;
    double first = gguf_float_at(kv, 0); /* takes integers too */
    for (uint64_t i = 1; i < kv->n; i++)
        if (gguf_float_at(kv, i) != first) {
            v.text = STRZ("a list of different numbers");
            return v;
        }
    return (struct config_value){.kind = VALUE_NUMBER, .number = first};
}

static struct config_value value_of(const struct gguf *g, const struct gguf_kv *kv, const char *key)
{
    struct config_value v = {.kind = VALUE_NUMBER};
    struct err no = {0};
    if (kv->type == GGUF_ARRAY) return of_list(kv);
    if (kv->type == GGUF_STRING) {
        v.kind = gguf_get_str(g, key, &v.text, &no) > 0 && v.text.n ? VALUE_TEXT : VALUE_EMPTY;
    } else if (kv->type == GGUF_BOOL) {
        v.kind = VALUE_BOOL;
        v.number = *kv->data != 0;
    } else {
        v.number = gguf_float_at(kv, 0);
    }
    return v;
}

/* A tensor of longrope: a number for each pair of a head's values; its values, of which there are at most
 * ROPE_HALF_MAX. */
static int pair_factors(const struct weights *w, const char *name, float *to, int *n, struct err *e)
{
    const struct gguf_tensor *t = gguf_tensor_find(w->gguf, name);
    if (!t) return err_set(e, E_GGUF, "%s: rotary scaling of type longrope: tensor %s is missing", w->path, name);
    if (t->type != 0 || t->n_dims != 1 || t->ne[0] > ROPE_HALF_MAX)
        return err_set(e, E_GGUF, "%s: %s is not f32 of at most %d values", w->path, name, ROPE_HALF_MAX);
    *n = (int)t->ne[0];
    memcpy(to, t->data, (size_t)*n * sizeof *to);
    return 0;
}

int config_read_gguf(struct model_config *c, const struct weights *w, const char *gguf_name, struct err *e)
{
    char prefix[64];
    size_t n = (size_t)snprintf(prefix, sizeof prefix, "%s.", gguf_name);
    const struct config_file own = {WEIGHTS_GGUF, w->path, "", prefix, gguf_name, section, N_SECTION};
    const struct config_file other = {WEIGHTS_GGUF, w->path, "", "", gguf_name, others, N_OTHERS};
    struct config_raw r;
    int rc = 0;
    config_raw_init(&r);
    for (int i = 0; i < w->gguf->n_kv && !rc; i++) {
        const struct gguf_kv *kv = &w->gguf->kv[i];
        char *key = mem_dup(kv->key.p, kv->key.n);
        bool mine = !strncmp(key, prefix, n);
        rc = config_key(mine ? &own : &other, &r, mine ? key + n : key, value_of(w->gguf, kv, key), e);
        free(key);
    }
    if (rc) return rc;
    const struct tensor *emb = weights_find(w, "model.embed_tokens.weight");
    if (!emb) return err_set(e, E_GGUF, "%s: tensor token_embd.weight is missing", w->path);
    r.V = (double)emb->shape[0];
    if (!strcmp(r.rope_type, "longrope")) {
        rc = pair_factors(w, "rope_factors_short.weight", r.short_factor, &r.n_short, e);
        if (!rc) rc = pair_factors(w, "rope_factors_long.weight", r.long_factor, &r.n_long, e);
        if (rc) return rc;
    }
    return config_finish(c, &own, &r, e);
}
