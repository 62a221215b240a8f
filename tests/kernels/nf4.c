/* DT_NF4 against what bitsandbytes recorded (tests/parity/record_nf4.py): every code, absmax and value, in each
 * instruction set; and what is not finite. */
#include "tests/test.h"
#include "kernels/nf4.h"
#include "kernels/simd.h"
#include "tests/kernels/cases.h"

struct record {
    float x[64], absmax;
    unsigned char code[32];
    float y[64];
};
static struct record rec[64];
static size_t n;

static void values(const unsigned char *q, const float *want)
{
    static const char *const names[] = {"generic", "avx2", "avx512", "avx512bf16"};
    float y[64];
    const char *note;
    dtype_to_f32(DT_NF4, q, y, 64);
    CHECK(!memcmp(y, want, sizeof y));
    for (int s = 0; s < 4; s++) {
        const struct simd *set = simd_choose(names[s], &note);
        case_poison(y, sizeof y);
        set->f32->unpack(DT_NF4, q, 0, 64, y);
        CHECK_MSG(!memcmp(y, want, sizeof y), "%s", set->name);
    }
}

static void recorded(void)
{
    CHECK(n == 20);
    for (size_t r = 0; r < n; r++) {
        unsigned char q[37];
        dtype_from_f32(DT_NF4, rec[r].x, q + 1, 64);
        CHECK_MSG(!memcmp(q + 1, &rec[r].absmax, 4), "block %zu: absmax", r);
        for (int i = 0; i < 64; i++) {
            const int want = rec[r].code[i / 2] >> (i % 2 ? 0 : 4) & 15;
            CHECK_MSG(nf4_code(q + 1, i) == want, "block %zu, value %d (%.9g of %.9g): code %d, recorded is %d", r, i,
                      (double)rec[r].x[i], (double)rec[r].absmax, nf4_code(q + 1, i), want);
        }
        values(q + 1, rec[r].y);
    }
}

/* All 16 codes at all 64 places. */
static void places(void)
{
    for (int shift = 0; shift < 16; shift++) {
        unsigned char q[36];
        float x[64];
        for (int i = 0; i < 64; i++) x[i] = nf4_value[(i + shift) % 16];
        dtype_from_f32(DT_NF4, x, q, 64);
        values(q, x);
    }
}

static void not_finite(void)
{
    for (int at = 0; at < 64; at++) {
        unsigned char q[36];
        float x[64], y[64];
        for (int i = 0; i < 64; i++) x[i] = case_value(1);
        x[at] = NAN;
        dtype_from_f32(DT_NF4, x, q, 64);
        dtype_to_f32(DT_NF4, q, y, 64);
        for (int i = 0; i < 64; i++) CHECK(isnan(y[i]));
        x[at] = -INFINITY;
        dtype_from_f32(DT_NF4, x, q, 64);
        dtype_to_f32(DT_NF4, q, y, 64);
        CHECK(!isfinite(y[at]));
    }
}

int main(void)
{
    FILE *f = fopen("tests/parity/vectors/nf4.bin", "rb");
    n = f ? fread(rec, sizeof *rec, 64, f) : 0;
    if (f) fclose(f);
    case_seed(3);
    RUN(recorded, "nf4/recorded");
    RUN(places, "nf4/places");
    RUN(not_finite, "nf4/not_finite");
    return test_failed;
}
