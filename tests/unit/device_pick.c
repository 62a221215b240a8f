/* device_pick: what --device takes, and the reason why a device is not there. */
#include "libcommon/model/device_pick.h"
#include <stdlib.h>
#include <sys/resource.h>
#include "kernels/device_internal.h"
#include "libcommon/model/plan.h"
#include "tests/test.h"

static void names(void)
{
    static const char *const wrong[] = {"", "gpu", "cpu0", "cuda:", "cuda0", "cuda:x", "cuda:-1", "cuda:1024"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct err e = {0};
        CHECK_MSG(!device_pick(wrong[i], 0, &e) && e.id == E_USAGE, "'%s': %s", wrong[i], e.msg);
    }
    static const char *const right[] = {"cpu", "auto"};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        struct err e = {0};
        struct device *d = device_pick(right[i], 0, &e);
        CHECK_MSG(d && !e.id, "%s: %s", right[i], e.msg);
        dev_close(d);
    }
}

static void absent(void)
{
    struct dev_reason why = {0};
    struct err e = {0};
    CHECK(!dev_open(DEVICE_CUDA, 1023, &why) && !dev_open(DEVICE_CUDA, 1023, NULL));
    CHECK_MSG(why.status == DEV_ABSENT && why.text[0], "%d, %s", why.status, why.text);
    CHECK(!device_pick("cuda:1023", 0, &e) && e.id == E_DEVICE && e.hint[0]);
    CHECK_MSG(!strncmp(e.msg, "--device cuda:1023: ", 20) && !strcmp(e.msg + 20, why.text), "%s", e.msg);
#ifndef HAVE_CUDA
    CHECK_MSG(strstr(why.text, "built without CUDA"), "%s", why.text);
#endif
}

/* Statuses as errors; no device is needed for that. */
static void errors(void)
{
    static const struct {
        int status;
        enum err_id cuda, cpu;
        int code;
        const char *hint; /* on CUDA */
    } table[] = {{DEV_MEMORY, E_DEVICE_MEM, E_NOMEM, 81, "--gradient-checkpointing"},
                 {DEV_LOST, E_DEVICE_LOST, E_DEVICE_LOST, 81, "--resume"},
                 {DEV_UNSUPPORTED, E_DEVICE, E_DEVICE, 69, "--device cpu"},
                 {DEV_FAILED, E_BUG, E_BUG, 70, ""}};
    struct device cuda = {.kind = DEVICE_CUDA, .name = "a card"}, cpu = {.kind = DEVICE_CPU, .name = "CPU"};
    struct err e = {0};
    CHECK(!device_error(&cuda, DEV_OK, "a copy", &e) && !e.id);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        dev_fail(&cuda, table[i].status, "cudaSomething: why"), cpu.message[0] = 0;
        CHECK(dev_last(&cuda) == table[i].status);
        e = (struct err){0};
        CHECK(device_error(&cuda, table[i].status, "a copy", &e) == -(int)table[i].cuda && e.id == (int)table[i].cuda);
        CHECK_STR(e.msg, "a card: a copy failed: cudaSomething: why");
        CHECK_MSG(strstr(e.hint, table[i].hint) && !*table[i].hint == !*e.hint, "%d: %s", table[i].status, e.hint);
        CHECK(err_exit_code(e.id) == table[i].code);
        const struct err first = e; /* a later failure neither hides nor decorates the first */
        CHECK(device_error(&cuda, DEV_LOST, "another", &e) == -e.id && !memcmp(&first, &e, sizeof e));
        e = (struct err){0};
        CHECK(device_error(&cpu, table[i].status, "a copy", &e) == -(int)table[i].cpu);
        CHECK_STR(e.msg, "CPU: a copy failed");
    }
}

#if !defined HAVE_CUDA && !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
/* An arena that cannot be had although there seemed to be room: the process may not grow. */
static void arenas(void)
{
    struct device cuda = {.kind = DEVICE_CUDA, .name = "a card"}, cpu = {.kind = DEVICE_CPU, .name = "CPU"};
    struct device *d[] = {&cuda, &cpu};
    for (int i = 0; i < 2; i++) {
        struct plan p = {0};
        struct err e = {0};
        float *a, *b;
        CHECK(!plan_add(&p, ARENA_SAVED, &a, 4, 1 << 24, 1, &e, "a") &&
              !plan_add(&p, ARENA_SCRATCH, &b, 4, 1 << 18, 1, &e, "b"));
        struct rlimit was, tight;
        getrlimit(RLIMIT_AS, &was);
        tight = was, tight.rlim_cur = 1 << 20;
        setrlimit(RLIMIT_AS, &tight);
        const int rc = plan_alloc(&p, d[i], 0, &e);
        setrlimit(RLIMIT_AS, &was);
        CHECK_MSG(rc == -(int)(i ? E_NOMEM : E_DEVICE_MEM), "%d, %s", rc, e.msg);
        CHECK_MSG(strstr(e.msg, "the saved arena of 64 MiB, of in all 65 MiB (saved 64 MiB, scratch 1 MiB) with "),
                  "%s", e.msg);
        CHECK(e.hint[0]);
    }
}
#endif

int main(void)
{
    RUN(names, "device_pick: names of devices");
    RUN(absent, "device_pick: why a device is not there");
    RUN(errors, "device_pick: statuses as errors");
#if !defined HAVE_CUDA && !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
    RUN(arenas, "device_pick: an arena that cannot be allocated");
#endif
    return test_failed;
}
