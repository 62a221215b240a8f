/* rng: the published known answers of Philox 4x32-10 (Random123), and what the distributions promise. */
#include "libcommon/base/rng.h"

#include <math.h>

#include "kernels/philox.h"
#include "tests/test.h"

static void known_answers(void)
{
    static const struct {
        uint32_t ctr[4], key[2], out[4];
    } kat[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof kat / sizeof *kat; i++) {
        uint32_t out[4];
        philox4x32(kat[i].ctr, kat[i].key, out);
        for (int k = 0; k < 4; k++) CHECK_MSG(out[k] == kat[i].out[k], "vector %zu word %d: %08x", i, k, out[k]);
    }
}

static void layout_is_fixed(void)
{
    /* Part of the format: the first word of (seed 0, stream 0, index 0) is the zero vector's. */
    CHECK(rng_u64(0, 0, 0) == 0xe169c58d6627e8d5ull);
    CHECK(rng_u64(42, RNG_SHUFFLE, 0) != rng_u64(42, RNG_INIT, 0));
    CHECK(rng_u64(42, RNG_INIT, 1) != rng_u64(42, RNG_INIT, 1ull << 32));
    CHECK(rng_u64(1, RNG_INIT, 7) != rng_u64(1ull << 32, RNG_INIT, 7));
}

static void moments(void)
{
    enum { N = 200000 };
    double s1 = 0, s2 = 0, s4 = 0, u1 = 0;
    for (int i = 0; i < N; i++) {
        double x = rng_normal(42, RNG_INIT, (uint64_t)i), u = rng_unit(42, RNG_SAMPLE, (uint64_t)i);
        CHECK(isfinite(x));
        CHECK(u >= 0 && u < 1);
        s1 += x, s2 += x * x, s4 += x * x * x * x, u1 += u;
    }
    CHECK_MSG(fabs(s1 / N) < 0.01, "mean %g", s1 / N);
    CHECK_MSG(fabs(s2 / N - 1) < 0.015, "variance %g", s2 / N);
    CHECK_MSG(fabs(s4 / N - 3) < 0.1, "fourth moment %g", s4 / N);
    CHECK_MSG(fabs(u1 / N - 0.5) < 0.005, "mean of unit %g", u1 / N);
}

static void permutation(void)
{
    enum { N = 1000 };
    uint32_t a[N], b[N], c[N];
    unsigned char seen[N] = {0};
    rng_permute(a, N, 42, 0);
    rng_permute(b, N, 42, 0);
    rng_permute(c, N, 42, 1);
    CHECK(!memcmp(a, b, sizeof a));
    CHECK(memcmp(a, c, sizeof a));
    int fixed = 0;
    for (int i = 0; i < N; i++) {
        CHECK(a[i] < N && !seen[a[i]]);
        if (a[i] < N) seen[a[i]] = 1;
        fixed += a[i] == (uint32_t)i;
    }
    CHECK(fixed < 10); /* expected: one */
    rng_permute(a, 0, 42, 0);
    rng_permute(a, 1, 42, 0);
    CHECK(a[0] == 0);
    /* Of three things each order comes up about a sixth of the time. */
    int count[27] = {0};
    for (uint64_t e = 0; e < 6000; e++) {
        rng_permute(a, 3, 7, e);
        count[a[0] * 9 + a[1] * 3 + a[2]]++;
    }
    int orders = 0;
    for (int i = 0; i < 27; i++) {
        if (count[i]) {
            orders++;
            CHECK_MSG(count[i] > 850 && count[i] < 1150, "order %d: %d", i, count[i]);
        }
    }
    CHECK(orders == 6);
}

static void hash(void)
{
    CHECK(rng_hash(42, "abc", 3) == rng_hash(42, "abc", 3));
    CHECK(rng_hash(42, "abc", 3) != rng_hash(43, "abc", 3));
    CHECK(rng_hash(42, "abc", 3) != rng_hash(42, "abc\0", 4));
    CHECK(rng_hash(42, "", 0) != rng_hash(42, "\0", 1));
    char x[40] = "the same sixteen bytes twice over, tail";
    uint64_t h = rng_hash(1, x, sizeof x);
    x[17] ^= 1;
    CHECK(h != rng_hash(1, x, sizeof x));
    /* A tenth of many keys falls below a tenth of the range. */
    int low = 0;
    for (int i = 0; i < 20000; i++) {
        char key[32];
        int n = snprintf(key, sizeof key, "row %d", i);
        low += (double)rng_hash(42, key, (uint64_t)n) < 0.1 * 18446744073709551616.0;
    }
    CHECK_MSG(low > 1850 && low < 2150, "%d of 20000", low);
}

int main(void)
{
    RUN(known_answers, "rng/known-answers");
    RUN(layout_is_fixed, "rng/layout");
    RUN(moments, "rng/moments");
    RUN(permutation, "rng/permute");
    RUN(hash, "rng/hash");
    return test_failed;
}
