/* bench: what the benchmarks share: clocks, the limits of this machine, medians, and their one output format.
 *
 * The limits are measured, never looked up, and in the same round as the work: on a machine with neighbours only the
 * share of a limit means anything. They are: multiply-adds on registers alone in each instruction set (f32; bf16 where
 * AVX512_BF16 exists), and reading an array larger than any cache.
 *
 * Output: one line for people on stderr or stdout and, where asked for, one JSON object a line. */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include "kernels/device.h"
#include "kernels/parallel.h"

#define BENCH_ROUNDS 64 /* rounds at most */

static inline double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* One thread is timed by its own clock, which neighbours on the core do not touch; more by the wall's. */
static inline double bench_clock(int threads)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline int bench_by_size(const void *a, const void *b)
{
    double d = *(const double *)a - *(const double *)b;
    return (d > 0) - (d < 0);
}
/* Sorts v. */
static inline double bench_median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, bench_by_size);
    return n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

static inline double bench_peak_bytes(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss * 1024;
}

/* ---- limits ---- */
enum bench_isa { BENCH_GENERIC, BENCH_AVX2, BENCH_AVX512 };

/* The instruction set that the device's kernels were chosen from. */
static inline enum bench_isa bench_isa(const struct device *d)
{
    const char *n = dev_name(d);
    return strstr(n, "avx512") || strstr(n, "amx") ? BENCH_AVX512 : strstr(n, "avx2") ? BENCH_AVX2 : BENCH_GENERIC;
}

/* Twelve independent sums hide the latency of a multiply-add in every core that has two units of four cycles. */
#define BENCH_PEAK(name, lanes, attribute)                                             \
    attribute static inline double name(long n)                                        \
    {                                                                                  \
        typedef float vec __attribute__((vector_size(4 * lanes)));                     \
        vec a[12], x = {0}, y = {0};                                                   \
        for (int i = 0; i < 12; i++) a[i] = x + (float)i;                              \
        for (int i = 0; i < lanes; i++) x[i] = 0.999f, y[i] = 1e-3f;                   \
        for (long k = 0; k < n; k++) {                                                 \
            _Pragma("GCC unroll 12") for (int i = 0; i < 12; i++) a[i] = a[i] * x + y; \
            __asm__ volatile("" : "+x"(x), "+x"(y));                                   \
        }                                                                              \
        double s = 0;                                                                  \
        for (int i = 0; i < 12; i++) s += (double)a[i][0];                             \
        return s;                                                                      \
    }
#if defined(__x86_64__)
BENCH_PEAK(bench_peak_generic, 4, )
BENCH_PEAK(bench_peak_avx2, 8, __attribute__((target("avx2,fma"))))
BENCH_PEAK(bench_peak_avx512, 16, __attribute__((target("avx512f"))))

