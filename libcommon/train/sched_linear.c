/* sched_linear.c: linear decay from the base rate to 0 after the warm-up. */
#include "libcommon/train/schedule.h"

static double factor(long step, long warmup, long total)
{
    if (step < warmup) return schedule_warmup(step, warmup);
    double left = (double)(total - step) / (double)(total - warmup > 1 ? total - warmup : 1);
    return left > 0 ? left : 0;
}
const struct schedule schedule_linear = {"linear", factor};
