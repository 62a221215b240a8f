/* threads: how many threads the process computes with. Apart from the device, so that a tool which only reads text in
 * several threads brings nothing of CUDA with it. */
#ifndef KERNELS_THREADS_H
#define KERNELS_THREADS_H
#ifdef __cplusplus
extern "C" {
#endif

/* 0: one for each core that the process may run on; the hardware threads of one core share its multipliers and count
 * once. No result depends on it. */
void cpu_set_threads(int n);
int cpu_threads(void);
#ifdef __cplusplus
}
#endif
#endif
