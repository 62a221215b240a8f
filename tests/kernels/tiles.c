/* The set "tiles16" gives the bits of "amx" in plain C: both against bits recorded on a CPU with AMX (Granite Rapids),
 * over both products, every type of weight, ragged shapes, and values at the edges of f32: denormal, infinite, NaN; and
 * over attention, forward and backward. */
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

/* So small that what is kept of products and sums are denormal numbers, or would be. */
static void tiny(float *x, long n)
{
    for (long i = 0; i < n; i++) x[i] *= i % 3 ? 0x1p-125f : 0x1p-128f;
}

enum values { PLAIN, STRANGE, TINY };
static uint64_t product(uint64_t h, enum dtype t, int sum, long m, long n, long k, enum values values)
{
    const long kp = gemm_lanes(k, 1);
    struct case_mat w = case_mat(t, (int)(sum ? k : n), (int)(sum ? n : k), 0.3f);
    float *x = case_floats(m * k, 1), *a = case_alloc((size_t)(m * kp) * sizeof *a), *y = case_floats(m * n, 1);
    if (values == STRANGE) strange(x, m * k), strange(y, m * n);
    if (values == TINY) tiny(x, m * k), tiny(y, m * n);
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
        for (int v = PLAIN; v <= TINY; v++)
            for (int i = 0; i < 5; i++)
                for (int sum = 0; sum < 2; sum++)
                    h = product(h, (enum dtype)t, sum, m[i], n[i % 2], n[1 - i % 2], (enum values)v);
    for (int few = 0; few < 2; few++) /* more than a block of A */
        for (int sum = 0; sum < 2; sum++) h = product(h, DT_Q4_0, sum, few ? 3 : 19, 64, 2432, PLAIN);
    return product(product(h, DT_BF16, 0, 33, 47, 75, STRANGE), DT_F32, 1, 33, 47, 75, STRANGE);
}

/* Two sequences of nq queries, behind `before` keys. */
static uint64_t attended(uint64_t h, int nq, int before, int H, int K, int D, int window, float softcap)
{
    const int32_t q_start[] = {0, nq}, q_len[] = {nq, nq}, kv_start[] = {0, nq + before},
                  kv_len[] = {nq + before, nq + before};
    const struct attn a = {.B = 2,
                           .H = H,
                           .K = K,
                           .D = D,
                           .scale = 0.3f,
                           .q_start = q_start,
                           .q_len = q_len,
                           .kv_start = kv_start,
                           .kv_len = kv_len,
                           .ldq = H * D,
                           .ldk = K * D,
                           .ldv = K * D,
                           .ldo = H * D,
                           .max_q = nq,
                           .max_kv = nq + before,
                           .window = window,
                           .softcap = softcap};
    const long n = 2L * nq * H * D, m = 2L * (nq + before) * K * D;
    float *q = case_floats(n, 2), *k = case_floats(m, 2), *v = case_floats(m, 1), *d_o = case_floats(n, 1);
    float *o = case_alloc((size_t)n * 4), *lse = case_alloc((size_t)(2 * nq * H) * 4);
    float *d_q = case_alloc((size_t)n * 4), *d_k = case_alloc((size_t)m * 4), *d_v = case_alloc((size_t)m * 4);
    cx.scratch_bytes = op_attn_scratch(&cx, &a, 2L * nq, 1);
    cx.scratch = case_alloc(cx.scratch_bytes);
    CHECK(!cpu_attn_fwd(&cx, o, lse, q, k, v, &a));
    CHECK(!cpu_attn_bwd(&cx, d_q, d_k, d_v, d_o, q, k, v, o, lse, &a));
    h = digest(digest(h, o, n), lse, 2L * nq * H);
    h = digest(digest(digest(h, d_q, n), d_k, m), d_v, m);
    free(q), free(k), free(v), free(d_o), free(o), free(lse), free(d_q), free(d_k), free(d_v), free(cx.scratch);
    return h;
}

static uint64_t attention(void)
{
    uint64_t h = 0xcbf29ce484222325u;
    case_seed(5);
    h = attended(h, 18, 0, 6, 2, 40, 0, 0);
    h = attended(h, 7, 130, 3, 1, 16, 0, 0); /* two blocks of keys */
    h = attended(h, 45, 0, 2, 2, 20, 5, 3);
    return attended(h, 1, 150, 6, 2, 40, 140, 0); /* a decode step */
}

static void same(uint64_t got, uint64_t want)
{
    CHECK_MSG(got == want, "%s: %016llx, recorded %016llx", dev_name(cx.dev), (unsigned long long)got,
              (unsigned long long)want);
}
static void products(void) { same(all(), 0xf07d2eb1883a23ac); }
static void attentions(void) { same(attention(), 0x3c9239b205d507ac); }

int main(void)
{
    static const char *const isa[] = {"amx", "tiles16"};
    for (int i = 0; i < 2; i++) {
        char name[64];
        setenv("PEFT_CPU_ISA", isa[i], 1);
        cx = (struct op_ctx){.dev = dev_open(DEVICE_CPU, 0, NULL), .act = DT_F32, .prec = DT_BF16};
        snprintf(name, sizeof name, "tiles/%s", isa[i]);
        if (strstr(dev_name(cx.dev), "lacks it")) {
            SKIP(name, "this CPU lacks it");
        } else {
            RUN(products, name);
            snprintf(name, sizeof name, "tiles/attention/%s", isa[i]);
            RUN(attentions, name);
        }
        dev_close(cx.dev);
    }
    return test_failed;
}
