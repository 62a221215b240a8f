/* combine_dirs: see combine_dirs.h. */
#include "libcommon/merge/combine_dirs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/num.h"

/* The directory, malloc'ed, and its weight. What exists under the whole word is a name with a colon in it. */
static char *split(const char *word, double *weight, struct err *e)
{
    const char *colon = strrchr(word, ':');
    *weight = 1;
    if (!colon || colon == word || file_exists(word)) return mem_dupz(word);
    if (!num_f64(colon + 1, strlen(colon + 1), weight) || !isfinite(*weight) || *weight == 0) {
        err_set(e, E_USAGE, "%s: the weight behind the colon is no number other than 0", err_quotez(word));
        return NULL;
    }
    return mem_dup(word, (size_t)(colon - word));
}

static int read_word(const char *word, const char *target, const struct model *m, struct lora_set *in, double *weight,
                     struct err *e)
{
    char *dir = split(word, weight, e);
    if (dir && file_is_same(dir, target))
        err_set(e, E_POLICY, "%s: is an input of this command, and is not replaced", target);
    else if (dir)
        lora_set_read(in, dir, m, e);
    free(dir);
    return -e->id;
}

int combine_dirs(const struct combine *c, const struct strlist *words, double factor, const char *target,
                 const struct model *m, struct lora_set *out, struct err *e)
{
    if (!words->n) {
        err_set(e, E_USAGE, "--combine: no adapters");
        return err_hint(e, "name them with their weights: peft-merge --combine linear -o NEW A:0.7 B:0.3");
    }
    struct lora_set *in = mem_alloc((size_t)words->n, sizeof *in);
    double *weight = mem_alloc((size_t)words->n, sizeof *weight);
    int rc = 0;
    for (int i = 0; i < words->n && !rc; i++) {
        rc = read_word(words->v[i], target, m, &in[i], &weight[i], e);
        weight[i] *= factor;
    }
    if (!rc) rc = combine(c, in, weight, words->n, out, e);
    for (int i = 0; i < words->n; i++) lora_set_fini(&in[i]);
    free(weight);
    free(in);
    return rc;
}
