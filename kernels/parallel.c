/* parallel: the pool of threads under the CPU ops.
 *
 * One word, the gate, holds the state of a run: its number, the seats that workers may still take, and the workers
 * inside. A worker enters by taking a seat, takes tasks until none is left, and leaves. The caller works too; when no
 * task is left it removes the seats that nobody took and waits for those inside only, so a worker that wakes up late,
 * or never gets a core, delays nobody. Fields of a run change only while the gate has no seat and nobody is inside.
 *
 * Who is about to sleep says so first and then looks at the gate again; who changes the gate looks for sleepers
 * afterwards. Both in the one order of sequentially consistent atomics, so one of the two sees the other, and no
 * wake-up is lost.
 *
 * Workers start when first asked for, block all signals (the tools handle them in the main thread) and are joined at
 * exit. A child of fork has no workers and starts its own. */
#include "kernels/parallel.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum {
    WORKERS_MAX = 1023,
    STACK_BYTES = 8 << 20, /* blocks of attention lie there, some 1.2 MiB */
    SPIN_NS = 50000        /* longer than the serial stretches between most ops; to be woken takes 5 us */
};

/* The gate: run << 32 | seats << 16 | inside. */
#define INSIDE 0xffffu
#define SEAT   0x10000u
#define SEATS  0xffff0000u

struct pool {
    pthread_mutex_t one;         /* held by the caller whose run it is */
    pthread_mutex_t lock;        /* of the two conditions; guards no data */
    pthread_cond_t opened, left; /* the gate has seats; nobody is inside */
    int workers;
    pthread_t id[WORKERS_MAX];
    parallel_fn *fn; /* NULL: workers are to end */
    void *job;
    long n;
    _Alignas(64) _Atomic uint64_t gate;
    atomic_int sleepers;           /* workers asleep or about to be */
    atomic_int waiting;            /* the caller is asleep or about to be */
    _Alignas(64) atomic_long next; /* task */
};
#define POOL_INIT                                                                                                \
    {                                                                                                            \
        .one = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER, \
        .left = PTHREAD_COND_INITIALIZER                                                                         \
    }
static struct pool pool = POOL_INIT;

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Is there a seat in a run other than the last one? */
static int is_open(uint32_t last)
{
    uint64_t g = atomic_load(&pool.gate);
    return (g & SEATS) && (uint32_t)(g >> 32) != last;
}

static int is_left(uint32_t unused)
{
    (void)unused;
    return !(atomic_load(&pool.gate) & INSIDE);
}

/* Until ready(last): a short spin, then sleep. */
static void wait_for(int (*ready)(uint32_t), uint32_t last, pthread_cond_t *cond, atomic_int *asleep)
{
    if (ready(last)) return;
    for (int64_t until = now_ns() + SPIN_NS; now_ns() < until;)
        for (int i = 0; i < 8; i++) {
            if (ready(last)) return;
            relax();
        }
    pthread_mutex_lock(&pool.lock);
    atomic_fetch_add(asleep, 1);
    while (!ready(last)) pthread_cond_wait(cond, &pool.lock);
    atomic_fetch_sub(asleep, 1);
    pthread_mutex_unlock(&pool.lock);
}

/* The gate has changed: wake those who sleep until it does. Sleepers hold the lock from their last look at it until
 * they sleep, so after it was held here, they do. */
static void wake(pthread_cond_t *cond, atomic_int *asleep)
{
    if (!atomic_load(asleep)) return;
    pthread_mutex_lock(&pool.lock);
    pthread_mutex_unlock(&pool.lock);
    pthread_cond_broadcast(cond);
}

/* Returns the number of the run that was entered. */
static uint32_t enter(uint32_t last)
{
    for (;;) {
        wait_for(is_open, last, &pool.opened, &pool.sleepers);
        uint64_t g = atomic_load(&pool.gate);
        while ((g & SEATS) && (uint32_t)(g >> 32) != last)
            if (atomic_compare_exchange_weak(&pool.gate, &g, g - SEAT + 1)) return (uint32_t)(g >> 32);
    }
}

static void leave(void)
{
    if (!((atomic_fetch_sub(&pool.gate, 1) - 1) & INSIDE)) wake(&pool.left, &pool.waiting);
}

static void open_gate(int seats)
{
    uint64_t run = (atomic_load(&pool.gate) >> 32) + 1;
    atomic_store(&pool.gate, run << 32 | (uint64_t)seats * SEAT);
    wake(&pool.opened, &pool.sleepers);
}

static void take_tasks(void)
{
    const long n = pool.n;
    for (long i; (i = atomic_fetch_add_explicit(&pool.next, 1, memory_order_relaxed)) < n;) pool.fn(pool.job, i);
}

static void *worker(void *unused)
{
    uint32_t run = 0;
    for (int more = 1; more;) {
        run = enter(run);
        more = pool.fn != NULL;
        if (more) take_tasks();
        leave();
    }
    return unused;
}

static void end_workers(void)
{
    /* A run is under way where exit was called by a task or beside it: then the threads end with the process. */
    if (pthread_mutex_trylock(&pool.one)) return;
    pool.fn = NULL;
    if (pool.workers) open_gate(pool.workers);
    while (pool.workers) pthread_join(pool.id[--pool.workers], NULL);
    pthread_mutex_unlock(&pool.one);
}

static void forget_workers(void) { pool = (struct pool)POOL_INIT; }

static void register_handlers(void)
{
    pthread_atfork(NULL, NULL, forget_workers);
    atexit(end_workers);
}

/* As many workers as wanted, or as the system gives. */
static void start_workers(int wanted)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_handlers);
    pthread_attr_t attr;
    sigset_t all, old;
    if (pthread_attr_init(&attr)) return;
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* of a mapped file that was cut: it is for the thread that ran into it */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (pool.workers < wanted && !pthread_create(&pool.id[pool.workers], &attr, worker, NULL)) pool.workers++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
}

void parallel_run(int threads, long n, parallel_fn *fn, void *job)
{
    int helpers = (int)(threads < n ? threads : n) - 1;
    if (helpers > WORKERS_MAX) helpers = WORKERS_MAX;
    if (helpers > 0 && !pthread_mutex_trylock(&pool.one)) {
        if (pool.workers < helpers) start_workers(helpers);
        pool.fn = fn, pool.job = job, pool.n = n;
        atomic_store_explicit(&pool.next, 0, memory_order_relaxed);
        open_gate(helpers < pool.workers ? helpers : pool.workers);
        take_tasks();
        if (atomic_fetch_and(&pool.gate, ~(uint64_t)SEATS) & INSIDE) wait_for(is_left, 0, &pool.left, &pool.waiting);
        pthread_mutex_unlock(&pool.one);
        return;
    }
    for (long i = 0; i < n; i++) fn(job, i);
}

struct stretches {
    parallel_rows_fn *fn;
    void *job;
    long rows, parts;
};

static void stretch(void *job, long i)
{
    const struct stretches *s = job;
    s->fn(s->job, parallel_first(s->rows, i, s->parts), parallel_first(s->rows, i + 1, s->parts));
}

void parallel_rows(int threads, long rows, parallel_rows_fn *fn, void *job)
{
    /* Some stretches for each thread, for cores that are slower than others or shared. */
    long parts = threads > 1 ? 4L * threads : 1;
    struct stretches s = {fn, job, rows, parts < rows ? parts : rows};
    parallel_run(threads, s.parts, stretch, &s);
}
