/* Products of few rows against the same rows in a product of many, which goes through panels: the same bits, for every
 * type of weight, odd shapes and each instruction set. */
#include "tests/test.h"
#include "kernels/gemm.h"
#include "tests/kernels/cases.h"

static struct op_ctx cx;

static void product(enum dtype t, int K, int N, int bf16, int with_init)
{
    enum { M = 40 };
    const long kp = gemm_lanes(K, bf16);
    struct case_mat w = case_mat(t, N, K, 0.3f);
    float *x = case_floats((long)M * K, 1), *a = case_alloc((size_t)(M * kp) * sizeof *a);
    float *init = case_floats((long)M * (N + 3), 1), *many = case_floats((long)M * (N + 1), 1);
    gemm_pack_rows(&cx, a, x, K, M, K, bf16);
    struct gemm g = {.m = M,
                     .n = N,
                     .k = K,
                     .a = a,
                     .a_row = kp,
                     .a_k = 1,
                     .b = w.m.data,
                     .b_type = t,
                     .b_row = (long)dtype_row_bytes(t, K),
                     .bf16 = bf16,
                     .alpha = with_init && !bf16 ? 0.37f : 1,
                     .init = with_init ? init : NULL,
                     .init_row = N + 3,
                     .y = many,
                     .y_row = N + 1};
    gemm_dot(&cx, &g);
    for (int m = 1; m <= 17; m++) {
        const int first = M - m - 1;
        float *few = case_alloc((size_t)(m * (N + 1)) * sizeof *few);
        case_poison(few, (size_t)(m * (N + 1)) * sizeof *few);
        struct gemm h = g;
        h.m = m, h.a = a + first * kp, h.y = few;
        if (with_init) h.init = init + first * (N + 3);
        gemm_dot(&cx, &h);
        int bad = 0;
        for (int i = 0; i < m; i++) {
            bad += memcmp(few + i * (N + 1), many + (first + i) * (N + 1), (size_t)N * sizeof *few) != 0;
            uint32_t beyond;
            memcpy(&beyond, few + i * (N + 1) + N, sizeof beyond);
            bad += beyond != 0xffffffffu;
        }
        CHECK_MSG(!bad, "%s: %s %d x %d, %d rows, bf16 %d: %d rows differ", dev_name(cx.dev), dtype_info[t].name, N, K,
                  m, bf16, bad);
        free(few);
    }
    free(x), free(a), free(init), free(many);
    case_mat_free(&w);
}

/* An emulated set is slow: its pairs alone, and small. */
static void bits_of(int emulated)
{
    static const int K[] = {32, 64, 576, 640, 672, 1536, 1600, 2112}, N[] = {1, 2, 3, 4, 7, 30, 193};
    static const int odd[] = {1, 5, 31, 33, 47, 577, 641, 1301};
    for (int t = 0; t < DT_COUNT; t++)
        for (int n = 0; n < (emulated ? 6 : 7); n++)
            for (int flags = 0; flags < 4; flags++) {
                if (emulated && !(flags & 1)) continue;
                for (int k = 0; k < (emulated ? 3 : 8); k++)
                    if (K[k] % dtype_info[t].block == 0) product((enum dtype)t, K[k], N[n], flags & 1, flags >> 1);
                for (int k = 0; k < (emulated ? 5 : 8) && dtype_info[t].block == 1; k++)
                    product((enum dtype)t, odd[k], N[n], flags & 1, flags >> 1);
            }
}

static void bits(void) { bits_of(0); }
static void bits_emulated(void) { bits_of(1); }

/* Over several threads, with rows of W left over. */
static void threads(void)
{
    for (int t = 0; t < DT_COUNT; t++) product((enum dtype)t, 576, 1537, 0, 1);
    product(DT_F32, 576, 4801, 0, 0);
}

int main(void)
{
    static const char *const isa[] = {"generic", "avx2", "avx512", "avx512bf16", "amx", "tiles16"};
    for (int i = 0; i < (int)(sizeof isa / sizeof *isa); i++) {
        char name[64];
        setenv("PEFT_CPU_ISA", isa[i], 1);
        cx = (struct op_ctx){.dev = dev_open(DEVICE_CPU, 0, NULL), .act = DT_F32, .prec = DT_F32};
        case_seed(11);
        snprintf(name, sizeof name, "gemv/%s", isa[i]);
        if (strstr(dev_name(cx.dev), "lacks it")) {
            SKIP(name, "this CPU lacks it");
        } else {
            const int emulated = !strcmp(isa[i], "tiles16");
            RUN(emulated ? bits_emulated : bits, name);
            snprintf(name, sizeof name, "gemv/threads/%s", isa[i]);
            if (!emulated) RUN(threads, name);
        }
        dev_close(cx.dev);
    }
    return test_failed;
}
