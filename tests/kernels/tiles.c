/* The set "tiles16" gives the bits of "amx" in plain C: both against bits recorded on a CPU with AMX (Granite Rapids),
 * over both products, every type of weight, ragged shapes, and values at the edges of f32: denormal, infinite, NaN. */
#include "tests/test.h"
#include "kernels/gemm.h"
#include "tests/kernels/cases.h"

static struct op_ctx cx;

/* FNV-1a of the bits; all NaN are one: which of two a sum keeps is not said. */
static uint64_t digest(uint64_t h, const float *p, long n)
{
    for (long i = 0; i < n; i++) {
        uint32_t bits = 0x7fc00000;
        if (p[i] == p[i]) memcpy(&bits, p + i, sizeof bits);
        for (int b = 0; b < 32; b += 8) h = (h ^ (bits >> b & 255)) * 0x100000001b3u;
    }
    return h;
}

/* Every 7th value something strange: its exponent from the whole range. */
static void strange(float *x, long n)
{
    for (long i = 0; i < n; i += 7) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        const uint32_t exponent = i % 1001 == 0 ? 255 : (uint32_t)(i / 7 * 37 % 254);
        bits = (bits & 0x807fffff) | exponent << 23;
        memcpy(x + i, &bits, sizeof bits);
    }
}

static uint64_t product(uint64_t h, enum dtype t, int sum, long m, long n, long k, int odd)
{
    const long kp = gemm_lanes(k, 1);
    struct case_mat w = case_mat(t, (int)(sum ? k : n), (int)(sum ? n : k), 0.3f);
    float *x = case_floats(m * k, 1), *a = case_alloc((size_t)(m * kp) * sizeof *a), *y = case_floats(m * n, 1);
    if (odd) strange(x, m * k), strange(y, m * n);
    gemm_pack_rows(&cx, a, x, k, m, k, 1);
    struct gemm g = {.m = m,
                     .n = n,
                     .k = k,
                     .a = a,
                     .a_row = kp,
                     .a_k = 1,
                     .b = w.m.data,
                     .b_type = t,
                     .b_row = (long)dtype_row_bytes(t, sum ? n : k),
                     .bf16 = 1,
                     .alpha = 1,
                     .init = y,
                     .init_row = n,
                     .y = y,
                     .y_row = n};
    sum ? gemm_sum(&cx, &g) : gemm_dot(&cx, &g);
    h = digest(h, y, m * n);
    free(x), free(a), free(y);
    case_mat_free(&w);
    return h;
}

static uint64_t all(void)
{
    static const long m[] = {1, 9, 16, 23, 50}, n[] = {64, 192};
    uint64_t h = 0xcbf29ce484222325u;
    case_seed(3);
    for (int t = 0; t < DT_COUNT; t++)
        for (int odd = 0; odd < 2; odd++)
            for (int i = 0; i < 5; i++)
                for (int sum = 0; sum < 2; sum++) h = product(h, (enum dtype)t, sum, m[i], n[i % 2], n[1 - i % 2], odd);
    return product(product(h, DT_BF16, 0, 33, 47, 75, 1), DT_F32, 1, 33, 47, 75, 1);
}

static void recorded(void)
{
    const uint64_t got = all(), want = 0x5eb0832e49b964af;
    CHECK_MSG(got == want, "%s: %016llx, recorded %016llx", dev_name(cx.dev), (unsigned long long)got,
              (unsigned long long)want);
}

int main(void)
{
    static const char *const isa[] = {"amx", "tiles16"};
    for (int i = 0; i < 2; i++) {
        char name[64];
        setenv("PEFT_CPU_ISA", isa[i], 1);
        cx = (struct op_ctx){.dev = dev_open(DEVICE_CPU, 0, NULL), .act = DT_F32, .prec = DT_BF16};
        snprintf(name, sizeof name, "tiles/%s", isa[i]);
        if (strstr(dev_name(cx.dev), "lacks it"))
            SKIP(name, "this CPU lacks it");
        else
            RUN(recorded, name);
        dev_close(cx.dev);
    }
    return test_failed;
}
