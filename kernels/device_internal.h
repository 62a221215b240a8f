/* device_internal: what the files of kernels/ know of a device. Not for callers: they use device.h.
 *
 * device.c owns struct device and dispatches on its kind; device.cu (built with CUDA=1, HAVE_CUDA) provides cuda_dev_*
 * and hangs its own state on d->impl. The declarations stand without #if so that nvcc needs no define; only device.c
 * and ops_cpu.c, under HAVE_CUDA, call them. */
#ifndef KERNELS_DEVICE_INTERNAL_H
#define KERNELS_DEVICE_INTERNAL_H
#include "kernels/device.h"
#include "kernels/ops.h"
#ifdef __cplusplus
extern "C" {
#endif

struct simd;
struct device {
    enum device_kind kind;
    const struct simd *simd; /* CPU: the instruction set chosen at dev_open; NULL on CUDA */
    char name[160];          /* filled by the opener */
    char vendor[13];         /* of the CPU; "" on CUDA */
    char message[256];       /* text of the last failure */
    int last;                /* its enum dev_status */
    void *impl;              /* CUDA: owned by device.cu */
};

/* Format d->message, set d->last and return status; for every failure inside kernels/. d may be NULL. */
int dev_fail(struct device *d, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* device.cu. open gets a zeroed device with kind set, fills name and impl, returns DEV_OK or a status (message set:
 * it becomes the text of struct dev_reason). */
int cuda_dev_open(struct device *d, int index);
void cuda_dev_close(struct device *d);
size_t cuda_dev_memory_free(const struct device *d);
void *cuda_dev_alloc(struct device *d, size_t bytes);
void cuda_dev_free(struct device *d, void *p);
int cuda_dev_from_host(struct device *d, void *dst, const void *src, size_t bytes);
int cuda_dev_to_host(struct device *d, void *dst, const void *src, size_t bytes);
int cuda_dev_copy(struct device *d, void *dst, const void *src, size_t bytes);
int cuda_dev_zero(struct device *d, void *dst, size_t bytes);
int cuda_dev_sync(struct device *d);
void *cuda_dev_host_alloc(struct device *d, size_t bytes);
void cuda_dev_host_free(struct device *d, void *p);
int cuda_dev_upload(struct device *d, void *dst, const void *src, size_t bytes);
int cuda_dev_upload_wait(struct device *d);
/* op_*_scratch of ops.h on a CUDA device. */
size_t cuda_linear_scratch(const struct op_ctx *cx, const struct linear *l, long T);
size_t cuda_head_scratch(const struct op_ctx *cx, const struct mat *w, long n, int chunk);
size_t cuda_logits_scratch(const struct op_ctx *cx, const struct mat *w, long n);
#ifdef __cplusplus
}
#endif
#endif
