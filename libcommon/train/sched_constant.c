/* sched_constant.c: the base rate after the warm-up (transformers' constant_with_warmup). */
#include "libcommon/train/schedule.h"

static double factor(long step, long warmup, long total)
{
    (void)total;
    return step < warmup ? schedule_warmup(step, warmup) : 1;
}
const struct schedule schedule_constant = {"constant", factor};
