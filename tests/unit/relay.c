/* relay: jobs end in order and once, whatever the threads; the first failure in order is the one told. */
#include "libcommon/base/relay.h"

#include <stdatomic.h>
#include <time.h>

#include "tests/test.h"

enum { PLACES = 4, JOBS = 3000 };
struct bench {
    int value[PLACES]; /* of the job in a place */
    int squared[PLACES];
    int bad_work, bad_finish; /* jobs that fail, or -1 */
    int ended[JOBS], n_ended;
    atomic_int finishing, together;
};

static int work(void *ctx, int place, struct err *e)
{
    struct bench *b = ctx;
    int v = b->value[place];
    if (v % 7 == 0) nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL); /* overtaken by others */
    if (v == b->bad_work || (b->bad_work >= 0 && v == b->bad_work + 1)) return err_set(e, E_ENCODING, "work %d", v);
    b->squared[place] = v * v;
    return 0;
}

static int finish(void *ctx, int place, struct err *e)
{
    struct bench *b = ctx;
    if (atomic_fetch_add(&b->finishing, 1)) atomic_fetch_add(&b->together, 1);
    int v = b->value[place];
    CHECK(b->squared[place] == v * v);
    if (b->n_ended < JOBS) b->ended[b->n_ended++] = v;
    atomic_fetch_sub(&b->finishing, 1);
    return v == b->bad_finish ? err_set(e, E_IO, "finish %d", v) : 0;
}

/* Returns the code of relay_drain; *e as told. */
static int go(struct bench *b, int threads, int bad_work, int bad_finish, struct err *e)
{
    *b = (struct bench){.bad_work = bad_work, .bad_finish = bad_finish};
    struct relay *r = relay_new(threads, PLACES, (struct relay_calls){work, finish}, b);
    for (int v = 0, i; v < JOBS && (i = relay_place(r, e)) >= 0; v++) {
        b->value[i] = v;
        relay_go(r);
    }
    struct err again = {0};
    int rc = relay_drain(r, e);
    CHECK(rc == (e->id ? -e->id : 0));
    CHECK(relay_drain(r, &again) == rc);
    CHECK(again.id == e->id);
    relay_free(r);
    CHECK(b->together == 0);
    for (int i = 0; i < b->n_ended; i++) CHECK(b->ended[i] == i);
    return rc;
}

static struct bench b;

static void in_order(void)
{
    for (int threads = 1; threads <= 6; threads++) {
        struct err e = {0};
        CHECK(go(&b, threads, -1, -1, &e) == 0);
        CHECK(b.n_ended == JOBS);
    }
}

static void first_failure(void)
{
    for (int threads = 1; threads <= 6; threads++) {
        struct err e = {0}, f = {0};
        CHECK(go(&b, threads, 1400, -1, &e) == -E_ENCODING);
        CHECK_STR(e.msg, "work 1400");
        CHECK(b.n_ended == 1400);
        CHECK(go(&b, threads, 1401, 1400, &f) == -E_IO);
        CHECK_STR(f.msg, "finish 1400");
        CHECK(b.n_ended == 1401);
    }
}

static void freed_with_jobs(void)
{
    b = (struct bench){.bad_work = -1, .bad_finish = -1};
    struct err e = {0};
    struct relay *r = relay_new(3, PLACES, (struct relay_calls){work, finish}, &b);
    for (int v = 0; v < PLACES; v++) {
        b.value[relay_place(r, &e)] = 7 * v;
        relay_go(r);
    }
    relay_free(r);
    CHECK(b.n_ended <= PLACES);
    relay_free(NULL);
    CHECK(relay_threads(3) == 3);
    CHECK(relay_threads(0) >= 1);
    CHECK(relay_threads(1000000) == RELAY_PLACES_MAX);
}

int main(void)
{
    RUN(in_order, "relay: jobs end in order for 1 to 6 threads");
    RUN(first_failure, "relay: the first failure in order is told");
    RUN(freed_with_jobs, "relay: freed with jobs left");
    return test_failed;
}
