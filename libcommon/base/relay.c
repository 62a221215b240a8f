/* relay: a ring of places under one lock. head: the oldest job not finished, next: the first not begun, tail: the next
 * to be given; head <= next <= tail <= head + places. A job is short against the lock (a frame, a batch of rows). */
#include "libcommon/base/relay.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "kernels/threads.h"
#include "libcommon/base/mem.h"

enum { WORKERS_MAX = RELAY_PLACES_MAX };

struct relay {
    pthread_mutex_t lock;
    pthread_cond_t begun, ended; /* there is a job; a place is free */
    struct relay_calls calls;
    void *ctx;
    int places, n_workers;
    uint64_t head, next, tail;
    bool finishing, quit;
    struct err failed; /* of the first job in order */
    struct {
        bool done;
        struct err e;
    } * job; /* [places] */
    pthread_t worker[WORKERS_MAX];
};

/* Finish what is done, in order, unless another thread is at it: that one will see this job too. Locked on entry and
 * exit. */
static void finish(struct relay *r)
{
    while (!r->finishing && r->head < r->next && r->job[r->head % (uint64_t)r->places].done) {
        int i = (int)(r->head % (uint64_t)r->places);
        bool failed = r->failed.id != 0;
        r->finishing = true;
        pthread_mutex_unlock(&r->lock);
        if (!failed && !r->job[i].e.id && r->calls.finish) r->calls.finish(r->ctx, i, &r->job[i].e);
        pthread_mutex_lock(&r->lock);
        if (!failed && r->job[i].e.id) r->failed = r->job[i].e;
        r->finishing = false;
        r->job[i].done = false;
        r->head++;
        pthread_cond_broadcast(&r->ended);
    }
}

/* Do the next job. Locked on entry and exit. */
static void run(struct relay *r)
{
    int i = (int)(r->next++ % (uint64_t)r->places);
    bool failed = r->failed.id != 0;
    r->job[i].e.id = 0;
    pthread_mutex_unlock(&r->lock);
    if (!failed) r->calls.work(r->ctx, i, &r->job[i].e);
    pthread_mutex_lock(&r->lock);
    r->job[i].done = true;
    finish(r);
}

static void *worker(void *arg)
{
    struct relay *r = arg;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        while (r->next == r->tail && !r->quit) pthread_cond_wait(&r->begun, &r->lock);
        if (r->quit) break;
        run(r);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

struct relay *relay_new(int threads, int places, struct relay_calls calls, void *ctx)
{
    struct relay *r = mem_alloc(1, sizeof *r);
    r->calls = calls;
    r->ctx = ctx;
    r->places = places < 1 ? 1 : places > RELAY_PLACES_MAX ? RELAY_PLACES_MAX : places;
    r->job = mem_alloc((size_t)r->places, sizeof *r->job);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->begun, NULL);
    pthread_cond_init(&r->ended, NULL);
    /* More threads than places would only wait; and with those that could be had the work gets done too. */
    while (r->n_workers < threads - 1 && r->n_workers < r->places &&
           pthread_create(&r->worker[r->n_workers], NULL, worker, r) == 0)
        r->n_workers++;
    return r;
}

static int report(struct relay *r, struct err *e)
{
    if (!r->failed.id) return 0;
    if (!e->id) *e = r->failed;
    return -r->failed.id;
}

/* Locked: help, or wait if all that is left is in other hands. */
static void help(struct relay *r)
{
    if (r->next < r->tail)
        run(r);
    else
        pthread_cond_wait(&r->ended, &r->lock);
}

int relay_place(struct relay *r, struct err *e)
{
    pthread_mutex_lock(&r->lock);
    while (r->tail - r->head == (uint64_t)r->places) help(r);
    int rc = report(r, e);
    int place = (int)(r->tail % (uint64_t)r->places);
    pthread_mutex_unlock(&r->lock);
    return rc < 0 ? rc : place;
}

void relay_go(struct relay *r)
{
    pthread_mutex_lock(&r->lock);
    r->tail++;
    if (r->n_workers == 0)
        run(r);
    else
        pthread_cond_signal(&r->begun);
    pthread_mutex_unlock(&r->lock);
}

int relay_drain(struct relay *r, struct err *e)
{
    pthread_mutex_lock(&r->lock);
    while (r->head < r->tail) help(r);
    int rc = report(r, e);
    pthread_mutex_unlock(&r->lock);
    return rc;
}

void relay_free(struct relay *r)
{
    if (!r) return;
    pthread_mutex_lock(&r->lock);
    r->quit = true;
    pthread_cond_broadcast(&r->begun);
    pthread_mutex_unlock(&r->lock);
    for (int i = 0; i < r->n_workers; i++) pthread_join(r->worker[i], NULL);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->begun);
    pthread_cond_destroy(&r->ended);
    free(r->job);
    free(r);
}

int relay_threads(int64_t asked)
{
    if (asked <= 0) return cpu_threads();
    return asked > RELAY_PLACES_MAX ? RELAY_PLACES_MAX : (int)asked;
}
