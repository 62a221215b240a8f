/* gpu_device: the CUDA device: arenas, copies, their order with ops, what is refused. */
#include "tests/kernels/gpu.h"

static void case_arena(void)
{
    unsigned char *a = dev_alloc(gpu, 1000003), *b = dev_alloc(gpu, 0), host[1000];
    CHECK(a && b && a != b);
    CHECK((uintptr_t)a % 256 == 0 && (uintptr_t)b % 256 == 0);
    memset(host, 0x5a, sizeof host);
    for (long at = 0; at < 1000003; at += 99900) {
        const size_t n = at + 1000 < 1000003 ? 1000 : (size_t)(1000003 - at);
        CHECK(dev_to_host(gpu, host, a + at, n) == DEV_OK);
        for (size_t i = 0; i < n; i++)
            if (host[i]) {
                CHECK_MSG(0, "byte %ld of a new arena is %d, not 0", at + (long)i, host[i]);
                break;
            }
    }
    dev_free(gpu, a), dev_free(gpu, b);
    CHECK(!dev_alloc(gpu, (size_t)1 << 50));
    CHECK_MSG(strstr(dev_message(gpu), "memory") != NULL, "message: \"%s\"", dev_message(gpu));
    CHECK(dev_memory_free(gpu) > (size_t)1 << 20);
    a = dev_alloc(gpu, 100); /* the refusal has left the device usable */
    CHECK(a != NULL);
    dev_free(gpu, a);
}

static void case_copy(void)
{
    enum { N = 100001 };
    unsigned char *in = malloc(N), *out = malloc(N), *a = dev_alloc(gpu, N), *b = dev_alloc(gpu, N);
    for (int i = 0; i < N; i++) in[i] = (unsigned char)(i * 131 >> 3);
    CHECK(dev_from_host(gpu, a, in, N) == DEV_OK);
    CHECK(dev_copy(gpu, b + 1, a + 1, N - 2) == DEV_OK); /* the first and the last byte stay 0 */
    memset(in, 7, N);                                    /* the host side may be reused at once */
    CHECK(dev_to_host(gpu, out, b, N) == DEV_OK);
    int bad = out[0] || out[N - 1];
    for (int i = 1; i < N - 1; i++) bad += out[i] != (unsigned char)(i * 131 >> 3);
    CHECK_MSG(bad == 0, "%d bytes differ", bad);
    CHECK(dev_zero(gpu, b + 10, 20) == DEV_OK);
    CHECK(dev_to_host(gpu, out, b, 40) == DEV_OK);
    for (int i = 1; i < 40; i++) CHECK(out[i] == (i >= 10 && i < 30 ? 0 : (unsigned char)(i * 131 >> 3)));
    CHECK(dev_copy(gpu, b, a, 0) == DEV_OK && dev_to_host(gpu, out, b, 0) == DEV_OK);
    CHECK(dev_from_host(gpu, b, in, 0) == DEV_OK && dev_sync(gpu) == DEV_OK);
    dev_free(gpu, a), dev_free(gpu, b), free(in), free(out);
}

static void fill_bytes(unsigned char *p, size_t n, int from)
{
    for (size_t i = 0; i < n; i++) p[i] = (unsigned char)(from + (int)(i * 37 >> 2));
}
static long other_bytes(const unsigned char *p, size_t n, int from)
{
    long bad = 0;
    for (size_t i = 0; i < n; i++) bad += p[i] != (unsigned char)(from + (int)(i * 37 >> 2));
    return bad;
}

