/* msg: lines on stderr for a person, or JSON objects for a program. Each line leaves by one write, so that the lines of
 * the stages of a pipe do not mix. A control character in a message is escaped here too, whatever its origin. */
#include "libcommon/base/msg.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/err.h"
#include "libcommon/base/mem.h"
#include "libcommon/base/utf8.h"

static struct {
    const char *tool;
    bool quiet, verbose, json;
    enum { PROGRESS_NONE, PROGRESS_LINE, PROGRESS_LOG } progress;
    char line[512]; /* the progress line shown now; "" for none */
    struct timespec shown;
} state = {.tool = "peft"};
enum { LOG_SECONDS = 30 };

void msg_init(const char *tool, bool quiet, bool verbose, bool json)
{
    state.tool = tool;
    state.quiet = quiet;
    state.verbose = verbose;
    state.json = json;
    const char *term = getenv("TERM");
    struct stat out;
    bool pipe = fstat(STDOUT_FILENO, &out) == 0 && S_ISFIFO(out.st_mode);
    bool screen = isatty(STDERR_FILENO);
    state.progress = !screen ? PROGRESS_LOG : pipe || (term && !strcmp(term, "dumb")) ? PROGRESS_NONE : PROGRESS_LINE;
    clock_gettime(CLOCK_MONOTONIC, &state.shown);
}

static void put(const struct buf *b)
{
    for (size_t at = 0; at < b->n;) {
        ssize_t n = write(STDERR_FILENO, b->p + at, b->n - at);
        if (n <= 0) return; /* nobody is left to tell */
        at += (size_t)n;
    }
}

static void add_json(struct buf *b, const char *name, const char *s, size_t n)
{
    buf_printf(b, "\"%s\":\"", name);
    for (size_t i = 0; i < n;) {
        uint32_t c = 0;
        int len = utf8_next(s + i, n - i, &c);
        if (!len)
            buf_addz(b, "\\ufffd");
        else if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", (char)c);
        else if (c == '\n')
            buf_addz(b, "\\n");
        else if (utf8_is_control(c))
            buf_printf(b, "\\u%04x", (unsigned)c);
        else
            buf_add(b, s + i, (size_t)len);
        i += len ? (size_t)len : 1;
    }
    buf_addc(b, '"');
}

static void add_text(struct buf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t c = (unsigned char)s[i];
        int len = utf8_next(s + i, n - i, &c);
        if (len == 1 ? utf8_is_control(c) : !len)
            buf_printf(b, "\\x%02x", (unsigned char)s[i]);
        else if (utf8_is_control(c))
            buf_printf(b, "\\u%04x", (unsigned)c);
        else
            buf_add(b, s + i, (size_t)len);
        i += len ? (size_t)len : 1;
    }
}

static void clear_progress(struct buf *b)
{
    if (state.line[0]) buf_addz(b, "\r\033[K");
}

static void add_progress(struct buf *b)
{
    if (state.line[0]) buf_printf(b, "\r%s\033[K", state.line);
}

/* One message of one line; id NULL or the error's, code its exit code, hint NULL or lines. */
static void emit(const char *level, const char *id, int code, const char *text, size_t n, const char *hint)
{
    struct buf b = {0};
    if (state.json) {
        buf_addc(&b, '{');
        add_json(&b, "tool", state.tool, strlen(state.tool));
        buf_addc(&b, ',');
        add_json(&b, "level", level, strlen(level));
        if (id) buf_printf(&b, ",\"id\":\"%s\",\"code\":%d", id, code);
        buf_addc(&b, ',');
        add_json(&b, "message", text, n);
        if (hint && *hint) {
            buf_addc(&b, ',');
            add_json(&b, "hint", hint, strlen(hint));
        }
        buf_addz(&b, "}\n");
    } else {
        clear_progress(&b);
        buf_printf(&b, "%s: %s%s", state.tool, level, *level ? ": " : "");
        add_text(&b, text, n);
        if (id) buf_printf(&b, " [%s]", id);
        buf_addc(&b, '\n');
        while (hint && *hint) {
            size_t len = strcspn(hint, "\n");
            buf_printf(&b, "%s: hint: ", state.tool);
            add_text(&b, hint, len);
            buf_addc(&b, '\n');
            hint += len + (hint[len] == '\n');
        }
        add_progress(&b);
    }
    put(&b);
    buf_fini(&b);
}

