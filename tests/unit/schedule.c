/* schedule: the choices are the registry, and what each makes of a run of ten steps, two of them to warm up
 * (transformers' get_scheduler). */
#include "libcommon/train/schedule.h"
#include <math.h>
#include "tests/test.h"

static void choices(void)
{
    char all[128] = "";
    for (int i = 0; schedules[i]; i++) strcat(strcat(all, i ? "|" : ""), schedules[i]->name);
    CHECK_STR(SCHEDULE_CHOICES, all);
}

static void factors(void)
{
    for (int i = 0; schedules[i]; i++) {
        const struct schedule *s = schedules[i];
        CHECK(s->factor(0, 2, 10) == 0 && s->factor(1, 2, 10) == 0.5 && s->factor(2, 2, 10) == 1);
        const double middle = s->factor(6, 2, 10), last = s->factor(9, 2, 10);
        if (!strcmp(s->name, "linear")) CHECK(middle == 0.5 && last == 0.125);
        if (!strcmp(s->name, "cosine")) CHECK(fabs(middle - 0.5) < 1e-12 && fabs(last - 0.03806023374435663) < 1e-12);
        if (!strcmp(s->name, "constant")) CHECK(middle == 1 && last == 1);
    }
}

int main(void)
{
    RUN(choices, "schedule/choices");
    RUN(factors, "schedule/factors");
    return test_failed;
}
