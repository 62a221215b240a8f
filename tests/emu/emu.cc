/* emu.cc: fibers for the threads of a block, the few runtime calls that device.cu makes, and copies that land late. See
 * emu.h. */
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
    emu_land();
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

/* ---- copies that have not landed ---- */
/* One stream: the copies from and to page-locked memory wait here in their order. */
struct late_copy {
    void *dst;
    const void *src;
    size_t n;
};
static std::vector<late_copy> late;
static unsigned long long landed; /* copies that have left `late` */
struct pinned_block {
    char *at;
    size_t n;
};
static std::vector<pinned_block> pinned;

static void land_until(unsigned long long upto)
{
    size_t k = 0;
    for (; k < late.size() && landed < upto; k++, landed++) memmove(late[k].dst, late[k].src, late[k].n);
    late.erase(late.begin(), late.begin() + (long)k);
}
void emu_land(void)
{
    land_until(landed + late.size());
}
static bool inside(const pinned_block &b, const void *p)
{
    return (const char *)p >= b.at && (const char *)p < b.at + b.n;
}
static bool is_pinned(const void *p)
{
    for (const pinned_block &b : pinned)
        if (inside(b, p)) return true;
    return false;
}

/* ---- runtime calls ---- */
int emu_fault(const char *call)
{
    const char *f = getenv("EMU_FAULT"), *colon = f ? strchr(f, ':') : NULL;
    return colon && strlen(call) == (size_t)(colon - f) && !strncmp(f, call, strlen(call)) ? atoi(colon + 1) : 0;
}
/* cudaEvent_t points to the number of copies that were before its last record. */
static unsigned long long *event_at(cudaEvent_t e)
{
    return (unsigned long long *)e;
}
extern "C" {
cudaError_t cudaGetDeviceCount(int *n)
{
    return *n = 1, (cudaError_t)emu_fault("cudaGetDeviceCount");
}
cudaError_t cudaDriverGetVersion(int *v)
{
    return *v = emu_fault("cudaGetDeviceCount") ? 0 : 13000, cudaSuccess;
}
cudaError_t cudaSetDevice(int)
{
    return (cudaError_t)emu_fault("cudaSetDevice");
}
cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t e)
{
    return e == cudaErrorMemoryAllocation ? "out of memory"
           : e == cudaErrorNoDevice       ? "no CUDA-capable device is detected"
                                          : "emulated error";
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
    return emu_land(), (cudaError_t)emu_fault("cudaStreamSynchronize");
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned)
{
    return *e = (cudaEvent_t) new unsigned long long(0), cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    return delete event_at(e), cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t)
{
    return *event_at(e) = landed + late.size(), cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    return land_until(*event_at(e)), cudaSuccess;
}
cudaError_t cudaHostAlloc(void **p, size_t n, unsigned)
{
    *p = n > (size_t)1 << 40 ? NULL : malloc(n);
    if (!*p) return cudaErrorMemoryAllocation;
    pinned.push_back({(char *)*p, n});
    return cudaSuccess;
}
cudaError_t cudaFreeHost(void *p)
{
    for (size_t i = 0; i < pinned.size(); i++) {
        if (pinned[i].at != p) continue;
        for (const late_copy &c : late)
            if (inside(pinned[i], c.src) || inside(pinned[i], c.dst)) {
                fprintf(stderr, "emu: page-locked memory is freed before a copy has landed\n");
                abort();
            }
        pinned.erase(pinned.begin() + (long)i);
        return free(p), cudaSuccess;
    }
    return cudaErrorInvalidValue;
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
    emu_land();
    return free(p), cudaSuccess;
}
/* Pageable memory is read and written before the call returns; page-locked memory as late as can be. */
cudaError_t cudaMemcpyAsync(void *d, const void *s, size_t n, enum cudaMemcpyKind, cudaStream_t)
{
    if (is_pinned(s) || is_pinned(d)) return late.push_back({d, s, n}), cudaSuccess;
    emu_land();
    return memmove(d, s, n), cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *d, int v, size_t n, cudaStream_t)
{
    emu_land();
    return memset(d, v, n), cudaSuccess;
}
}
