/* telemetry: how fast a run goes and what it takes of the machine, in RUN/telemetry.mpz. Times differ from run to run,
 * so nothing else has them: not the metrics, no checkpoint, not the manifest. A resumed run begins the file anew, with
 * its own part. A write that fails costs a warning and the rest of the file, not the run. */
#ifndef PEFT_TRAIN_TELEMETRY_H
#define PEFT_TRAIN_TELEMETRY_H
#include "libcommon/stream/stream.h"

struct trainer;
struct telemetry_sum {
    double seconds; /* in steps: without evaluation and checkpoints */
    int64_t steps;
    uint64_t tokens, labels;
};
struct telemetry {
    struct stream_writer *file; /* NULL: none (any more) */
    double start, eval_seconds;
    struct telemetry_sum all, last; /* since the start, since the last record */
};
/* Seconds of a clock that only goes on. */
double telemetry_clock(void);
/* Begin RUN/telemetry.mpz and the clock. */
int telemetry_open(struct trainer *t, const struct stream_reader *in, struct err *e);
void telemetry_step(struct trainer *t, double seconds); /* after a step */
/* A record, "train" or "end": tokens_per_second, trained_tokens_per_second and seconds_per_step (since the last record;
 * of "end": in all), eval_fraction (of the time so far) and peak_rss_bytes. */
void telemetry_put(struct trainer *t, const char *event);
void telemetry_close(struct trainer *t, const struct err *why); /* why: of a run that failed, or NULL */
#endif
