/* rope.c: the rotary frequencies that all architectures share, and their scaling. Sources: of a Hugging Face directory
 * transformers 4.57, modeling_rope_utils.py; of a GGUF file llama.cpp (llama-context.cpp, rope_yarn in ggml). Where
 * they differ, each file means what its own program computes:
 * - the factor on cosines and sines: yarn's follows from the factor in both; rope.scaling.attn_factor of a GGUF file
 *   multiplies that of any type, attention_factor of config.json stands in its place;
 * - longrope's choice between short and long factors: transformers goes by the longest row of a batch, llama.cpp by the
 *   size of its context. Here each row goes by its own length, which is what transformers does with one row at a time;
 * - transformers 5 reads keys that 4 does not: original_max_position_embeddings at the other place (see original()). A
 *   file with rope_parameters means 5, one with rope_scaling means 4, with a warning where 5 would see another model.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "libcommon/base/msg.h"
#include "libcommon/model/config_table.h"
#include "libcommon/model/model_internal.h"

static const double pi = 3.14159265358979323846;

static int bad(const struct config_file *f, const char *type, const char *what, struct err *e)
{
    return err_set(e, config_malformed(f), "%s: %srotary scaling of type %s: %s", f->path, f->place, type, what);
}

/* ---- the length before the scaling, and the factor ------------------------------------------- */

/* transformers 4 reads original_max_position_embeddings in rope_scaling for llama3 and yarn, beside it for longrope;
 * 5 reads either, first the one beside it. */
static double original(const struct config_file *f, const struct config_raw *r, enum rope_type type)
{
    const double inside = r->original_max_pos, beside = r->original_outside;
    if (f->kind == WEIGHTS_GGUF) return isnan(inside) ? r->max_pos : inside;
    const double first = type == ROPE_LONGROPE ? beside : inside, other = type == ROPE_LONGROPE ? inside : beside;
    if (!isnan(first)) return first;
    if (r->transformers5 || type == ROPE_LLAMA3) return isnan(other) && type != ROPE_LLAMA3 ? r->max_pos : other;
    if (!isnan(other) && other != r->max_pos)
        msg_warn(
            "%s: %soriginal_max_position_embeddings %.9g stands %s rope_scaling, where transformers 4 does not look "
            "for it: max_position_embeddings (%.9g) counts, as there; transformers 5 computes another model",
            f->path, f->place, other, type == ROPE_LONGROPE ? "in" : "beside", r->max_pos);
    return r->max_pos;
}

/* longrope's factor makes nothing but its attention_factor. */
static double longrope_factor(const struct config_raw *r, double from)
{
    const double ratio = r->max_pos / from;
    if (r->transformers5) return isnan(r->factor) ? ratio : r->factor;
    return isnan(r->original_outside) ? r->factor : ratio;
}

/* ---- checks ---------------------------------------------------------------------------------- */

static int check_pairs(const struct config_file *f, const float *factor, int n, int half, const char *name,
                       struct err *e)
{
    char what[96];
    if (n != half) {
        snprintf(what, sizeof what, "%s has %d values, expected %d (half of the head width)", name, n, half);
        return bad(f, "longrope", what, e);
    }
    for (int j = 0; j < n; j++)
        if (!(factor[j] > 0 && factor[j] < 1e9f)) {
            snprintf(what, sizeof what, "%s[%d] is %.9g, expected a positive number", name, j, (double)factor[j]);
            return bad(f, "longrope", what, e);
        }
    return 0;
}

static double magnitude(double factor, double mscale) { return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1; }

static bool given(double x) { return !isnan(x) && x != 0; } /* transformers takes 0 for the default */

