/* gguf_meta: see gguf_meta.h. Source of the keys: llama.cpp, gguf-py/gguf/constants.py. */
#include "libcommon/merge/gguf_meta.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/token/tokenizer.h"

static void put_number(struct gguf_writer *w, const char *arch, const char *key, uint32_t v)
{
    char *full = mem_printf("%s.%s", arch, key);
    gguf_put_u32(w, full, v);
    free(full);
}

static void put_real(struct gguf_writer *w, const char *arch, const char *key, double v)
{
    char *full = mem_printf("%s.%s", arch, key);
    gguf_put_f32(w, full, (float)v);
    free(full);
}

static void put_dimensions(const struct model *m, struct gguf_writer *w)
{
    const struct model_config *c = &m->cfg;
    const char *arch = m->arch->gguf_name;
    const struct {
        const char *key;
        int v;
    } number[] = {{"context_length", c->max_pos}, {"embedding_length", c->C},
                  {"block_count", c->L},          {"feed_forward_length", c->F},
                  {"attention.head_count", c->H}, {"attention.head_count_kv", c->K},
                  {"attention.key_length", c->D}, {"attention.value_length", c->D},
                  {"rope.dimension_count", c->D}, {"vocab_size", c->V}};
    for (size_t i = 0; i < sizeof number / sizeof *number; i++)
        put_number(w, arch, number[i].key, (uint32_t)number[i].v);
    if (c->window) put_number(w, arch, "attention.sliding_window", (uint32_t)c->window);
    put_real(w, arch, "rope.freq_base", c->rope_theta);
    put_real(w, arch, "attention.layer_norm_rms_epsilon", c->norm_eps);
    if (c->rope_scaling.type != ROPE_LINEAR) return;
    char *type = mem_printf("%s.rope.scaling.type", arch);
    gguf_put_str(w, type, STRZ("linear"));
    free(type);
    put_real(w, arch, "rope.scaling.factor", c->rope_scaling.factor);
}

/* Rows of biases would have to be re-ordered too, which no reader of the architecture expects. */
static int check_biases(const struct model *m, struct err *e)
{
    for (int i = 0; i < m->n_site; i++)
        if (m->arch->gguf_rotated_rows && m->site[i].rotated && m->site[i].bias)
            return err_set(e, E_VERSION, "%s: %s has a bias, which GGUF files of architecture %s do not have", m->path,
                           m->site[i].path, m->arch->gguf_name);
    return 0;
}

/* GGUF's own rules for these two are others than transformers' (model/rope.c). */
static int check_rope(const struct model *m, struct err *e)
{
    const enum rope_type type = m->cfg.rope_scaling.type;
    if (type != ROPE_YARN && type != ROPE_LONGROPE) return 0;
    err_set(e, E_VERSION, "%s: rotary scaling of type %s is not written into GGUF files", m->path,
            type == ROPE_YARN ? "yarn" : "longrope");
    return err_hint(e, "--format hf keeps it");
}

int gguf_meta_put(const struct model *m, struct gguf_writer *w, struct err *e)
{
    if (check_biases(m, e) || check_rope(m, e)) return -e->id;
    struct tokenizer *t = tokenizer_load(m->path, e);
    if (!t) return -e->id;
    char *name = model_card_name(m->name);
    gguf_put_str(w, "general.architecture", STRZ(m->arch->gguf_name));
    gguf_put_str(w, "general.type", STRZ("model"));
    gguf_put_str(w, "general.name", STRZ(name));
    gguf_put_u32(w, "general.quantization_version", 2);
    put_dimensions(m, w);
    int rc = tokenizer_put_gguf(t, (uint32_t)m->cfg.V, w, e);
    if (rc) err_prefix(e, "%s: ", m->path);
    free(name);
    tokenizer_free(t);
    return rc;
}

float *gguf_meta_rope_freqs(const struct model *m)
{
    const struct model_config *c = &m->cfg;
    if (c->rope_scaling.type != ROPE_LLAMA3) return NULL;
    float *f = mem_alloc((size_t)c->D / 2, sizeof *f);
    for (int j = 0; j < c->D / 2; j++) f[j] = (float)(pow(c->rope_theta, -2.0 * j / c->D) / m->inv_freq[j]);
    return f;
}
