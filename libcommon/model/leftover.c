/* leftover.c: tensors of a model file that no part of the model is made of. A model with a part that is not computed is
 * another model, so they are refused by name, but for those that hold what is known without them. */
#include <stdlib.h>
#include <string.h>
#include "libcommon/format/gguf_names.h"
#include "libcommon/model/model_internal.h"

/* Ends of names, as the file has them. */
static const struct {
    enum weights_kind kind;
    const char *end, *why;
    enum rope_type rope; /* the scaling that it is known with; ROPE_PLAIN: any */
} known[] = {
    {WEIGHTS_HF, ".rotary_emb.inv_freq", "a buffer that older versions of transformers saved; follows from rope_theta",
     ROPE_PLAIN},
    {WEIGHTS_GGUF, ".attn_rot_embd.weight", "the same, of early converters", ROPE_PLAIN},
    {WEIGHTS_GGUF, "rope_freqs.weight", "read where the rotary frequencies are made", ROPE_PLAIN},
    {WEIGHTS_GGUF, "rope_factors_short.weight", "read with the configuration", ROPE_LONGROPE},
    {WEIGHTS_GGUF, "rope_factors_long.weight", "the same", ROPE_LONGROPE},
};

static bool is_known(const struct model *m, const char *name)
{
    const enum weights_kind kind = m->weights->kind;
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t k = strlen(known[i].end);
        if (known[i].rope && known[i].rope != m->cfg.rope_scaling.type) continue;
        if (known[i].kind == kind && n >= k && !strcmp(name + n - k, known[i].end)) return true;
    }
    return false;
}

int model_leftover(const struct model *m, struct err *e)
{
    const struct weights *w = m->weights;
    const struct tensor *first = NULL;
    int n = 0;
    for (int i = 0; i < w->n; i++) {
        if (w->t[i].used || is_known(m, w->t[i].name)) continue;
        if (!n++) first = &w->t[i];
    }
    if (!n) return 0;
    char gguf[GGUF_NAME_MAX];
    bool renamed = w->kind == WEIGHTS_GGUF && gguf_name_from_hf(m->arch->names, first->name, gguf);
    err_set(e, E_ARCH, "%s: tensor %s belongs to no part of architecture %s", w->path,
            err_quotez(renamed ? gguf : first->name), m->cfg.arch);
    if (n > 1) err_hint(e, "and %d more", n - 1);
    return err_hint(e, "a model with parts that are not computed would give other results");
}
