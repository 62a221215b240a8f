/* simd: which instruction set to use, asked of the CPU once per device. */
#include "kernels/simd.h"
#include <stddef.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* clang 14 does not know the name "f16c" in __builtin_cpu_supports. */
static int has_f16c(void)
{
    unsigned a, b, c = 0, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

#if defined(__x86_64__) && defined(__linux__)
/* Tiles and their product of bf16, and the kernel's leave to use them: asked once a process, threads inherit it. */
static int has_tiles(void)
{
    enum { TILE = 1 << 24, BF16 = 1 << 22, REQUEST = 0x1023 /* ARCH_REQ_XCOMP_PERM */, TILE_DATA = 18 };
    unsigned a, b, c, d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & TILE) && (d & BF16) &&
           !syscall(SYS_arch_prctl, REQUEST, TILE_DATA);
}
#else
static int has_tiles(void) { return 0; }
#endif

static int has(const struct simd *s)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    const int avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (s == &simd_amx) return avx512 && __builtin_cpu_supports("avx512bf16") && has_tiles();
    if (s == &simd_avx512bf16) return avx512 && __builtin_cpu_supports("avx512bf16");
    if (s == &simd_avx512) return avx512;
    if (s == &simd_avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
#endif
    return s == &simd_generic || s == &simd_tiles16;
}

void simd_vendor(char name[13])
{
    unsigned word[3] = {0};
#if defined(__x86_64__)
    unsigned most;
    if (!__get_cpuid(0, &most, &word[0], &word[2], &word[1])) memset(word, 0, sizeof word);
#endif
    memcpy(name, word, sizeof word);
    name[sizeof word] = 0;
}

const struct simd *simd_choose(const char *wanted, const char **note)
{
    static const struct simd *const all[] = {
#if defined(__x86_64__)
        &simd_amx,
        &simd_avx512bf16,
        &simd_avx512,
        &simd_avx2,
#endif
        &simd_generic,
        &simd_tiles16 /* after what every CPU has: never the choice but by name */
    };
    const size_t n = sizeof all / sizeof *all;
    const struct simd *best = NULL;
    for (size_t i = n; i-- > 0;)
        if (has(all[i])) best = all[i];
    *note = "";
    if (!wanted || !*wanted) return best;
    *note = ", PEFT_CPU_ISA: unknown name";
    for (size_t i = 0; i < n; i++) {
        if (strcmp(wanted, all[i]->name) != 0) continue;
        *note = "";
        if (has(all[i])) return all[i];
        *note = ", PEFT_CPU_ISA: this CPU lacks it";
    }
    return best;
}
