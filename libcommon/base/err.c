/* err: filling and describing the error value. It prints nothing; msg.c and tool.c do. */
#include "libcommon/base/err.h"

#include <errno.h>
#include <langinfo.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "libcommon/base/utf8.h"

static const struct {
    const char *text;
    int code;
} table[E_COUNT] = {
#define ERR(id, text, code, meaning) [id] = {text, code},
#include "libcommon/base/errors.def"
#undef ERR
};

static bool known(int id) { return id > E_NONE && id < E_COUNT; }
const char *err_name(int id) { return known(id) ? table[id].text : "E-BUG"; }
int err_exit_code(int id) { return known(id) ? table[id].code : 70; }

int err_set(struct err *e, enum err_id id, const char *fmt, ...)
{
    if (e->id) return -e->id;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    e->id = id;
    e->hint[0] = '\0';
    return -e->id;
}

int err_hint(struct err *e, const char *fmt, ...)
{
    size_t n = strlen(e->hint);
    if (n && n + 1 < sizeof e->hint) e->hint[n++] = '\n';
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->hint + n, sizeof e->hint - n, fmt, ap);
    va_end(ap);
    return -e->id;
}

int err_sys(struct err *e, enum err_id id, const char *fmt, ...)
{
    int err = errno;
    if (e->id) return -e->id;
    if (err == ENOSPC || err == EIO || err == EDQUOT || err == EFBIG) id = E_IO;
    if (err == ENOMEM) id = E_NOMEM;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    size_t n = strlen(e->msg);
    snprintf(e->msg + n, sizeof e->msg - n, ": %s", strerror(err));
    e->id = id;
    e->hint[0] = '\0';
    if (err == ENOSPC || err == EDQUOT) err_hint(e, "free some space there and run it again");
    errno = err;
    return -e->id;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
    char old[sizeof e->msg];
    memcpy(old, e->msg, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    size_t n = strlen(e->msg);
    snprintf(e->msg + n, sizeof e->msg - n, "%s", old);
    return -e->id;
}

/* Within quotes what cannot be seen is escaped too. */
static bool is_control(uint32_t c)
{
    return utf8_is_control(c) || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x2029) ||
           (c >= 0x2060 && c <= 0x206f) || c == 0xfeff;
}

const char *err_quote(const char *s, unsigned long n)
{
    enum { CHARS = 80, SIZE = CHARS * 16 + 8 };
    static _Thread_local char ring[4][SIZE];
    static _Thread_local unsigned next;
    char *out = ring[next++ % 4], *o = out;
    /* In another locale a byte of 0x80-0x9f would reach the terminal as a control character. */
    bool utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
    unsigned long i = 0;
    int chars = 0;
    *o++ = '\'';
    while (i < n && chars++ < CHARS) {
        uint32_t c = 0;
        int len = utf8_next(s + i, n - i, &c);
        unsigned char b = (unsigned char)s[i];
        if (len == 1 && (b == '\'' || b == '\\')) {
            *o++ = '\\';
            *o++ = (char)b;
        } else if (len && !is_control(c) && (utf8 || c < 0x80)) {
            memcpy(o, s + i, (size_t)len);
            o += len;
        } else if (len == 1 && b && strchr("\n\t\r", b)) {
            *o++ = '\\';
            *o++ = b == '\n' ? 'n' : b == '\t' ? 't' : 'r';
        } else {
            for (int k = 0; k < (len ? len : 1); k++)
                o += sprintf(o, "\\x%02x", (unsigned char)s[i + (unsigned long)k]);
        }
        i += len ? (unsigned long)len : 1;
    }
    strcpy(o, i < n ? "...'" : "'");
    return out;
}

const char *err_quotez(const char *s) { return s ? err_quote(s, strlen(s)) : "(null)"; }

/* Edit distance (insert, delete, replace, swap of neighbours); '-' and '_' count as the same. 255 when too long. */
static int distance(const char *a, const char *b)
{
    enum { MAX = 96 };
    int row[3][MAX + 1];
    int n = (int)strlen(a), m = (int)strlen(b);
    if (n > MAX || m > MAX) return 255;
    for (int j = 0; j <= m; j++) row[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *cur = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
        cur[0] = i;
        for (int j = 1; j <= m; j++) {
            char x = a[i - 1] == '_' ? '-' : a[i - 1], y = b[j - 1] == '_' ? '-' : b[j - 1];
            int d = up[j - 1] + (x != y);
            if (up[j] + 1 < d) d = up[j] + 1;
            if (cur[j - 1] + 1 < d) d = cur[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && up2[j - 2] + 1 < d)
                d = up2[j - 2] + 1;
            cur[j] = d;
        }
    }
    return row[n % 3][m];
}

const char *err_nearest(const char *s, const char *const *names, int n)
{
    const char *best = NULL;
    int len = (int)strlen(s), best_d = len / 3 + 2;
    for (int i = 0; i < n; i++) {
        int d = distance(s, names[i]);
        if (d < best_d && 2 * d <= len) {
            best_d = d;
            best = names[i];
        }
    }
    return best;
}
