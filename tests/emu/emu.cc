/* emu.cc: fibers for the threads of a block, and the few runtime calls that device.cu makes. See emu.h. */
#include "tests/emu/emu.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>
#include <vector>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

static const size_t STACK = 64 << 10;
enum state { RUNNING, AT_BLOCK, AT_WARP, DONE };
struct fiber {
    ucontext_t start; /* the first entry only: swapcontext costs a system call */
    jmp_buf at;
    bool begun;
    state st;
};
static std::vector<fiber> fiber_of;
static std::vector<char> stacks;
static unsigned long long slots[32][32];
static jmp_buf scheduler;
static ucontext_t unused;
static unsigned current;
static void (*body_fn)(void *);
static void *body_arg;

static void enter(void)
{
    body_fn(body_arg);
    fiber_of[current].st = DONE;
    _longjmp(scheduler, 1);
}
static void wait(state st)
{
    fiber *f = &fiber_of[current];
    f->st = st;
    if (!_setjmp(f->at)) _longjmp(scheduler, 1);
}
static void resume(fiber *f)
{
    if (_setjmp(scheduler)) return;
    if (f->begun) _longjmp(f->at, 1);
    f->begun = true;
    swapcontext(&unused, &f->start);
}
void emu_block_barrier(void)
{
    wait(AT_BLOCK);
}
void emu_warp_barrier(void)
{
    wait(AT_WARP);
}
unsigned long long *emu_warp_slots(void)
{
    return slots[current >> 5];
}

/* Let a group go on if all of its members wait at `st`. A member that has returned while others wait is a mistake here: the
 * kernels promise that all threads reach each barrier. */
static bool release(unsigned from, unsigned end, state st)
{
    for (unsigned i = from; i < end; i++)
        if (fiber_of[i].st != st) return false;
    for (unsigned i = from; i < end; i++) fiber_of[i].st = RUNNING;
    return true;
}

static void run_block(unsigned n, bool reverse)
{
    for (unsigned i = 0; i < n; i++) {
        fiber *f = &fiber_of[i];
        getcontext(&f->start);
        f->start.uc_stack.ss_sp = &stacks[i * STACK];
        f->start.uc_stack.ss_size = STACK;
        f->start.uc_link = NULL;
        makecontext(&f->start, enter, 0);
        f->begun = false;
        f->st = RUNNING;
    }
    for (;;) {
        bool ran = false, all_done = true;
        for (unsigned k = 0; k < n; k++) {
            const unsigned i = reverse ? n - 1 - k : k;
            if (fiber_of[i].st == RUNNING) {
                current = i;
                threadIdx.x = i;
                resume(&fiber_of[i]);
                ran = true;
            }
            all_done = all_done && fiber_of[i].st == DONE;
        }
        if (all_done) return;
        const bool freed = release(0, n, AT_BLOCK);
        bool warps = false;
        for (unsigned w = 0; w < n && !freed; w += 32)
            warps = release(w, w + 32 < n ? w + 32 : n, AT_WARP) || warps;
        if (!freed && !warps && !ran) {
            fprintf(stderr, "emu: a barrier that not all threads reach (block %u,%u)\n", blockIdx.x,
                    blockIdx.y);
            abort();
        }
    }
}

void emu_grid(dim3 grid, unsigned block, void (*body)(void *), void *arg)
{
    const char *order = getenv("EMU_ORDER");
    const bool reverse = order && !strcmp(order, "reverse");
    body_fn = body, body_arg = arg;
    blockDim = dim3(block), gridDim = grid;
    fiber_of.resize(block), stacks.resize(block * STACK);
    for (unsigned y = 0; y < grid.y; y++)
        for (unsigned x = 0; x < grid.x; x++) {
            blockIdx.x = reverse ? grid.x - 1 - x : x;
            blockIdx.y = y, blockIdx.z = 0;
            run_block(block, reverse);
        }
}

/* ---- runtime calls ---- */
extern "C" {
cudaError_t cudaGetDeviceCount(int *n)
{
    return *n = 1, cudaSuccess;
}
cudaError_t cudaSetDevice(int)
{
    return cudaSuccess;
}
cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t e)
{
    return e == cudaErrorMemoryAllocation ? "out of memory" : "emulated error";
}
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int)
{
    memset(p, 0, sizeof *p);
    strcpy(p->name, "emulated device");
    p->major = 8;
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    return *s = (cudaStream_t)1, cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t)
{
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t)
{
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *unused, size_t *total)
{
    return *unused = *total = (size_t)1 << 30, cudaSuccess;
}
cudaError_t cudaMalloc(void **p, size_t n)
{
    *p = n > (size_t)1 << 40 ? NULL : aligned_alloc(256, (n + 255) / 256 * 256);
    return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void *p)
{
    return free(p), cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *d, const void *s, size_t n, enum cudaMemcpyKind, cudaStream_t)
{
    return memmove(d, s, n), cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *d, int v, size_t n, cudaStream_t)
{
    return memset(d, v, n), cudaSuccess;
}
}
