/* device: where arrays live and where ops run: the CPU, or one CUDA device found at run time.
 *
 * A device owns arenas (one allocation each, laid out by the caller's plan), a stream on which its ops run in order,
 * and copies to and from the host. No op allocates or synchronises; the caller does, here. One thread uses a device at
 * a time. */
#ifndef KERNELS_DEVICE_H
#define KERNELS_DEVICE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "kernels/threads.h"
#ifdef __cplusplus
extern "C" {
#endif

enum device_kind { DEVICE_CPU, DEVICE_CUDA };

/* Results of kernels/: 0 is success. */
enum dev_status {
    DEV_OK = 0,
    DEV_ABSENT = -1,      /* no driver, no device, or a library is missing (built without CUDA too) */
    DEV_MEMORY = -2,      /* allocation failed */
    DEV_FAILED = -3,      /* launch, copy or library call failed; dev_message says which */
    DEV_UNSUPPORTED = -4, /* no twin for this device, or a dtype/shape that the twin does not take */
    DEV_LOST = -5,        /* the device does not answer any more: a fault in a kernel, ECC, unplugged */
};

struct device;
/* Why there is no device. */
struct dev_reason {
    int status;     /* enum dev_status */
    char text[256]; /* "CUDA device 0: no CUDA-capable device is detected" */
};
/* index: the CUDA device; ignored for the CPU. *why (may be NULL) is filled when NULL is returned. */
struct device *dev_open(enum device_kind kind, int index, struct dev_reason *why);
void dev_close(struct device *d);
enum device_kind dev_kind(const struct device *d);
const char *dev_name(const struct device *d);    /* "CPU (avx2)", "NVIDIA H200" */
const char *dev_message(const struct device *d); /* text of the last failure; "" for none */
int dev_last(const struct device *d);            /* its status; DEV_OK for none */
/* What its products of bf16 run on: f32 arithmetic, vector instructions (faster than f32's on some CPUs, slower on
 * others), or matrix units (much faster). */
enum bf16_unit { BF16_EMULATED, BF16_VECTORS, BF16_MATRIX };
enum bf16_unit dev_bf16(const struct device *d);
const char *dev_vendor(const struct device *d); /* of the CPU, as CPUID says: "AuthenticAMD"; "" elsewhere */
size_t dev_memory_free(const struct device *d); /* bytes free now */

/* One arena; 64-byte (CPU) or 256-byte (CUDA) aligned, zeroed. NULL: dev_last says why. */
void *dev_alloc(struct device *d, size_t bytes);
void dev_free(struct device *d, void *p);
/* Copies are ordered with the ops of the device; `to_host` and `from_host` return when the host side may be reused. */
int dev_from_host(struct device *d, void *dst, const void *src, size_t bytes);
int dev_to_host(struct device *d, void *dst, const void *src, size_t bytes);
int dev_copy(struct device *d, void *dst, const void *src, size_t bytes);
int dev_zero(struct device *d, void *dst, size_t bytes);
int dev_sync(struct device *d);
/* Page-locked host memory, zeroed. dev_upload from it returns at once, ordered with the ops; the host side may be
 * changed again after dev_upload_wait. NULL: dev_last says why. */
void *dev_host_alloc(struct device *d, size_t bytes);
void dev_host_free(struct device *d, void *p);
int dev_upload(struct device *d, void *dst, const void *src, size_t bytes);
int dev_upload_wait(struct device *d);
#ifdef __cplusplus
}
#endif
#endif
