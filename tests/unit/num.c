/* num: what is a number and what is not, and the way back. */
#include "libcommon/base/num.h"

#include <math.h>

#include "libcommon/base/rng.h"
#include "tests/test.h"

static void integers(void)
{
    int64_t i;
    uint64_t u;
#define OK_I(s, want) CHECK_MSG(num_i64(s, strlen(s), &i) && i == (want), "%s", s)
#define NO_I(s)       CHECK_MSG(!num_i64(s, strlen(s), &i), "%s", s)
    OK_I("0", 0);
    OK_I("-0", 0);
    OK_I("+17", 17);
    OK_I("007", 7);
    OK_I("9223372036854775807", INT64_MAX);
    OK_I("-9223372036854775808", INT64_MIN);
    NO_I("9223372036854775808");
    NO_I("-9223372036854775809");
    NO_I("99999999999999999999999");
    NO_I("");
    NO_I("-");
    NO_I("+-1");
    NO_I(" 1");
    NO_I("1 ");
    NO_I("0x10");
    NO_I("1.0");
    NO_I("1e3");
    CHECK(num_u64("18446744073709551615", 20, &u) && u == UINT64_MAX);
    CHECK(!num_u64("18446744073709551616", 20, &u));
    CHECK(!num_u64("-1", 2, &u));
    CHECK(num_u64("123xyz", 3, &u) && u == 123); /* the length counts, not a NUL */
}

static void floats(void)
{
    double x;
#define OK_F(s, want) CHECK_MSG(num_f64(s, strlen(s), &x) && x == (want), "%s", s)
#define NO_F(s)       CHECK_MSG(!num_f64(s, strlen(s), &x), "%s", s)
    OK_F("2e-4", 2e-4);
    OK_F("2E+4", 2e4);
    OK_F("-.5", -0.5);
    OK_F("5.", 5);
    OK_F("1e-400", 0);
    NO_F("1e400");
    NO_F("inf");
    NO_F("nan");
    NO_F("0x1p3");
    NO_F("");
    NO_F(".");
    NO_F("1e");
    NO_F("1e+");
    NO_F("1,5");
    NO_F(" 1");
    NO_F("1 ");
    NO_F("1_000");
    char many[600];
    memset(many, '1', sizeof many);
    CHECK(!num_f64(many, sizeof many, &x));
    CHECK(num_f64(many, 300, &x));
}

static void shortest(void)
{
    char b[32];
    num_format(0.1, b);
    CHECK_STR(b, "0.1");
    num_format(2e-4, b);
    CHECK_STR(b, "0.0002");
    num_format(16, b);
    CHECK_STR(b, "16");
    num_format(1.0 / 3, b);
    CHECK_STR(b, "0.3333333333333333");
    for (uint64_t i = 0; i < 20000; i++) {
        union {
            uint64_t u;
            double d;
        } v = {.u = rng_u64(1, RNG_SAMPLE, i)};
        double back;
        if (!isfinite(v.d)) continue;
        int n = num_format(v.d, b);
        CHECK_MSG(n < 32 && num_f64(b, (size_t)n, &back) && back == v.d, "%s", b);
    }
}

static void bytes(void)
{
    CHECK_STR(num_bytes(0), "0 B");
    CHECK_STR(num_bytes(1023), "1023 B");
    CHECK_STR(num_bytes(1024), "1 KiB");
    CHECK_STR(num_bytes(262144), "256 KiB");
    CHECK_STR(num_bytes(1503238553), "1.4 GiB");
    CHECK_STR(num_bytes(1048575), "1.0 MiB");
    CHECK_STR(num_bytes(UINT64_MAX), "16 EiB");
}

static void sizes(void)
{
    static const struct {
        const char *text;
        uint64_t want; /* 0: refused */
    } t[] = {{"1", 1},
             {"24G", 24ull << 30},
             {"24GiB", 24ull << 30},
             {"81920M", 80ull << 30},
             {"1.5K", 1536},
             {"2T", 2ull << 40},
             {"", 0},
             {"G", 0},
             {"0", 0},
             {"-1G", 0},
             {"24X", 0},
             {"24 G", 0},
             {"24GB", 0},
             {"1e30", 0},
             {"iB", 0},
             {"55iB", 0},
             {"1.5", 0},
             {"1e3", 0},
             {"1e3G", 0},
             {"+5G", 0},
             {"5Gi", 0},
             {"5KM", 0},
             {"5g", 0},
             {"0.0001K", 0},
             {"1.2.3G", 0},
             {"0.5K", 512},
             {"9007199254740993", 9007199254740993},
             {"4611686018427387904", 0},
             {"4194304T", 0}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        uint64_t got = 0;
        const bool ok = num_size(t[i].text, strlen(t[i].text), &got);
        CHECK_MSG(ok == (t[i].want != 0) && (!ok || got == t[i].want), "%s: %llu", t[i].text, (unsigned long long)got);
    }
    uint64_t got;
    CHECK(!num_size("24G\0", 4, &got) && !num_size("24\0", 3, &got));
}

int main(void)
{
    RUN(integers, "num/integers");
    RUN(floats, "num/floats");
    RUN(shortest, "num/format");
    RUN(bytes, "num/bytes");
    RUN(sizes, "num: sizes");
    return test_failed;
}
