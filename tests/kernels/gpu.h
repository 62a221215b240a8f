/* gpu: what the tests of the CUDA twins share: arrays on the device between guards, poisoned outputs, comparison.
 *
 * Values on the host are f32; those of activations are rounded to bf16 first where the device stores bf16, so that both
 * twins start from the same numbers. */
#ifndef TESTS_KERNELS_GPU_H
#define TESTS_KERNELS_GPU_H
#include <math.h>
#include <stdint.h>
#include "kernels/ops.h"
#include "tests/test.h"

#define GUARD  256 /* bytes of 0xff before and after each array */
#define ARENA  ((size_t)64 << 20)
#define ARRAYS 64

struct mode {
    const char *name;
    enum dtype act, prec;
    int skew; /* elements by which each array misses its alignment */
};
static struct mode mode;
static struct device *gpu, *cpu;
static char *arena, *image; /* on the device, and a host copy for the guards */
static size_t arena_used;
static struct {
    size_t at, bytes;
} array[ARRAYS];
static int arrays;
static uint64_t seed, outputs; /* of the inputs; hash over every output read back */

/* NULL with a skip line if there is no device to test. */
static inline struct device *gpu_open(const char *name)
{
#ifdef HAVE_CUDA
    struct dev_reason why;
    struct device *d = dev_open(DEVICE_CUDA, 0, &why);
    if (!d) SKIP(name, why.text);
    return d;
#else
    SKIP(name, "built without CUDA");
    return NULL;
#endif
}

static inline float uniform(void) /* (-1, 1) */
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(int32_t)(seed >> 32) / 2147483648.0);
}

static inline enum dtype act_type(void) { return mode.act; }
static inline size_t type_bytes(enum dtype t) { return t == DT_F32 ? 4 : 2; }

/* n fresh values, rounded to t. */
static inline float *values(long n, enum dtype t, float scale)
{
    float *v = malloc((size_t)(n > 0 ? n : 1) * sizeof *v);
    for (long i = 0; i < n; i++) {
        v[i] = uniform() * scale;
        if (t == DT_BF16) v[i] = bf16_to_f32(f32_to_bf16(v[i]));
        if (t == DT_F16) v[i] = f16_to_f32(f32_to_f16(v[i]));
    }
    return v;
}

/* bytes on the device, all 0xff (NaN), between guards. */
static inline void *gpu_raw(size_t bytes, size_t element)
{
    size_t at = (arena_used + GUARD + 255) / 256 * 256 + (size_t)mode.skew * element;
    CHECK_MSG(at + bytes + GUARD <= ARENA && arrays < ARRAYS, "the test's arena is too small");
    array[arrays].at = at;
    array[arrays++].bytes = bytes;
    arena_used = at + bytes + GUARD;
    return arena + at;
}
static inline void *gpu_poison(long n, enum dtype t) { return gpu_raw((size_t)n * type_bytes(t), type_bytes(t)); }
static inline void *gpu_bytes(const void *v, size_t bytes, size_t element)
{
    void *p = gpu_raw(bytes, element);
    CHECK(dev_from_host(gpu, p, v, bytes) == DEV_OK);
    return p;
}
static inline void *gpu_array(const float *v, long n, enum dtype t)
{
    void *bits = malloc((size_t)(n > 0 ? n : 1) * 4);
    dtype_from_f32(t, v, bits, n);
    void *p = gpu_bytes(bits, (size_t)n * type_bytes(t), type_bytes(t));
    free(bits);
    return p;
}

static inline void hash_bytes(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++) outputs = (outputs ^ ((const unsigned char *)p)[i]) * 1099511628211u;
}
static inline float *gpu_read(const void *p, long n, enum dtype t)
{
    void *bits = malloc((size_t)(n > 0 ? n : 1) * 4);
    float *v = malloc((size_t)(n > 0 ? n : 1) * 4);
    CHECK(dev_to_host(gpu, bits, p, (size_t)n * type_bytes(t)) == DEV_OK);
    hash_bytes(bits, (size_t)n * type_bytes(t));
    dtype_to_f32(t, bits, v, n);
    free(bits);
    return v;
}

/* Relative L2 distance; infinite where either has a value that is not finite. */
static inline double distance(const float *a, const float *b, long n)
{
    double diff = 0, norm = 0;
    for (long i = 0; i < n; i++) {
        if (!isfinite(a[i]) || !isfinite(b[i])) return INFINITY;
        diff += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return diff == 0 ? 0 : sqrt(diff / (norm > 0 ? norm : 1e-30));
}
/* The device's array p against want, within the tolerance of the mode. */
static inline void gpu_compare(const char *what, const void *p, const float *want, long n, enum dtype t, double f32_tol,
                               double bf16_tol)
{
    float *got = gpu_read(p, n, t);
    const double d = distance(got, want, n), tol = mode.act == DT_F32 && mode.prec == DT_F32 ? f32_tol : bf16_tol;
    CHECK_MSG(d <= tol, "%s (%s, skew %d, n %ld): distance %.3g, tolerance %.3g", what, mode.name, mode.skew, n, d,
              tol);
    free(got);
}

/* Start with an arena of 0xff and no arrays. */
static inline void gpu_begin(void)
{
    memset(image, 0xff, arena_used + GUARD);
    CHECK(dev_from_host(gpu, arena, image, arena_used + GUARD) == DEV_OK);
    arena_used = 0, arrays = 0;
}
/* Nothing outside the arrays may have changed. */
static inline void gpu_end(const char *what)
{
    CHECK(dev_to_host(gpu, image, arena, arena_used) == DEV_OK);
    size_t at = 0;
    for (int i = 0; i <= arrays; i++) {
        const size_t end = i < arrays ? array[i].at : arena_used;
        for (; at < end; at++)
            if ((unsigned char)image[at] != 0xff) {
                CHECK_MSG(0, "%s (%s, skew %d): writes %zd bytes from the start of array %d", what, mode.name,
                          mode.skew, (ssize_t)(at - array[i ? i - 1 : 0].at), i ? i - 1 : 0);
                return;
            }
        if (i < arrays) at = array[i].at + array[i].bytes;
    }
}

static inline struct op_ctx ctx_cpu(void) { return (struct op_ctx){.dev = cpu, .act = DT_F32, .prec = mode.prec}; }
static inline struct op_ctx ctx_gpu(void) { return (struct op_ctx){.dev = gpu, .act = mode.act, .prec = mode.prec}; }
static inline void ok(int rc, const char *what)
{
    CHECK_MSG(rc == DEV_OK, "%s (%s): status %d: %s %s", what, mode.name, rc, dev_message(gpu), dev_message(cpu));
}
#endif
