/* rope.c: the rotary frequencies that all architectures share. Source: transformers modeling_rope_utils. */
#include <math.h>
#include <string.h>
#include "libcommon/model/config_table.h"
#include "libcommon/model/model_internal.h"

static int bad(const struct config_file *f, const char *type, const char *what, struct err *e)
{
    return err_set(e, config_malformed(f), "%s: %srotary scaling of type %s: %s", f->path, f->place, type, what);
}

int rope_configure(struct model_config *c, const struct config_file *f, const struct config_raw *r, struct err *e)
{
    /* GGUF takes a factor without a type for linear, as llama.cpp does; config.json has to say what it is for. */
    bool gguf = f->kind == WEIGHTS_GGUF;
    const char *type = *r->rope_type ? r->rope_type : gguf ? "linear" : "default";
    if (!(r->rope_theta >= 1 && r->rope_theta < 1e30))
        return err_set(e, config_malformed(f), "%s: %s%s is %.9g, expected 1 or more", f->path, f->place,
                       gguf ? "rope.freq_base" : "rope_theta", r->rope_theta);
    c->rope_theta = r->rope_theta;
    if (!*r->rope_type && !strcmp(type, "default") && !isnan(r->factor) && r->factor != 1)
        return bad(f, "\"\"", "a factor without rope_type", e);
    if (!strcmp(type, "default") || !strcmp(type, "none")) return 0;
    bool llama3 = !strcmp(type, "llama3");
    if (gguf && (isnan(r->factor) || !r->factor)) return 0;
    if (isnan(r->factor)) return bad(f, type, "factor is missing", e);
    if (!(r->factor > 0 && r->factor < 1e9)) return bad(f, type, "factor is not positive", e);
    if (llama3 && !(r->low_freq_factor > 0 && r->high_freq_factor > r->low_freq_factor))
        return bad(f, type, "low_freq_factor and high_freq_factor are missing or not in order", e);
    if (llama3 && !(r->original_max_pos >= 1 && r->original_max_pos < 1 << 28))
        return bad(f, type, "original_max_position_embeddings is missing or out of range", e);
    if (!llama3 && r->factor == 1) return 0;
    c->rope_scaling.factor = r->factor;
    if (!llama3) return 0;
    c->rope_scaling.low_freq_factor = r->low_freq_factor;
    c->rope_scaling.high_freq_factor = r->high_freq_factor;
    c->rope_scaling.original_max_pos = (int)r->original_max_pos;
    return 0;
}

void rope_frequencies(const struct model_config *c, float *inv_freq)
{
    const double pi = 3.14159265358979323846;
    for (int j = 0; j < c->D / 2; j++) {
        double f = pow(c->rope_theta, -2.0 * j / c->D);
        double factor = c->rope_scaling.factor;
        if (factor && !c->rope_scaling.original_max_pos) {
            f /= factor;     /* rope_type "linear" */
        } else if (factor) { /* rope_type "llama3" */
            double lo = c->rope_scaling.low_freq_factor, hi = c->rope_scaling.high_freq_factor;
            double len = 2 * pi / f, ctx = c->rope_scaling.original_max_pos;
            double smooth = (ctx / len - lo) / (hi - lo);
            if (len > ctx / lo)
                f /= factor;
            else if (len > ctx / hi)
                f = (1 - smooth) * f / factor + smooth * f;
        }
        inv_freq[j] = (float)f;
    }
}
