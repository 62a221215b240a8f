/* sched_cosine.c: half a cosine from the base rate to 0 after the warm-up. */
#include <math.h>
#include "libcommon/train/schedule.h"

static double factor(long step, long warmup, long total)
{
    const double pi = 3.14159265358979323846;
    if (step < warmup) return schedule_warmup(step, warmup);
    double progress = (double)(step - warmup) / (double)(total - warmup > 1 ? total - warmup : 1);
    double f = 0.5 * (1 + cos(pi * progress));
    return f > 0 ? f : 0;
}
const struct schedule schedule_cosine = {"cosine", factor};
