/* parallel: each task once, whatever the threads; nested, concurrent and forked callers; a late worker holds nobody up.
 */
#include "kernels/parallel.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/test.h"

enum { MOST = 1000, RUNS = 100000 };

struct marks {
    atomic_int met[MOST];
    int nested; /* tasks that each task runs */
    atomic_long sum;
};

static void mark(void *job, long i)
{
    struct marks *m = job;
    atomic_fetch_add(&m->met[i], 1);
}

static int once_each(const struct marks *m, long n)
{
    for (long i = 0; i < MOST; i++)
        if (atomic_load(&m->met[i]) != (i < n)) return 0;
    return 1;
}

static void each_once(void)
{
    static const long counts[] = {0, 1, 2, 3, 7, 64, MOST};
    for (int threads = 0; threads <= 9; threads++)
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
            for (int again = 0; again < 50; again++) {
                struct marks m = {0};
                parallel_run(threads, counts[k], mark, &m);
                CHECK_MSG(once_each(&m, counts[k]), "%d threads, %ld tasks", threads, counts[k]);
            }
}

static void mark_rows(void *job, long first, long last)
{
    CHECK(first < last);
    for (long i = first; i < last; i++) mark(job, i);
}

static void rows(void)
{
    static const long counts[] = {0, 1, 2, 5, 8, 9, 100, MOST};
    for (int threads = 1; threads <= 5; threads++)
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            struct marks m = {0};
            parallel_rows(threads, counts[k], mark_rows, &m);
            CHECK_MSG(once_each(&m, counts[k]), "%d threads, %ld rows", threads, counts[k]);
        }
}

static void add(void *job, long i)
{
    struct marks *m = job;
    atomic_fetch_add_explicit(&m->sum, i + 1, memory_order_relaxed);
}

/* Runs so short that workers arrive before, in and after them; now and then a pause in which all fall asleep. */
static void tiny_runs(void)
{
    struct marks m = {0};
    for (int i = 0; i < RUNS; i++) {
        parallel_run(2 + i % 3, 2 + i % 3, add, &m);
        if (i % 500 == 0) usleep(100);
    }
    long want = 0;
    for (int i = 0; i < RUNS; i++) want += (2 + i % 3) * (3 + i % 3) / 2;
    CHECK_MSG(m.sum == want, "%ld, expected %ld", (long)m.sum, want);
}

static void nest(void *job, long i)
{
    struct marks *m = job;
    (void)i;
    parallel_run(3, m->nested, add, m);
}

static void nested(void)
{
    for (int again = 0; again < 200; again++) {
        struct marks m = {.nested = 10};
        parallel_run(3, 20, nest, &m);
        CHECK(m.sum == 20 * 55);
    }
}

static void *other_caller(void *job)
{
    struct marks *m = job;
    for (int i = 0; i < 5000; i++) parallel_run(2, 10, add, m);
    return NULL;
}

static void two_callers(void)
{
    struct marks a = {0}, b = {0};
    pthread_t t;
    CHECK(!pthread_create(&t, NULL, other_caller, &a));
    other_caller(&b);
    pthread_join(t, NULL);
    CHECK(a.sum == 5000L * 55);
    CHECK(b.sum == 5000L * 55);
}

static void after_fork(void)
{
    struct marks m = {0};
    parallel_run(3, 100, add, &m);
    pid_t child = fork();
    if (!child) {
        struct marks c = {0};
        for (int i = 0; i < 100; i++) parallel_run(3, 100, add, &c);
        exit(c.sum == 100 * 5050 ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    parallel_run(3, 100, add, &m);
    CHECK(m.sum == 2 * 5050);
}

static void deep(void *job, long i)
{
    volatile char block[2 << 20];
    for (size_t k = 0; k < sizeof block; k += 4096) block[k] = (char)i;
    add(job, block[0]);
    /* Long enough for the workers to take part. */
    usleep(200);
}

static void deep_stacks(void)
{
    struct marks m = {0};
    parallel_run(4, 40, deep, &m);
    CHECK(m.sum == 20 * 41);
}

static pthread_t caller;
static atomic_int helped, unblocked;

static void look_at_signals(void *job, long i)
{
    (void)job, (void)i;
    usleep(200);
    if (pthread_equal(pthread_self(), caller)) return;
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    atomic_fetch_add(&helped, 1);
    if (!sigismember(&set, SIGINT) || !sigismember(&set, SIGTERM)) atomic_fetch_add(&unblocked, 1);
}

static void workers_and_signals(void)
{
    caller = pthread_self();
    parallel_run(3, 60, look_at_signals, NULL);
    CHECK_MSG(helped > 0, "no worker took a task");
    CHECK(unblocked == 0);
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    CHECK(!sigismember(&set, SIGINT));
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Whoever waits sleeps: neither idle workers nor a caller with its tasks done take the core from others. */
static void hold(void *job, long i)
{
    (void)job, (void)i;
    usleep(50000);
}

static void waiting_costs_nothing(void)
{
    double t = cpu_seconds();
    parallel_run(4, 5, hold, NULL);
    usleep(100000);
    t = cpu_seconds() - t;
    CHECK_MSG(t < 0.02, "%.3f s of CPU in 0.2 s of waiting", t);
}

int main(void)
{
    RUN(each_once, "parallel: each task once");
    RUN(rows, "parallel: each row once");
    RUN(tiny_runs, "parallel: 100000 tiny runs");
    RUN(nested, "parallel: runs within tasks");
    RUN(two_callers, "parallel: two callers at once");
#ifdef __SANITIZE_THREAD__
    SKIP("parallel: a child of fork", "the thread sanitizer allows no threads there");
    (void)after_fork;
#else
    RUN(after_fork, "parallel: a child of fork");
#endif
    RUN(deep_stacks, "parallel: 2 MiB of a worker's stack");
    RUN(workers_and_signals, "parallel: workers work and block signals");
    RUN(waiting_costs_nothing, "parallel: who waits sleeps");
    return test_failed;
}