/* The host's block is overwritten at once behind the wait, several times; the device's arrays keep what was sent. */
static void case_upload(void)
{
    enum { N = 1 << 20, ROUNDS = 4 };
    unsigned char *host = dev_host_alloc(gpu, N), *out = malloc(N), *a = dev_alloc(gpu, ROUNDS * (size_t)N);
    CHECK(host && a);
    if (!host || !a) return;
    CHECK(!host[0] && !host[N - 1] && !memcmp(host, host + 1, N - 1));
    CHECK_MSG(dev_upload_wait(gpu) == DEV_OK, "a wait before the first upload: %s", dev_message(gpu));
    for (int k = 0; k < ROUNDS; k++) {
        CHECK(dev_upload_wait(gpu) == DEV_OK);
        fill_bytes(host, N, k);
        CHECK(dev_upload(gpu, a + (size_t)k * N, host, N) == DEV_OK);
    }
    CHECK(dev_upload_wait(gpu) == DEV_OK);
    memset(host, 0xee, N);
    CHECK(dev_upload(gpu, a, host, 0) == DEV_OK && dev_upload_wait(gpu) == DEV_OK);
    for (int k = 0; k < ROUNDS; k++) {
        CHECK(dev_to_host(gpu, out, a + (size_t)k * N, N) == DEV_OK);
        CHECK_MSG(!other_bytes(out, N, k), "upload %d: %ld bytes differ", k, other_bytes(out, N, k));
    }
    /* ordered with the ops: a copy on the device behind an upload takes what was uploaded */
    fill_bytes(host, N, 77);
    CHECK(dev_upload(gpu, a, host, N) == DEV_OK && dev_copy(gpu, a + N, a, N) == DEV_OK);
    CHECK(dev_to_host(gpu, out, a + N, N) == DEV_OK && !other_bytes(out, N, 77));
    CHECK(dev_upload(gpu, a, host, N) == DEV_OK);
    dev_host_free(gpu, host); /* under way: the free waits */
    CHECK(!dev_host_alloc(gpu, (size_t)1 << 50) && dev_message(gpu)[0]);
    dev_host_free(gpu, NULL);
    dev_free(gpu, a), free(out);
}

/* What case_upload relies on when it runs on the emulator: there a wait that is left out does change the data. */
static void case_upload_without_wait(void)
{
    enum { N = 1000 };
    unsigned char *host = dev_host_alloc(gpu, N), out[N], *a = dev_alloc(gpu, N);
    fill_bytes(host, N, 1);
    CHECK(dev_upload(gpu, a, host, N) == DEV_OK);
    fill_bytes(host, N, 2);
    CHECK(dev_to_host(gpu, out, a, N) == DEV_OK);
    CHECK_MSG(!other_bytes(out, N, 2), "the copy has landed before anybody waited");
    dev_host_free(gpu, host), dev_free(gpu, a);
}

/* Copies and ops keep their order without a sync between them: x <- host, 200 times x <- 2 x (swiglu of a large gate),
 * x -> host. */
static void case_order(void)
{
    enum { F = 64 };
    float gu[2 * F], h[F];
    struct op_ctx g = {.dev = gpu, .act = DT_F32, .prec = DT_F32};
    float *dgu = dev_alloc(gpu, sizeof gu), *dh = dev_alloc(gpu, sizeof h);
    for (int i = 0; i < F; i++) gu[i] = 32, gu[F + i] = 1 + (float)i / F;
    CHECK(dev_from_host(gpu, dgu, gu, sizeof gu) == DEV_OK);
    for (int k = 0; k < 20; k++) {
        ok(ops_of(gpu)->swiglu_fwd(&g, dh, F, dgu, 2 * F, 1, F), "swiglu_fwd");
        CHECK(dev_copy(gpu, dgu + F, dh, sizeof h) == DEV_OK);
    }
    CHECK(dev_to_host(gpu, h, dh, sizeof h) == DEV_OK);
    for (int i = 0; i < F; i++)
        CHECK_MSG(fabs(h[i] / ldexp(1 + (double)i / F, 100) - 1) < 1e-4, "h[%d] is %g", i, h[i]);
    dev_free(gpu, dgu), dev_free(gpu, dh);
}

