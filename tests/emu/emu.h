/* emu: enough of CUDA to run the project's kernels on the host, one block at a time, its threads as fibers.
 *
 * Included before everything else when the .cu files are compiled by a host compiler (tests/kernels/emu.sh). It checks
 * indices, reductions, shared-memory protocols (missing barriers show when EMU_ORDER=reverse changes a result) and the
 * host logic around them. Copies from and to page-locked memory land late: at an event or a synchronisation of the
 * stream, or when something else of the stream runs; who reuses the host side without a wait reads or sends other
 * bytes. It does not check what only a device shows: real concurrency, memory coalescing, launch limits of the
 * hardware, speed. */
#ifndef TESTS_EMU_H
#define TESTS_EMU_H
#include <cuda_runtime.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <dlfcn.h>
#include <math.h>
#include <string.h>
#undef __shared__
#define __shared__ static /* blocks run one after the other */
#undef __global__
#define __global__
#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __forceinline__
#define __forceinline__ inline

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

/* Barriers: of the block, and of the calling thread's warp. */
void emu_block_barrier(void);
void emu_warp_barrier(void);
/* The calling warp's exchange area: 32 slots of 8 bytes. */
unsigned long long *emu_warp_slots(void);
/* EMU_FAULT=CALL:CODE in the environment: the runtime call CALL fails with cudaError_t CODE as long as it stands there
 * (dlopen: the library is missing). The code for `call`, 0 for none. */
int emu_fault(const char *call);
/* Let all copies of the stream land. */
void emu_land(void);
/* Run body() for every thread of every block. */
void emu_grid(dim3 grid, unsigned block, void (*body)(void *), void *arg);

static inline void __syncthreads(void) { emu_block_barrier(); }

template <typename T> static inline T __shfl_down_sync(unsigned, T v, int delta)
{
    unsigned long long *slot = emu_warp_slots();
    const int lane = threadIdx.x & 31;
    memcpy(&slot[lane], &v, sizeof v);
    emu_warp_barrier();
    if (lane + delta < 32) memcpy(&v, &slot[lane + delta], sizeof v);
    emu_warp_barrier();
    return v;
}

static inline float __uint_as_float(unsigned u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline unsigned __float_as_uint(float f)
{
    unsigned u;
    memcpy(&u, &f, 4);
    return u;
}
static inline void sincospif(float x, float *s, float *c)
{
    *s = (float)sin(M_PI * (double)x);
    *c = (float)cos(M_PI * (double)x);
}

/* cublaslt.cu finds the stand-in of emu_cublaslt.cc. */
void *emu_dlopen(const char *name, int flags);
void *emu_dlsym(void *so, const char *name);
int emu_dlclose(void *so);
#define dlopen  emu_dlopen
#define dlsym   emu_dlsym
#define dlclose emu_dlclose
#endif
