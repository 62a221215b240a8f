/* prune: see prune.h. */
#include "libcommon/merge/prune.h"

#include <math.h>
#include <stdlib.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/rng.h"

static int falling(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

void prune_small(double *x, long n, double density)
{
    const long keep = (long)(density * (double)n);
    double *size = mem_alloc((size_t)n, sizeof *size);
    for (long i = 0; i < n; i++) size[i] = fabs(x[i]);
    qsort(size, (size_t)n, sizeof *size, falling);
    const double least = keep ? size[keep - 1] : INFINITY;
    long equal = 0; /* of the least, that stay */
    while (equal < keep && size[keep - 1 - equal] == least) equal++;
    for (long i = 0; i < n; i++) {
        if (fabs(x[i]) > least || (fabs(x[i]) == least && equal-- > 0)) continue;
        x[i] = 0;
    }
    free(size);
}

void prune_random(double *x, long n, double density, uint64_t seed)
{
    for (long i = 0; i < n; i++) x[i] = rng_unit(seed, RNG_PRUNE, (uint64_t)i) < density ? x[i] / density : 0;
}