/* The pairs between which yarn goes over from extrapolation to interpolation. */
static int yarn(struct model_config *c, const struct config_file *f, const struct config_raw *r, struct err *e)
{
    struct rope_scaling *s = &c->rope_scaling;
    const bool gguf = f->kind == WEIGHTS_GGUF;
    s->beta_fast = given(r->beta_fast) ? r->beta_fast : 32;
    s->beta_slow = given(r->beta_slow) ? r->beta_slow : 1;
    s->truncate = !(r->truncate == 0);
    if (!(s->beta_fast > 0 && s->beta_slow > 0 && s->beta_fast < 1e9 && s->beta_slow < 1e9))
        return bad(f, "yarn", "beta_fast and beta_slow are not positive", e);
    if (s->original_max_pos < 1 || r->rope_theta <= 1)
        return bad(f, "yarn", "the original length or theta is 1 or less", e);
    double at[2];
    for (int i = 0; i < 2; i++)
        at[i] = c->D * log(s->original_max_pos / ((i ? s->beta_slow : s->beta_fast) * 2 * pi)) /
                (2 * log(r->rope_theta));
    s->ramp_low = fmax(s->truncate ? floor(at[0]) : at[0], 0);
    s->ramp_high = fmin(s->truncate ? ceil(at[1]) : at[1], c->D - 1);
    if (s->ramp_high == s->ramp_low || (gguf && s->ramp_high < s->ramp_low)) s->ramp_high = s->ramp_low + 0.001;
    const bool both = given(r->mscale) && given(r->mscale_all_dim);
    s->attention_factor = both ? magnitude(s->factor, r->mscale) / magnitude(s->factor, r->mscale_all_dim)
                               : magnitude(s->factor, 1);
    return 0;
}

static int longrope(struct model_config *c, const struct config_file *f, const struct config_raw *r, struct err *e)
{
    struct rope_scaling *s = &c->rope_scaling;
    int rc = check_pairs(f, r->short_factor, r->n_short, c->D / 2, "short_factor", e);
    if (!rc) rc = check_pairs(f, r->long_factor, r->n_long, c->D / 2, "long_factor", e);
    if (rc) return rc;
    memcpy(s->short_factor, r->short_factor, sizeof s->short_factor);
    memcpy(s->long_factor, r->long_factor, sizeof s->long_factor);
    if (f->kind == WEIGHTS_GGUF)
        return !given(r->factor) || r->factor == 1
                   ? 0
                   : err_set(e, E_ARCH, "%s: %srope.scaling.factor is %.9g, which is not supported with type longrope",
                             f->path, f->prefix, r->factor);
    if (!isnan(r->attention_factor)) return 0; /* the factor does not matter then */
    const double factor = longrope_factor(r, s->original_max_pos);
    if (isnan(factor)) return bad(f, "longrope", "factor is missing", e);
    if (!(factor > 0 && factor < 1e9)) return bad(f, "longrope", "factor is not positive", e);
    if (factor <= 1) return 0;
    if (s->original_max_pos < 2) return bad(f, "longrope", "original_max_position_embeddings is less than 2", e);
    s->attention_factor = sqrt(1 + log(factor) / log(s->original_max_pos));
    return 0;
}

static int llama3(struct model_config *c, const struct config_file *f, const struct config_raw *r, struct err *e)
{
    if (!(r->low_freq_factor > 0 && r->high_freq_factor > r->low_freq_factor))
        return bad(f, "llama3", "low_freq_factor and high_freq_factor are missing or not in order", e);
    c->rope_scaling.low_freq_factor = r->low_freq_factor;
    c->rope_scaling.high_freq_factor = r->high_freq_factor;
    return 0;
}

static enum rope_type type_of(const char *name)
{
    static const char *const names[] = {"", "linear", "llama3", "yarn", "longrope"};
    for (int i = ROPE_LINEAR; i <= ROPE_LONGROPE; i++)
        if (!strcmp(name, names[i])) return (enum rope_type)i;
    return ROPE_PLAIN;
}

/* What the types' own rules leave: a factor that each but longrope has to have. *type becomes ROPE_PLAIN where there is
 * nothing to scale. */
static int check_factor(const struct config_file *f, const struct config_raw *r, enum rope_type *type, const char *name,
                        struct err *e)
{
    const bool gguf = f->kind == WEIGHTS_GGUF;
    if (!*r->rope_type && *type == ROPE_PLAIN && !isnan(r->factor) && r->factor != 1)
        return bad(f, "\"\"", "a factor without rope_type", e);
    if (*type == ROPE_PLAIN || *type == ROPE_LONGROPE) return 0;
    if (gguf && !given(r->factor) && *type == ROPE_LINEAR) return *type = ROPE_PLAIN, 0;
    if (!gguf && isnan(r->factor)) return bad(f, name, "factor is missing", e);
    if (given(r->factor) && !(r->factor > 0 && r->factor < 1e9)) return bad(f, name, "factor is not positive", e);
    if (!gguf && r->factor == 0) return bad(f, name, "factor is not positive", e);
    if (*type == ROPE_LINEAR && r->factor == 1) *type = ROPE_PLAIN;
    return 0;
}

