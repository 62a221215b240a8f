/* relay: jobs that run on several threads and end in the order they were given. Each job has two halves: `work`, which
 * any thread may do beside others', and `finish`, which is called for one job at a time, in order, whoever did the
 * work. So what comes out does not depend on the number of threads, and the error reported is the one of the first job
 * that failed. The ring has a fixed number of places; who wants one when all are taken does a job himself instead of
 * waiting. No thread spins.
 *
 *   while ((i = relay_place(r, e)) >= 0 && fill(&job[i])) relay_go(r);
 *   rc = relay_drain(r, e); */
#ifndef PEFT_BASE_RELAY_H
#define PEFT_BASE_RELAY_H
#include <stdint.h>
#include "libcommon/base/err.h"

enum { RELAY_PLACES_MAX = 64 };
struct relay;
struct
    /* place: 0 to places - 1; ctx as given. 0, or -id with *e filled. After a failure no further job is begun or
       finished. */
    relay_calls {
    int (*work)(void *ctx, int place, struct err *e);   /* sees nothing but its own place change */
    int (*finish)(void *ctx, int place, struct err *e); /* may be NULL */
};
/* threads: with the caller's; 1: relay_go does the whole job at once. */
struct relay *relay_new(int threads, int places, struct relay_calls calls, void *ctx);
/* A free place to fill, the same one until relay_go; -id when a job has failed. One thread at a time may call these
 * three. */
int relay_place(struct relay *r, struct err *e);
void relay_go(struct relay *r); /* the place is filled: begin */
/* Wait until all is finished: 0, or -id of the first job that failed (again at every later call). */
int relay_drain(struct relay *r, struct err *e);
void relay_free(struct relay *r); /* jobs not yet begun are dropped; NULL is fine */

/* What --threads means: the number asked for, or with 0 the number of processors that this process may use. */
int relay_threads(int64_t asked);
#endif
