/* device_pick.c: see device_pick.h. */
#include "libcommon/model/device_pick.h"
#include <string.h>
#include "libcommon/base/mem.h"
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
    struct dev_reason why;
    if (automatic || cuda) {
        struct device *d = dev_open(DEVICE_CUDA, (int)index, &why);
        if (d && (cuda || ops_complete(ops_of(d)))) return d;
        if (d) {
            msg_note("%s: not every operation has a CUDA twin yet; computing on the CPU", dev_name(d));
            dev_close(d);
        } else if (cuda) {
            err_set(e, E_DEVICE, "--device %s: %s", spec, why.text);
            err_hint(e, "--device cpu needs none");
            return NULL;
        } else if (why.status != DEV_ABSENT) { /* there is one, and it does not work: no reason to be slow in silence */
            msg_note("%s; computing on the CPU", why.text);
        }
    }
    struct device *d = dev_open(DEVICE_CPU, 0, &why);
    if (!d) err_set(e, E_NOMEM, "cannot open the CPU device: %s", why.text);
    return d;
}

struct precision_choice precision_auto(enum device_kind kind, const char *vendor, enum bf16_unit bf16)
{
    static const char *const fast[] = {"AuthenticAMD", "HygonGenuine"};
    if (kind == DEVICE_CUDA) return (struct precision_choice){DT_BF16, "this GPU's bf16 products are faster than f32"};
    if (bf16 == BF16_MATRIX) return (struct precision_choice){DT_BF16, "this CPU has matrix units for bf16"};
    if (bf16 == BF16_EMULATED) return (struct precision_choice){DT_F32, "this CPU has no bf16 instructions"};
    for (size_t i = 0; i < sizeof fast / sizeof *fast; i++)
        if (!strcmp(vendor, fast[i]))
            return (struct precision_choice){DT_BF16, "this CPU's bf16 instructions are faster than f32"};
    /* vdpbf16ps at half the rate of f32: a step takes 1.5 times as long. */
    if (!strcmp(vendor, "GenuineIntel"))
        return (struct precision_choice){DT_F32, "this CPU's bf16 instructions are slower than f32"};
    return (struct precision_choice){DT_F32, "this CPU's bf16 instructions are of unknown speed"};
}

struct precision_choice precision_auto_on(const struct device *d)
{
    return precision_auto(dev_kind(d), dev_vendor(d), dev_bf16(d));
}

enum dtype precision_pick(enum precision p, const struct device *d)
{
    if (p == PRECISION_FP16 && dev_kind(d) == DEVICE_CPU) msg_note("fp16: the CPU computes in bf16");
    if (p == PRECISION_AUTO) return precision_auto_on(d).type;
    return p == PRECISION_F32 ? DT_F32 : DT_BF16;
}

void *device_alloc(struct device *d, size_t bytes)
{
    mem_may_fail(true);
    void *p = dev_alloc(d, bytes);
    mem_may_fail(false);
    return p;
}

int device_error(const struct device *d, int status, const char *what, struct err *e)
{
    if (status == DEV_OK) return 0;
    if (e->id) return -e->id; /* what came first, without the hints of this */
    const bool cpu = dev_kind(d) == DEVICE_CPU;
    const enum err_id id = status == DEV_MEMORY        ? cpu ? E_NOMEM : E_DEVICE_MEM
                           : status == DEV_LOST        ? E_DEVICE_LOST
                           : status == DEV_UNSUPPORTED ? E_DEVICE
                                                       : E_BUG;
    const char *text = dev_message(d);
    err_set(e, id, "%s: %s failed%s%s", dev_name(d), what, *text ? ": " : "", text);
    if (status == DEV_MEMORY)
        err_hint(e, "a smaller --micro-tokens or --batch-size of an evaluation needs less, in training "
                    "--gradient-checkpointing too; peft-train --plan shows the table");
    if (status == DEV_LOST) err_hint(e, "--resume continues a training run from its newest checkpoint");
    if (status == DEV_UNSUPPORTED && !cpu) err_hint(e, "--device cpu runs the whole model");
    return -(int)id;
}
