/* device_pick.c: see device_pick.h. */
#include "libcommon/model/device_pick.h"
#include <string.h>
#include "libcommon/base/msg.h"
#include "libcommon/base/num.h"

struct device *device_pick(const char *spec, int64_t threads, struct err *e)
{
    cpu_set_threads((int)threads);
    bool automatic = !strcmp(spec, "auto"), cuda = !strncmp(spec, "cuda", 4);
    int64_t index = 0;
    if (!automatic && strcmp(spec, "cpu") &&
        !(cuda && (!spec[4] ||
                   (spec[4] == ':' && num_i64(spec + 5, strlen(spec + 5), &index) && index >= 0 && index < 1024)))) {
        err_set(e, E_USAGE, "--device: %s, expected auto, cpu, cuda or cuda:N", err_quotez(spec));
        return NULL;
    }
    int status;
    if (automatic || cuda) {
        struct device *d = dev_open(DEVICE_CUDA, (int)index, &status);
        if (d && (cuda || ops_complete(ops_of(d)))) return d;
        if (d) {
            msg_note("%s: not every operation has a CUDA twin yet; computing on the CPU", dev_name(d));
            dev_close(d);
        } else if (cuda) {
            err_set(e, E_DEVICE, "--device %s: no CUDA device, driver or library (or built without CUDA)", spec);
            err_hint(e, "--device cpu needs none");
            return NULL;
        }
    }
    struct device *d = dev_open(DEVICE_CPU, 0, &status);
    if (!d) err_set(e, E_NOMEM, "cannot open the CPU device");
    return d;
}

enum dtype precision_pick(enum precision p, const struct device *d)
{
    if (p == PRECISION_FP16 && dev_kind(d) == DEVICE_CPU) msg_note("fp16: the CPU computes in bf16");
    if (p == PRECISION_AUTO) return dev_has_bf16(d) ? DT_BF16 : DT_F32;
    return p == PRECISION_F32 ? DT_F32 : DT_BF16;
}
