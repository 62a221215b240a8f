/* schedule.c: the registry of schedules. */
#include "libcommon/train/schedule.h"
#include <stddef.h>

#define SCHEDULE(name) extern const struct schedule schedule_##name;
#include "libcommon/train/schedules.def"
#undef SCHEDULE
const struct schedule *const schedules[] = {
#define SCHEDULE(name) &schedule_##name,
#include "libcommon/train/schedules.def"
#undef SCHEDULE
    NULL};

const char schedule_names[] =
#define SCHEDULE(name) "|" #name
#include "libcommon/train/schedules.def"
#undef SCHEDULE
    ;

double schedule_warmup(long step, long warmup) { return (double)step / (double)(warmup > 1 ? warmup : 1); }