__attribute__((target("avx512f,avx512bf16"))) static inline double bench_peak_bf16(long n)
{
    __m512 a[12];
    __m512i x = _mm512_set1_epi32(0x3c003c00), y = _mm512_set1_epi32(0x3c003c00);
    for (int i = 0; i < 12; i++) a[i] = _mm512_set1_ps((float)i);
    for (long k = 0; k < n; k++) {
        _Pragma("GCC unroll 12") for (int i = 0; i < 12; i++) a[i] = _mm512_dpbf16_ps(a[i], (__m512bh)x, (__m512bh)y);
        __asm__ volatile("" : "+v"(x), "+v"(y));
    }
    double s = 0;
    for (int i = 0; i < 12; i++) s += (double)_mm512_reduce_add_ps(a[i]);
    return s;
}
/* Four tiles of sums, as in gemm_tiles.h. */
static inline double bench_peak_tiles(long n)
{
    const struct {
        uint8_t palette, start, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } all = {.palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    __asm__ volatile("ldtilecfg %0" ::"m"(all)); /* all zero: the same speed */
    for (long k = 0; k < n; k++)
        __asm__ volatile("tdpbf16ps %tmm6, %tmm4, %tmm0\n\ttdpbf16ps %tmm7, %tmm4, %tmm1\n\t"
                         "tdpbf16ps %tmm6, %tmm5, %tmm2\n\ttdpbf16ps %tmm7, %tmm5, %tmm3");
    return (double)n;
}
#else
static inline double bench_peak_generic(long n)
{
    float a[48], x = 0.999f, y = 1e-3f;
    for (int i = 0; i < 48; i++) a[i] = (float)i;
    for (long k = 0; k < n; k++) {
        for (int i = 0; i < 48; i++) a[i] = a[i] * x + y;
        __asm__ volatile("" : : "r"(a) : "memory");
    }
    double s = 0;
    for (int i = 0; i < 48; i++) s += (double)a[i];
    return s;
}
#endif

struct bench_peak_job {
    enum bench_isa isa;
    enum bf16_unit bf16; /* BF16_EMULATED: multiply-adds of f32 */
    long n;
};

static inline void bench_peak_task(void *job, long i)
{
    const struct bench_peak_job *j = job;
    (void)i;
#if defined(__x86_64__)
    double s = j->bf16 == BF16_MATRIX   ? bench_peak_tiles(j->n / 8)
               : j->bf16                ? bench_peak_bf16(j->n)
               : j->isa == BENCH_AVX512 ? bench_peak_avx512(j->n)
               : j->isa == BENCH_AVX2   ? bench_peak_avx2(j->n)
                                        : bench_peak_generic(j->n);
#else
    double s = bench_peak_generic(j->n);
#endif
    __asm__ volatile("" : : "m"(s));
}

/* Multiply-adds of `threads` threads, about 15 ms; bf16: by bf16 instructions (only if dev_bf16). Returns GFLOP. */
static inline double bench_peak_work(const struct device *d, int threads, bool bf16)
{
    enum bench_isa isa = bench_isa(d);
    const enum bf16_unit unit = bf16 ? dev_bf16(d) : BF16_EMULATED;
    const int lanes = isa == BENCH_AVX512 ? 16 : isa == BENCH_AVX2 ? 8 : 4;
    const int flops = unit == BF16_MATRIX ? 4 * 2 * 16 * 16 * 32 / 8 : 2 * 12 * (unit ? 32 : lanes);
    struct bench_peak_job j = {isa, unit, 250000};
    parallel_run(threads, 8L * threads, bench_peak_task, &j);
    return (double)flops * (double)j.n * 8 * threads * 1e-9;
}

/* GFLOP/s now, by the clock that bench_clock takes; bench_peak_wall: by the wall's. */
static inline double bench_peak(const struct device *d, int threads, bool bf16)
{
    double t = bench_clock(threads), work = bench_peak_work(d, threads, bf16);
    return work / (bench_clock(threads) - t);
}
static inline double bench_peak_wall(const struct device *d, int threads, bool bf16)
{
    double t = bench_now(), work = bench_peak_work(d, threads, bf16);
    return work / (bench_now() - t);
}

static inline void bench_read_rows(void *job, long first, long last)
{
    const unsigned long *a = job;
    unsigned long sum = 0;
    for (long i = 8 * first; i < 8 * last; i += 8)
        sum += a[i] + a[i + 1] + a[i + 2] + a[i + 3] + a[i + 4] + a[i + 5] + a[i + 6] + a[i + 7];
    __asm__ volatile("" : : "m"(sum));
}

/* GB/s of reading 256 MiB once by `threads` threads now. */
static inline double bench_read_bandwidth(int threads)
{
    enum { WORDS = 32 << 20 };
    static unsigned long *a;
    if (!a) {
        a = malloc(WORDS * sizeof *a);
        if (!a) abort();
        for (long i = 0; i < WORDS; i++) a[i] = (unsigned long)i;
    }
    double t = bench_clock(threads);
    parallel_rows(threads, WORDS / 8, bench_read_rows, a);
    t = bench_clock(threads) - t;
    return (double)WORDS * sizeof *a / t * 1e-9;
}

/* ---- timing ---- */
enum bench_limit { BENCH_F32, BENCH_BF16, BENCH_READ }; /* GFLOP/s of one sort or the other, GB/s */

struct bench_speed {
    double value, peak, share; /* medians; value and peak in GFLOP/s or GB/s */
};

static inline double bench_limit_now(const struct device *d, int threads, enum bench_limit l)
{
    return l == BENCH_READ ? bench_read_bandwidth(threads) : bench_peak(d, threads, l == BENCH_BF16);
}

/* Time call(ctx, i), i = 0, 1, ..., in rounds of at least 20 ms, each with the limit measured before and after it.
 * work: FLOPs or bytes of a call. */
static inline struct bench_speed bench_time(const struct device *d, int threads, int rounds, enum bench_limit limit,
                                            double work, void (*call)(void *ctx, long i), void *ctx)
{
    double value[BENCH_ROUNDS], peak[BENCH_ROUNDS], share[BENCH_ROUNDS];
    long i = 0, reps;
    call(ctx, i++); /* pages and caches */
    double t = 1e9;
    for (int k = 0; k < 3; k++) {
        double t0 = bench_clock(threads);
        call(ctx, i++);
        if (bench_clock(threads) - t0 < t) t = bench_clock(threads) - t0;
    }
    reps = t > 0.02 ? 1 : (long)(0.02 / (t + 1e-7)) + 1;
    for (int r = 0; r < rounds; r++) {
        double before = bench_limit_now(d, threads, limit);
        t = bench_clock(threads);
        for (long k = 0; k < reps; k++) call(ctx, i++);
        value[r] = work * (double)reps / (bench_clock(threads) - t) * 1e-9;
        peak[r] = 0.5 * (before + bench_limit_now(d, threads, limit));
        share[r] = value[r] / peak[r];
    }
    return (struct bench_speed){bench_median(value, rounds), bench_median(peak, rounds), bench_median(share, rounds)};
}

/* ---- output ---- */
/* One figure as a line of JSON on f. share: of peak, which is in the same unit; peak 0: the figure has no limit.
 * `group` sorts the table and the picture; name is unique and, like what, holds nothing that JSON would escape. */
static inline void bench_figure(FILE *f, const char *group, const char *name, const char *unit, struct bench_speed s,
                                const char *what)
{
    fprintf(f, "{\"group\":\"%s\",\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"", group, name, s.value, unit);
    if (s.peak > 0)
        fprintf(f, ",\"share\":%.4f,\"peak\":%.6g", s.share, s.peak);
    else
        fputs(",\"share\":null,\"peak\":null", f);
    fprintf(f, ",\"what\":\"%s\"}\n", what);
    fflush(f);
}
#endif
