/* device.cu: the CUDA device: one context, one stream, one cudaMalloc per arena, copies. The runtime is linked
 * statically and finds the driver itself; without one, cuda_dev_open says DEV_ABSENT and nothing else of this file is
 * ever called. */
#include "kernels/device.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/cublaslt.h"
#include "kernels/cuda_device.cuh"

#define WORKSPACE_BYTES ((size_t)32 << 20) /* what cublasLt's fast kernels ask for on Hopper */

/* Errors after which no call of this process reaches the device again. */
static bool is_lost(cudaError_t e)
{
    switch (e) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorDevicesUnavailable:
    case cudaErrorContextIsDestroyed:
    case cudaErrorDeviceUninitialized:
    case cudaErrorSystemNotReady:
    case cudaErrorUnknown: /* what the driver says of a device that left the bus */
        return true;
    default:
        return false;
    }
}

int cuda_check(struct device *d, const char *what, cudaError_t e)
{
    if (e == cudaSuccess) return DEV_OK;
    (void)cudaGetLastError(); /* a refused launch is reported once; a lost context stays lost */
    const int status = e == cudaErrorMemoryAllocation ? DEV_MEMORY : is_lost(e) ? DEV_LOST : DEV_FAILED;
    return dev_fail(d, status, "%s: %s", what, cudaGetErrorString(e));
}

cudaStream_t cuda_stream(const struct device *d)
{
    const struct cuda_device *cd = cuda_impl(d);
    (void)cudaSetDevice(cd->index); /* fails only if the context is lost, and then so does the caller's next call */
    return cd->stream;
}

/* Is there a device of this index? The runtime calls a missing driver one that is too old. */
static int find_device(struct device *d, int index)
{
    int n = 0, driver = 0;
    cudaError_t e = cudaGetDeviceCount(&n);
    if (e == cudaSuccess && index >= 0 && index < n) return DEV_OK;
    (void)cudaGetLastError();
    if (e == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess && !driver)
        return dev_fail(d, DEV_ABSENT, "CUDA device %d: no NVIDIA driver is loaded", index);
    if (e != cudaSuccess) return dev_fail(d, DEV_ABSENT, "CUDA device %d: %s", index, cudaGetErrorString(e));
    return dev_fail(d, DEV_ABSENT, "CUDA device %d: there %s %d, counted from 0", index, n == 1 ? "is" : "are", n);
}

int cuda_dev_open(struct device *d, int index)
{
    if (find_device(d, index)) return DEV_ABSENT;
    struct cuda_device *cd = (struct cuda_device *)calloc(1, sizeof *cd);
    if (!cd) return dev_fail(d, DEV_MEMORY, "out of memory");
    cd->index = index;
    d->impl = cd;
    struct cudaDeviceProp prop;
    int rc = cuda_check(d, "cudaSetDevice", cudaSetDevice(index));
    if (!rc) rc = cuda_check(d, "cudaGetDeviceProperties", cudaGetDeviceProperties(&prop, index));
    if (!rc && prop.major < 8)
        rc = dev_fail(d, DEV_ABSENT, "%s: compute capability %d.%d, 8.0 is needed", prop.name, prop.major, prop.minor);
    if (!rc) {
        snprintf(d->name, sizeof d->name, "%.*s", (int)sizeof d->name - 1, prop.name);
        rc = cuda_check(d, "cudaStreamCreate", cudaStreamCreateWithFlags(&cd->stream, cudaStreamNonBlocking));
    }
    if (!rc) rc = cuda_check(d, "cudaEventCreate", cudaEventCreateWithFlags(&cd->uploaded, cudaEventDisableTiming));
    if (!rc) rc = cuda_check(d, "cudaMalloc (workspace)", cudaMalloc(&cd->workspace, WORKSPACE_BYTES));
    if (!rc) {
        cd->workspace_bytes = WORKSPACE_BYTES;
        cd->lt = cublaslt_open(d);
        if (!cd->lt) rc = DEV_ABSENT;
    }
    if (rc) cuda_dev_close(d);
    return rc;
}

