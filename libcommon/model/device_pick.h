/* device_pick: --device and --precision, the same for every tool that computes. */
#ifndef PEFT_MODEL_DEVICE_PICK_H
#define PEFT_MODEL_DEVICE_PICK_H
#include <stdint.h>
#include "kernels/ops.h"
#include "libcommon/base/err.h"

/* spec: "auto", "cpu", "cuda" or "cuda:N". auto takes a CUDA device only if it has every op. threads 0: one per
 * physical core. E_USAGE, E_DEVICE. */
struct device *device_pick(const char *spec, int64_t threads, struct err *e);
/* An enum dev_status as the error that it is, with hints: DEV_MEMORY is E_DEVICE_MEM (E_NOMEM on the CPU), DEV_LOST
 * E_DEVICE_LOST, DEV_UNSUPPORTED E_DEVICE, others E_BUG. what: what was done. DEV_OK: 0. */
int device_error(const struct device *d, int status, const char *what, struct err *e);
/* dev_alloc for planned memory: its failure is an error of the caller's, not the end of the process. */
void *device_alloc(struct device *d, size_t bytes);
enum precision { PRECISION_AUTO, PRECISION_F32, PRECISION_BF16, PRECISION_FP16 };
#define PRECISION_CHOICES "auto|f32|bf16|fp16"
/* What auto is, and why, for people: bf16 where that is known to be faster, by the kind of the processor and never by
 * timing, so that the same machine always computes the same. vendor: of the CPU, as CPUID has it, "" if it has none;
 * bf16: the device has products of bf16. */
struct precision_choice {
    enum dtype type;
    const char *why;
};
struct precision_choice precision_auto(enum device_kind kind, const char *vendor, enum bf16_unit bf16);
struct precision_choice precision_auto_on(const struct device *d);
/* Inputs of matrix products on the device; fp16 becomes bf16 on the CPU, with a note. */
enum dtype precision_pick(enum precision p, const struct device *d);
#endif
