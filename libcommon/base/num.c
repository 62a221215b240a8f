/* num: text to numbers and back. The process never sets LC_NUMERIC (tool_main sets LC_CTYPE alone), so that strtod and
 * printf use the decimal point; the grammar is checked here before strtod sees it. */
#include "libcommon/base/num.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool digit(char c) { return c >= '0' && c <= '9'; }

bool num_u64(const char *s, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    if (n == 0) return false;
    for (size_t i = 0; i < n; i++) {
        if (!digit(s[i])) return false;
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, (uint64_t)(s[i] - '0'), &v))
            return false;
    }
    *out = v;
    return true;
}

bool num_i64(const char *s, size_t n, int64_t *out)
{
    if (n == 0) return false;
    bool neg = s[0] == '-';
    size_t skip = neg || s[0] == '+';
    uint64_t v;
    if (!num_u64(s + skip, n - skip, &v) || v > (uint64_t)INT64_MAX + neg) return false;
    *out = neg ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* [+-] digits [. digits] [e [+-] digits], with at least one digit in the mantissa */
static bool is_decimal(const char *s, size_t n)
{
    size_t i = 0, digits = 0;
    if (i < n && (s[i] == '+' || s[i] == '-')) i++;
    for (; i < n && digit(s[i]); i++) digits++;
    if (i < n && s[i] == '.') i++;
    for (; i < n && digit(s[i]); i++) digits++;
    if (!digits) return false;
    if (i < n && (s[i] == 'e' || s[i] == 'E')) {
        size_t from = ++i;
        if (i < n && (s[i] == '+' || s[i] == '-')) from = ++i;
        while (i < n && digit(s[i])) i++;
        if (i == from) return false;
    }
    return i == n;
}

bool num_f64(const char *s, size_t n, double *out)
{
    char z[512];
    if (n >= sizeof z || !is_decimal(s, n)) return false;
    memcpy(z, s, n);
    z[n] = '\0';
    double x = strtod(z, NULL);
    if (!isfinite(x)) return false;
    *out = x;
    return true;
}

bool num_size(const char *s, size_t n, uint64_t *out)
{
    static const char units[] = "KMGT";
    int shift = 0;
    double x;
    const bool binary = n > 2 && !memcmp(s + n - 2, "iB", 2);
    if (binary) n -= 2;
    const char *u = n > 1 ? memchr(units, s[n - 1], sizeof units - 1) : NULL;
    if (u) shift = 10 * (int)(u - units + 1), n--;
    if (!u && binary) return false;
    if (!u) return num_u64(s, n, out) && *out >= 1 && *out < (uint64_t)1 << 62; /* each byte counts */
    for (size_t i = 0; i < n; i++)
        if (!digit(s[i]) && s[i] != '.') return false;
    if (!num_f64(s, n, &x)) return false;
    x = ldexp(x, shift);
    if (!(x >= 1 && x < 0x1p62)) return false;
    *out = (uint64_t)x;
    return true;
}

int num_format(double x, char *buf)
{
    int n = 0;
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(buf, 32, "%.*g", digits, x);
        if (strtod(buf, NULL) == x) break;
    }
    return n;
}

const char *num_bytes(uint64_t n)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    static _Thread_local char ring[8][24];
    static _Thread_local unsigned next;
    char *out = ring[next++ % 8];
    int u = 0;
    double x = (double)n;
    while (x >= 1023.95 && u < 6) x /= 1024, u++; /* 1023.95 would print as 1024.0 */
    bool whole = u == 0 || x == floor(x) || x >= 100;
    snprintf(out, sizeof ring[0], whole ? "%.0f %s" : "%.1f %s", x, unit[u]);
    return out;
}