void cuda_dev_close(struct device *d)
{
    struct cuda_device *cd = cuda_impl(d);
    if (!cd) return;
    (void)cudaSetDevice(cd->index);
    if (cd->stream) (void)cudaStreamSynchronize(cd->stream);
    cublaslt_close(cd->lt);
    (void)cudaFree(cd->workspace);
    if (cd->uploaded) (void)cudaEventDestroy(cd->uploaded);
    if (cd->stream) (void)cudaStreamDestroy(cd->stream);
    free(cd);
    d->impl = NULL;
}

size_t cuda_dev_memory_free(const struct device *d)
{
    size_t unused = 0, total = 0;
    (void)cuda_stream(d);
    return cudaMemGetInfo(&unused, &total) == cudaSuccess ? unused : 0;
}

void *cuda_dev_alloc(struct device *d, size_t bytes)
{
    void *p = NULL;
    cudaStream_t s = cuda_stream(d);
    if (cuda_check(d, "cudaMalloc", cudaMalloc(&p, bytes ? bytes : 1))) return NULL;
    if (cuda_check(d, "cudaMemset", cudaMemsetAsync(p, 0, bytes, s))) {
        (void)cudaFree(p);
        return NULL;
    }
    return p;
}

void cuda_dev_free(struct device *d, void *p)
{
    (void)cudaStreamSynchronize(cuda_stream(d)); /* ops in flight may still read it */
    (void)cudaFree(p);
}

static int copy(struct device *d, const char *what, void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind)
{
    cudaStream_t s = cuda_stream(d);
    int rc = bytes ? cuda_check(d, what, cudaMemcpyAsync(dst, src, bytes, kind, s)) : DEV_OK;
    /* The host side is pageable memory, to be reused at once: wait. A copy on the device needs only its place in the
     * stream. */
    if (!rc && bytes && kind != cudaMemcpyDeviceToDevice) rc = cuda_check(d, what, cudaStreamSynchronize(s));
    return rc;
}

int cuda_dev_from_host(struct device *d, void *dst, const void *src, size_t bytes)
{
    return copy(d, "copy to the device", dst, src, bytes, cudaMemcpyHostToDevice);
}

int cuda_dev_to_host(struct device *d, void *dst, const void *src, size_t bytes)
{
    return copy(d, "copy from the device", dst, src, bytes, cudaMemcpyDeviceToHost);
}

int cuda_dev_copy(struct device *d, void *dst, const void *src, size_t bytes)
{
    return copy(d, "copy on the device", dst, src, bytes, cudaMemcpyDeviceToDevice);
}

int cuda_dev_zero(struct device *d, void *dst, size_t bytes)
{
    return cuda_check(d, "cudaMemset", cudaMemsetAsync(dst, 0, bytes, cuda_stream(d)));
}

int cuda_dev_sync(struct device *d)
{
    return cuda_check(d, "cudaStreamSynchronize", cudaStreamSynchronize(cuda_stream(d)));
}

void *cuda_dev_host_alloc(struct device *d, size_t bytes)
{
    void *p = NULL;
    (void)cuda_stream(d);
    if (cuda_check(d, "cudaHostAlloc", cudaHostAlloc(&p, bytes ? bytes : 1, cudaHostAllocDefault))) return NULL;
    return memset(p, 0, bytes ? bytes : 1);
}

void cuda_dev_host_free(struct device *d, void *p)
{
    if (!p) return;
    (void)cudaStreamSynchronize(cuda_stream(d)); /* an upload may still read it */
    (void)cudaFreeHost(p);
}

int cuda_dev_upload(struct device *d, void *dst, const void *src, size_t bytes)
{
    cudaStream_t s = cuda_stream(d);
    if (!bytes) return DEV_OK;
    int rc = cuda_check(d, "upload to the device", cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, s));
    return rc ? rc : cuda_check(d, "cudaEventRecord", cudaEventRecord(cuda_impl(d)->uploaded, s));
}

/* The event is complete before its first record, and stands for the last upload; those before it are done by then. */
int cuda_dev_upload_wait(struct device *d)
{
    (void)cuda_stream(d);
    return cuda_check(d, "upload to the device", cudaEventSynchronize(cuda_impl(d)->uploaded));
}
