/* device_pick: what --device takes, and the reason why a device is not there. */
#include "libcommon/model/device_pick.h"
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

int main(void)
{
    RUN(names, "device_pick: names of devices");
    RUN(absent, "device_pick: why a device is not there");
    return test_failed;
}
