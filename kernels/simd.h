/* simd: the instruction sets of the CPU twins. One source (simd_body.h) is compiled once for each; one is chosen when a
 * device is opened. Each gives the same bits from run to run; two of them may differ in the last bits. */
#ifndef KERNELS_SIMD_H
#define KERNELS_SIMD_H

struct simd {
    const char *name; /* "avx2" */
};
extern const struct simd simd_generic, simd_avx2, simd_avx512;

/* The widest that this CPU has, or the one named (PEFT_CPU_ISA; NULL: none named). *note says, for people, what became of
 * a name that is unknown or that the CPU lacks; "" otherwise. */
const struct simd *simd_choose(const char *wanted, const char **note);
#endif