#define EMIT(level)                                 \
    do {                                            \
        struct buf text = {0};                      \
        va_list ap;                                 \
        va_start(ap, fmt);                          \
        buf_vprintf(&text, fmt, ap);                \
        va_end(ap);                                 \
        emit(level, NULL, 0, text.p, text.n, NULL); \
        buf_fini(&text);                            \
    } while (0)

void msg_warn(const char *fmt, ...) { EMIT("warning"); }

void msg_note(const char *fmt, ...)
{
    if (!state.quiet) EMIT("note");
}

void msg_debug(const char *fmt, ...)
{
    if (state.verbose) EMIT("debug");
}

void msg_error(const struct err *e)
{
    const char *s = e->msg;
    do {
        size_t len = strcspn(s, "\n");
        bool last = !s[len];
        emit("error", err_name(e->id), err_exit_code(e->id), s, len, last ? e->hint : NULL);
        s += len + !last;
    } while (*s);
}

/* Add s to a line of fixed size, of which the last two bytes stay free. */
static size_t append(char *line, size_t size, size_t n, const char *s, bool json)
{
    for (; *s && n + 4 < size; s++) {
        if (json && (*s == '"' || *s == '\\')) line[n++] = '\\';
        line[n++] = *s;
    }
    return n;
}

void msg_last(int id, const char *text)
{
    static const char *const plain[] = {"", ": error: ", " [", "]"};
    static const char *const json[] = {"{\"tool\":\"", "\",\"level\":\"error\",\"message\":\"", "\",\"id\":\"", "\"}"};
    const char *const *around = state.json ? json : plain, *const say[] = {state.tool, text, err_name(id)};
    char line[1024];
    size_t n = state.line[0] ? append(line, sizeof line, 0, "\r\033[K", false) : 0;
    for (int i = 0; i < 3; i++) {
        n = append(line, sizeof line, n, around[i], false);
        n = append(line, sizeof line, n, say[i], state.json);
    }
    n = append(line, sizeof line, n, around[3], false);
    line[n++] = '\n';
    put(&(struct buf){.p = line, .n = n});
}

bool msg_is_terminal(void) { return state.progress == PROGRESS_LINE && !state.quiet && !state.json; }

int msg_columns(int fd)
{
    struct winsize w;
    return isatty(fd) && !ioctl(fd, TIOCGWINSZ, &w) ? w.ws_col : 0;
}

/* Cut the text to so many characters; a wrapped line could not be rewritten. */
static void cut_to(char *s, int columns)
{
    uint32_t c;
    size_t n = strlen(s), i = 0;
    for (int k = 0; i < n && k < columns; k++) {
        int len = utf8_next(s + i, n - i, &c);
        i += len ? (size_t)len : 1;
    }
    s[i] = '\0';
}

void msg_progress(const char *fmt, ...)
{
    bool line = msg_is_terminal();
    if (!line && (state.quiet || state.progress != PROGRESS_LOG || !fmt)) return;
    struct buf b = {0};
    if (!fmt) {
        clear_progress(&b);
        state.line[0] = '\0';
    } else {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        double s = (double)(now.tv_sec - state.shown.tv_sec) + 1e-9 * (double)(now.tv_nsec - state.shown.tv_nsec);
        if (line ? state.line[0] && s < 0.1 : s < LOG_SECONDS) return;
        state.shown = now;
        char text[sizeof state.line];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        if (!line) {
            emit("progress", NULL, 0, text, strlen(text), NULL);
            return;
        }
        int columns = msg_columns(STDERR_FILENO);
        if (columns > 1) cut_to(text, columns - 1);
        memcpy(state.line, text, sizeof text);
        add_progress(&b);
    }
    put(&b);
    buf_fini(&b);
}

void msg_account(unsigned long long in, unsigned long long out, unsigned long long dropped, const char *reasons)
{
    if (state.quiet) return;
    struct buf b = {0};
    if (state.json) {
        buf_printf(&b, "{\"tool\":\"%s\",\"level\":\"account\",\"in\":%llu,\"out\":%llu,\"dropped\":%llu,", state.tool,
                   in, out, dropped);
        add_json(&b, "reason", reasons, strlen(reasons));
        buf_addz(&b, "}\n");
    } else {
        clear_progress(&b);
        buf_printf(&b, "%s: in=%llu out=%llu dropped=%llu reason=%s\n", state.tool, in, out, dropped, reasons);
        add_progress(&b);
    }
    put(&b);
    buf_fini(&b);
}