int rope_configure(struct model_config *c, const struct config_file *f, const struct config_raw *r, struct err *e)
{
    struct rope_scaling *s = &c->rope_scaling;
    /* GGUF takes a factor without a type for linear, as llama.cpp does; config.json has to say what it is for. */
    const bool gguf = f->kind == WEIGHTS_GGUF;
    const char *name = *r->rope_type ? r->rope_type : gguf ? "linear" : "default";
    enum rope_type type = type_of(name);
    if (!(r->rope_theta >= 1 && r->rope_theta < 1e30))
        return err_set(e, config_malformed(f), "%s: %s%s is %.9g, expected 1 or more", f->path, f->place,
                       gguf ? "rope.freq_base" : "rope_theta", r->rope_theta);
    c->rope_theta = r->rope_theta;
    s->attention_factor = 1;
    if (!gguf && !isnan(r->original_outside) && !isnan(r->original_max_pos) &&
        r->original_outside != r->original_max_pos)
        return err_set(e, E_MODEL, "%s: %soriginal_max_position_embeddings is %.9g in the scaling and %.9g beside it",
                       f->path, f->place, r->original_max_pos, r->original_outside);
    int rc = check_factor(f, r, &type, name, e);
    if (rc) return rc;
    s->type = type;
    if (gguf && r->ext_factor >= 0 && r->ext_factor != (type == ROPE_YARN)) /* below 0: not given */
        return err_set(e, E_ARCH, "%s: %srope.scaling.yarn_ext_factor is %.9g, which is not supported; type %s has %d",
                       f->path, f->prefix, r->ext_factor, name, type == ROPE_YARN);
    if (type == ROPE_LINEAR || type == ROPE_LLAMA3 || type == ROPE_YARN) s->factor = given(r->factor) ? r->factor : 1;
    if (type == ROPE_LLAMA3 || type == ROPE_YARN || type == ROPE_LONGROPE) {
        const double from = original(f, r, type);
        if (!(from >= 1 && from < 1 << 28))
            return bad(f, name, "original_max_position_embeddings is missing or out of range", e);
        s->original_max_pos = (int)from;
    }
    if (type == ROPE_LLAMA3) rc = llama3(c, f, r, e);
    if (type == ROPE_YARN) rc = yarn(c, f, r, e);
    if (type == ROPE_LONGROPE) rc = longrope(c, f, r, e);
    if (rc) return rc;
    const bool reads = gguf || type == ROPE_YARN || type == ROPE_LONGROPE;
    if (!reads || isnan(r->attention_factor)) return 0;
    if (!(r->attention_factor > 0 && r->attention_factor < 1e3))
        return err_set(e, config_malformed(f), "%s: %s%s%s is %.9g, expected a positive number", f->path, f->place,
                       gguf ? f->prefix : "", gguf ? "rope.scaling.attn_factor" : "attention_factor",
                       r->attention_factor);
    s->attention_factor = gguf ? s->attention_factor * r->attention_factor : r->attention_factor;
    return 0;
}

/* ---- frequencies ----------------------------------------------------------------------------- */

static double llama3_scaled(const struct rope_scaling *s, double f)
{
    const double lo = s->low_freq_factor, hi = s->high_freq_factor, len = 2 * pi / f, ctx = s->original_max_pos;
    const double smooth = (ctx / len - lo) / (hi - lo);
    if (len > ctx / lo) return f / s->factor;
    if (len > ctx / hi) return (1 - smooth) * f / s->factor + smooth * f;
    return f;
}

static double yarn_scaled(const struct rope_scaling *s, double f, int j)
{
    const double ramp = fmin(fmax((j - s->ramp_low) / (s->ramp_high - s->ramp_low), 0), 1);
    return f / s->factor * ramp + f * (1 - ramp);
}

void rope_frequencies(const struct model_config *c, bool long_row, float *inv_freq)
{
    const struct rope_scaling *s = &c->rope_scaling;
    for (int j = 0; j < c->D / 2; j++) {
        double f = pow(c->rope_theta, -2.0 * j / c->D);
        switch (s->type) {
        case ROPE_PLAIN:
            break;
        case ROPE_LINEAR:
            f /= s->factor;
            break;
        case ROPE_LLAMA3:
            f = llama3_scaled(s, f);
            break;
        case ROPE_YARN:
            f = yarn_scaled(s, f, j);
            break;
        case ROPE_LONGROPE:
            f /= (double)(long_row ? s->long_factor : s->short_factor)[j];
            break;
        }
        inv_freq[j] = (float)f;
    }
}
