/* What stands below the ops: the choice of instruction set, the exponential, storage types, the dropout mask. */
#include "tests/test.h"
#include "kernels/dropout.h"
#include "kernels/simd.h"
#include "tests/kernels/cases.h"

enum { SETS = 6 };
static const struct simd *each(int i)
{
    static const char *const names[SETS] = {"generic", "avx2", "avx512", "avx512bf16", "amx", "tiles16"};
    const char *note;
    return simd_choose(names[i], &note);
}

static void choice(void)
{
    const char *note;
    const struct simd *best = simd_choose(NULL, &note);
    CHECK(best && !*note);
    CHECK(simd_choose("", &note) == best && !*note);
    CHECK(simd_choose("avx1024", &note) == best && *note);
    CHECK(!strcmp(simd_choose("generic", &note)->name, "generic") && !*note);
    setenv("PEFT_CPU_ISA", "avx1024", 1);
    struct device *d = dev_open(DEVICE_CPU, 0, NULL);
    CHECK(d && strstr(dev_name(d), "unknown name") && strstr(dev_name(d), best->name));
    dev_close(d);
    unsetenv("PEFT_CPU_ISA");
}

static void exponential(void)
{
    enum { N = 20001 };
    static float x[N], y[N];
    for (int s = 0; s < SETS; s++) {
        for (int i = 0; i < N; i++) y[i] = x[i] = (float)(-87.3 + 175.9 * i / (N - 1)) + case_value(1e-3f);
        each(s)->exp(y, N);
        double worst = 0;
        for (int i = 0; i < N; i++) {
            double want = exp((double)x[i]), ulp = (double)nextafterf((float)want, INFINITY) - (double)(float)want;
            if (isfinite((float)want)) worst = fmax(worst, fabs((double)y[i] - want) / ulp);
        }
        CHECK_MSG(worst <= 2, "%s: %.2f ulp", each(s)->name, worst);
        float edge[] = {-INFINITY, -200, 0, -0.0f, 100, INFINITY, NAN};
        each(s)->exp(edge, 7);
        CHECK(edge[0] == 0 && edge[1] == 0 && edge[2] == 1 && edge[3] == 1 && isinf(edge[4]) && isinf(edge[5]) &&
              isnan(edge[6]));
    }
}

static void halves(void)
{
    CHECK(f32_to_f16(65504) == 0x7bff && f32_to_f16(65520) == 0x7c00 && f32_to_f16(65519) == 0x7bff &&
          f32_to_f16(-INFINITY) == 0xfc00);
    CHECK(f32_to_f16(5.9604645e-8f) == 1 && f32_to_f16(2.9802322e-8f) == 0 && f32_to_f16(1) == 0x3c00 &&
          f32_to_f16(-0.0f) == 0x8000);
    CHECK(f32_to_f16(1 + 1 / 2048.0f) == 0x3c00 && f32_to_f16(1 + 3 / 2048.0f) == 0x3c02); /* ties to even */
    CHECK(isnan(f16_to_f32(f32_to_f16(NAN))) && isnan(bf16_to_f32(f32_to_bf16(NAN))));
    CHECK(f32_to_bf16(1 + 1 / 256.0f) == 0x3f80 && f32_to_bf16(1 + 3 / 256.0f) == 0x3f82 &&
          f32_to_bf16(3.4e38f) == 0x7f80);
    for (uint32_t h = 0; h < 65536; h++) {
        float f = f16_to_f32((uint16_t)h), v;
        CHECK(isnan(f) || f32_to_f16(f) == h);
        unsigned char odd[3] = {0, (unsigned char)h, (unsigned char)(h >> 8)};
        for (int s = 0; s < SETS; s++) {
            each(s)->f32->unpack(DT_F16, odd + 1, 0, 1, &v);
            CHECK(isnan(f) ? isnan(v) : !memcmp(&f, &v, 4));
        }
    }
}

/* Blocks whose bytes are worked out by hand from the layouts. */
static void blocks(void)
{
    float x[32], y[32];
    unsigned char q[34];
    for (int i = 0; i < 32; i++) x[i] = (float)(i - 16);
    dtype_from_f32(DT_Q4_0, x, q, 32); /* largest magnitude -16: d = 2, value -16 -> 0, 15 -> 15.5 + .5 -> 15 */
    CHECK(q[0] == 0x00 && q[1] == 0x40 && (q[2] & 15) == 0 && q[17] >> 4 == 15);
    dtype_to_f32(DT_Q4_0, q, y, 32);
    CHECK(y[0] == -16 && y[31] == 14);
    for (int i = 0; i < 32; i++) x[i] = 1 + 0.5f * (float)(i % 16);
    dtype_from_f32(DT_Q4_1, x, q, 32); /* d = 0.5, m = 1: exact */
    dtype_to_f32(DT_Q4_1, q, y, 32);
    CHECK(!memcmp(x, y, sizeof x) && q[0] == 0x00 && q[1] == 0x38 && q[2] == 0x00 && q[3] == 0x3c && q[4] == 0x00 &&
          q[5] == 0x11);
    for (int i = 0; i < 32; i++) x[i] = (float)(i == 5 ? -127 : i);
    dtype_from_f32(DT_Q8_0, x, q, 32);
    dtype_to_f32(DT_Q8_0, q, y, 32);
    CHECK(!memcmp(x, y, sizeof x) && q[2 + 5] == 0x81);
    for (int t = 0; t < DT_COUNT; t++) {
        unsigned char any[256];
        float zero[64] = {0}, z[64];
        dtype_from_f32(t, zero, any, 64);
        dtype_to_f32(t, any, z, 64);
        for (int i = 0; i < 64; i++) CHECK(z[i] == 0);
        CHECK(dtype_row_bytes(t, 64) == (size_t)(64 / dtype_info[t].block * dtype_info[t].bytes));
    }
}

static void mask(void)
{
    enum { K = 1531 };
    static float x[K], out[K + 16], back[K];
    const uint64_t uid = (7ull << 40) + 5;
    const struct drop_job d = {.key = dropout_key(0x123456789abcdefull, 3), .p = 0.3f, .step = 9, .uid = &uid};
    for (int s = 0; s < SETS; s++) {
        for (int c = 0; c < K; c++) x[c] = (float)c + 1, back[c] = 1;
        each(s)->drop_rows(out, x, K, 0, 1, K, &d);
        each(s)->undrop_rows(back, K - 7, x, 0, 1, K - 7, &d);
        long kept = 0;
        for (int c = 0; c < K; c++) {
            float f[4];
            dropout_factors(d.key, d.step, uid, (uint32_t)c / 4, dropout_threshold(d.p), 1.0f / (1.0f - d.p), f);
            CHECK(out[c] == x[c] * f[c % 4] && back[c] == (c < K - 7 ? 1 + x[c] * f[c % 4] : 1));
            kept += f[c % 4] != 0;
        }
        for (int c = K; c < (int)gemm_lanes(K, 0); c++) CHECK(out[c] == 0);
        CHECK(kept > 0.65 * K && kept < 0.75 * K);
    }
}

int main(void)
{
    case_seed(5);
    RUN(choice, "simd/choice");
    RUN(exponential, "simd/exp");
    RUN(halves, "dtype/halves");
    RUN(blocks, "dtype/blocks");
    RUN(mask, "simd/dropout");
    return test_failed;
}
