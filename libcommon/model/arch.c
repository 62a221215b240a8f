/* arch.c: which architecture a model file is of, and the rotary frequencies that all of them share. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/format/gguf.h"
#include "libcommon/model/model_internal.h"

/* Is the word s in the space-separated list? */
static bool word_in(const char *list, struct str s)
{
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, " ");
        if (n == s.n && !memcmp(p, s.p, n)) return true;
        p += n + (p[n] == ' ');
    }
    return false;
}

static const struct arch *refuse(const struct weights *w, struct str name, struct err *e)
{
    struct buf known = {0};
    for (int i = 0; archs[i]; i++) buf_printf(&known, "%s%s", i ? ", " : "", archs[i]->hf_names);
    err_set(e, E_ARCH, "%s: architecture %s is not supported", w->path, err_quote(name.p, name.n));
    err_hint(e, "supported: %s", buf_str(&known));
    buf_fini(&known);
    return NULL;
}

const struct arch *arch_of(const struct weights *w, struct err *e)
{
    struct str name = {0};
    if (w->kind == WEIGHTS_GGUF) {
        int rc = gguf_get_str(w->gguf, "general.architecture", &name, e);
        if (rc < 0) return NULL;
        if (!rc) return err_set(e, E_GGUF, "%s: key general.architecture is missing", w->path), NULL;
        for (int i = 0; archs[i]; i++)
            if (name.n == strlen(archs[i]->gguf_name) && !memcmp(name.p, archs[i]->gguf_name, name.n)) return archs[i];
        return refuse(w, name, e);
    }
    json_t *cfg = json_loads(w->config_json, JSON_DECODE_INT_AS_REAL, NULL);
    json_t *list = json_object_get(cfg, "architectures");
    const char *z = json_string_value(json_array_get(list, 0));
    const struct arch *found = NULL;
    if (!z) {
        err_set(e, E_MODEL, "%s: config.json has no \"architectures\"", w->path);
    } else {
        name = STRZ(z);
        for (int i = 0; archs[i] && !found; i++)
            if (word_in(archs[i]->hf_names, name)) found = archs[i];
        if (!found) refuse(w, name, e);
    }
    json_decref(cfg);
    return found;
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
