/* msg: what progress says when stderr is a file: a line every 30 seconds, by a clock that this test sets. */
#include "libcommon/base/msg.h"

#include <time.h>
#include <unistd.h>

#include "tests/test.h"

static time_t now = 1000;

int clock_gettime(clockid_t id, struct timespec *t)
{
    (void)id;
    *t = (struct timespec){.tv_sec = now};
    return 0;
}

static char said[512];

/* Progress at these seconds; what is on stderr then. */
static void work(bool quiet, bool json, const int *at, int n)
{
    FILE *f = tmpfile();
    int was = dup(STDERR_FILENO);
    dup2(fileno(f), STDERR_FILENO);
    now = 1000;
    msg_init("tool", quiet, false, json);
    for (int i = 0; i < n; i++) {
        now = 1000 + at[i];
        msg_progress("step %d", i);
    }
    msg_progress(NULL);
    dup2(was, STDERR_FILENO);
    close(was);
    rewind(f);
    said[fread(said, 1, sizeof said - 1, f)] = 0;
    fclose(f);
}

static void lines(void)
{
    static const int at[] = {0, 29, 31, 40, 60, 61, 200};
    work(false, false, at, 7);
    CHECK_STR(said, "tool: progress: step 2\ntool: progress: step 5\ntool: progress: step 6\n");
    work(true, false, at, 7);
    CHECK_STR(said, "");
    work(false, true, at, 3);
    CHECK_STR(said, "{\"tool\":\"tool\",\"level\":\"progress\",\"message\":\"step 2\"}\n");
}

static void controls(void)
{
    FILE *f = tmpfile();
    int was = dup(STDERR_FILENO);
    dup2(fileno(f), STDERR_FILENO);
    msg_init("tool", false, false, false);
    msg_warn("a\033b\xc2\x9b c\xe2\x80\xae d\xff \xc3\xa9");
    dup2(was, STDERR_FILENO);
    close(was);
    rewind(f);
    said[fread(said, 1, sizeof said - 1, f)] = 0;
    fclose(f);
    CHECK_STR(said, "tool: warning: a\\x1bb\\u009b c\\u202e d\\xff \xc3\xa9\n");
}

int main(void)
{
    RUN(lines, "msg: progress in a file, every 30 seconds");
    RUN(controls, "msg: control characters");
    return test_failed;
}
