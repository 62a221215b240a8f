/* sample.c: choosing the next token: greedy, or temperature with top-k and top-p (Holtzman et al. 2020). */
#include <math.h>
#include <stdlib.h>
#include "libcommon/base/rng.h"
#include "libcommon/data/rules.h"
#include "libcommon/eval/generate.h"

struct candidate {
    float logit;
    int32_t id;
};

static int by_logit(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

int32_t gen_sample(const struct gen_opts *o, const float *logits, int V, uint64_t row, uint32_t position)
{
    int32_t best = 0;
    for (int i = 1; i < V; i++)
        if (logits[i] > logits[best]) best = i;
    if (o->temperature <= 0) return best;

    struct candidate *c = mem_alloc((size_t)V, sizeof *c);
    for (int i = 0; i < V; i++) c[i] = (struct candidate){logits[i], i};
    qsort(c, (size_t)V, sizeof *c, by_logit);
    int n = o->top_k > 0 && o->top_k < V ? o->top_k : V;
    double sum = 0;
    for (int i = 0; i < n; i++) sum += exp(((double)c[i].logit - c[0].logit) / o->temperature);
    double kept = 0;
    int m = 0; /* smallest set whose probability reaches top_p */
    while (m < n && (m == 0 || kept < o->top_p * sum))
        kept += exp(((double)c[m++].logit - c[0].logit) / o->temperature);
    double u = rng_unit(o->seed, RNG_SAMPLE, data_uid(row, position)) * kept;
    int pick = 0;
    for (double acc = 0; pick < m - 1; pick++) {
        acc += exp(((double)c[pick].logit - c[0].logit) / o->temperature);
        if (u < acc) break;
    }
    int32_t id = c[pick].id;
    free(c);
    return id;
}