static void case_open(void)
{
    struct dev_reason why = {0};
    CHECK(dev_kind(gpu) == DEVICE_CUDA && dev_name(gpu)[0]);
    CHECK(!dev_open(DEVICE_CUDA, 999, &why) && why.status == DEV_ABSENT);
    CHECK_MSG(strstr(why.text, "CUDA device 999: there "), "%s", why.text);
    CHECK(!dev_open(DEVICE_CUDA, -1, &why) && why.status == DEV_ABSENT);
    CHECK_MSG(strstr(why.text, "device -1"), "%s", why.text);
    CHECK(!dev_open(DEVICE_CUDA, 1000, NULL));
    struct device *second = dev_open(DEVICE_CUDA, 0, NULL); /* two at once, closed in any order */
    CHECK(second != NULL);
    void *p = dev_alloc(second, 1000);
    CHECK(p != NULL);
    dev_free(second, p);
    dev_close(second);
    CHECK(ops_of(gpu) && ops_of(gpu)->attn_fwd == NULL && ops_of(gpu)->norm_fwd != NULL);
}

/* Each reason that a device does not open for is told; on the emulator, which can have them. */
static void case_reasons(void)
{
    static const struct {
        const char *fault, *text;
    } table[] = {{"cudaGetDeviceCount:35", "CUDA device 0: no NVIDIA driver is loaded"},
                 {"cudaGetDeviceCount:100", "CUDA device 0: no CUDA-capable device is detected"},
                 {"dlopen:1", "libcublasLt.so (13, 12 or 11): not found"}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct dev_reason why = {0};
        setenv("EMU_FAULT", table[i].fault, 1);
        CHECK(!dev_open(DEVICE_CUDA, 0, &why));
        unsetenv("EMU_FAULT");
        CHECK_MSG(why.status == DEV_ABSENT && strstr(why.text, table[i].text), "%s: %d, %s", table[i].fault, why.status,
                  why.text);
    }
}

/* Errors that stay are told from those of one call. */
static void case_lost(void)
{
    static const struct {
        const char *fault;
        int want;
    } table[] = {{"cudaStreamSynchronize:2", DEV_MEMORY},   {"cudaStreamSynchronize:700", DEV_LOST},
                 {"cudaStreamSynchronize:719", DEV_LOST},   {"cudaStreamSynchronize:214", DEV_LOST},
                 {"cudaStreamSynchronize:46", DEV_LOST},    {"cudaStreamSynchronize:999", DEV_LOST},
                 {"cudaStreamSynchronize:1", DEV_FAILED},   {"cudaStreamSynchronize:9", DEV_FAILED},
                 {"cudaStreamSynchronize:100", DEV_FAILED}, {"another:719", DEV_OK}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        setenv("EMU_FAULT", table[i].fault, 1);
        const int got = dev_sync(gpu);
        unsetenv("EMU_FAULT");
        CHECK_MSG(got == table[i].want, "%s: %d", table[i].fault, got);
        if (got) CHECK_MSG(dev_last(gpu) == got, "%s: dev_last is %d", table[i].fault, dev_last(gpu));
    }
    CHECK(!dev_alloc(gpu, (size_t)1 << 50) && dev_last(gpu) == DEV_MEMORY);
}

int main(void)
{
    mode.name = "f32";
    gpu = gpu_open("gpu_device");
    if (!gpu) return 0;
    cpu = dev_open(DEVICE_CPU, 0, NULL);
    if (!cpu) return 1;
    RUN(case_open, "gpu device: open, table of ops");
    RUN(case_arena, "gpu device: arenas");
    RUN(case_copy, "gpu device: copies");
    RUN(case_upload, "gpu device: uploads from page-locked memory");
    const bool emulated = !strcmp(dev_name(gpu), "emulated device");
    if (emulated) RUN(case_lost, "gpu device: lost, or one call failed");
    if (emulated) RUN(case_reasons, "gpu device: why it does not open");
    if (emulated) RUN(case_upload_without_wait, "gpu device: an upload without its wait is seen");
    RUN(case_order, "gpu device: copies and ops in order");
    dev_close(gpu), dev_close(cpu);
    return test_failed;
}
