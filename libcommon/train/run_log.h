/* run_log: the metric records of a run, in memory, in RUN/metrics.mpz and on stdout. A checkpoint carries them, so that
 * a resumed run writes the same stream as one that was never interrupted. No times in it: they would differ. */
#ifndef PEFT_TRAIN_RUN_LOG_H
#define PEFT_TRAIN_RUN_LOG_H
#include <jansson.h>
#include "libcommon/stream/stream.h"

struct run_row {
    char *event;
    int64_t step;
    double epoch;
    int n;
    size_t cap;
    struct {
        char *key;
        double value;
    } * v; /* [n] */
};
struct run_log {
    struct run_row *row;
    size_t n, cap;
    struct stream_writer *file, *out; /* NULL: none (any more) */
};

/* valid until the next add */
struct run_row *run_log_add(struct run_log *g, const char *event, int64_t step, double epoch);
void run_row_put(struct run_row *r, const char *key, double value);
/* Write row i to the streams. A reader of stdout that went away is warned of once and costs nothing else. */
int run_log_emit(struct run_log *g, size_t i, struct err *e);
json_t *run_log_json(const struct run_log *g);
int run_log_read(struct run_log *g, const json_t *in, struct err *e);
void run_log_fini(struct run_log *g);
#endif
