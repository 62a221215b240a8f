/* schedule: the learning rate of each step; one file per schedule, listed in schedules.def. Same formulas as
 * transformers' optimization.get_scheduler (lambda of the step index, so a warm-up begins at 0). */
#ifndef PEFT_TRAIN_SCHEDULE_H
#define PEFT_TRAIN_SCHEDULE_H

/* Factor on the base rate at step (0-based) of total, the first `warmup` of which warm up. */
struct schedule {
    const char *name;
    double (*factor)(long step, long warmup, long total);
};
extern const struct schedule *const schedules[]; /* ended by NULL; order of SCHEDULE_CHOICES */
extern const char schedule_names[];              /* "|linear|cosine|..." */
#define SCHEDULE_CHOICES (schedule_names + 1)
double schedule_warmup(long step, long warmup); /* step / max(1, warmup), shared by all */
#endif
