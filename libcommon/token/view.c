/* view: --show and --stats of peft-tok. */
#include "libcommon/token/view.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/utf8.h"

/* Bytes of a token made visible: control characters and broken UTF-8 as escapes. */
static void put_token(struct buf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        int len = utf8_next(s + i, n - i, &cp);
        unsigned char c = (unsigned char)s[i];
        if (len == 0) {
            buf_printf(b, "\\x%02x", c);
            i++;
            continue;
        }
        if (c == '\n')
            buf_addz(b, "\\n");
        else if (c == '\t')
            buf_addz(b, "\\t");
        else if (c == '\r')
            buf_addz(b, "\\r");
        else if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0))
            buf_printf(b, "\\x%02x", (unsigned)cp);
        else
            buf_add(b, s + i, (size_t)len);
        i += (size_t)len;
    }
}

int view_row(const struct tokenizer *t, uint64_t row, const struct row_tokens *r, bool color, struct out *o,
             struct err *e)
{
    static const char *const fate[] = {"", ", dropped: longer than --max-len", ", dropped: nothing is trained on"};
    struct buf b = {0}, tok = {0};
    size_t trained = 0;
    int rc = 0;
    for (size_t i = 0; i < r->mask.n; i++) trained += r->mask.p[i] != 0;
    buf_printf(&b, "row %llu: %zu tokens, %zu trained on%s%s\n", (unsigned long long)row, r->ids.n, trained,
               fate[r->fate], r->truncated ? ", cut to --max-len" : "");
    for (size_t i = 0; i < r->ids.n && rc == 0; i++) {
        bool on = r->mask.p[i] != 0;
        tok.n = 0;
        rc = tokenizer_decode(t, &r->ids.v[i], 1, false, false, &tok, e);
        if (!on && i > 0 && !r->mask.p[i - 1]) buf_addz(&b, "\xc2\xb7");
        /* Two greens by turns, so that the ends of tokens can be seen. */
        if (on) buf_addz(&b, color ? (i & 1 ? "\033[30;42m" : "\033[30;102m") : "[");
        put_token(&b, tok.p, tok.n);
        if (on) buf_addz(&b, color ? "\033[0m" : "]");
    }
    buf_addz(&b, "\n\n");
    if (rc == 0) rc = out_write(o, b.p, b.n, e);
    buf_fini(&b);
    buf_fini(&tok);
    return rc;
}

void view_stats_add(struct view_stats *s, const struct row_tokens *r)
{
    s->rows++;
    s->tokens += r->ids.n;
    for (size_t i = 0; i < r->mask.n; i++) s->trained += r->mask.p[i] != 0;
    u32vec_add(&s->len, (uint32_t)r->ids.n);
}

static int by_length(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t quantile(const struct view_stats *s, double q)
{
    return s->len.n ? s->len.v[(size_t)(q * (double)(s->len.n - 1) + 0.5)] : 0;
}

/* Bins of equal width, 1, 2 or 5 times a power of ten, at most 20 of them. */
static void histogram(const struct view_stats *s, struct buf *b)
{
    enum { BINS = 20, BAR = 50 };
    uint32_t top = s->len.v[s->len.n - 1], width = 1;
    for (int i = 0; top / width >= BINS; i++) width = i % 3 == 1 ? width / 2 * 5 : width * 2;
    size_t count[BINS + 1] = {0}, most = 0;
    for (size_t i = 0; i < s->len.n; i++) count[s->len.v[i] / width]++;
    for (int i = 0; i < BINS; i++) most = count[i] > most ? count[i] : most;
    for (uint32_t i = 0; i <= top / width; i++) {
        size_t bar = (count[i] * BAR + most - 1) / most;
        buf_printf(b, "%6u-%-6u %9zu ", i * width, (i + 1) * width - 1, count[i]);
        while (bar-- > 0) buf_addc(b, '#');
        buf_addc(b, '\n');
    }
}

int view_stats_print(struct view_stats *s, bool json, struct out *o, struct err *e)
{
    struct buf b = {0};
    if (s->len.n) qsort(s->len.v, s->len.n, sizeof *s->len.v, by_length);
    static const char *const form[2] = {"rows      %llu\ntokens    %llu\ntrained   %llu\n"
                                        "length    min %u, median %u, 90 %% %u, 99 %% %u, max %u\n",
                                        "{\"rows\":%llu,\"tokens\":%llu,\"trained\":%llu,\"length\":{\"min\":%u,"
                                        "\"median\":%u,\"p90\":%u,\"p99\":%u,\"max\":%u}}\n"};
    buf_printf(&b, json ? form[1] : form[0], (unsigned long long)s->rows, (unsigned long long)s->tokens,
               (unsigned long long)s->trained, quantile(s, 0), quantile(s, 0.5), quantile(s, 0.9), quantile(s, 0.99),
               quantile(s, 1));
    if (!json && s->len.n) histogram(s, &b);
    int rc = out_write(o, b.p, b.n, e);
    buf_fini(&b);
    return rc;
}

void view_stats_fini(struct view_stats *s)
{
    free(s->len.v);
    *s = (struct view_stats){0};
}
