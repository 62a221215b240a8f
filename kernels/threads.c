/* threads: see threads.h. Cores and their hardware threads are read from Linux' sysfs; without it each CPU is a core.
 */
#include "kernels/threads.h"
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static atomic_int threads; /* 0: not known yet */

/* The lowest of the CPUs that share a core with `cpu`. */
static int core_of(int cpu)
{
    char path[96];
    int first;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *f = fopen(path, "r");
    if (!f) return cpu;
    if (fscanf(f, "%d", &first) != 1 || first < 0 || first >= CPU_SETSIZE) first = cpu;
    fclose(f);
    return first;
}

static int cores(void)
{
    cpu_set_t mine, seen;
    if (sched_getaffinity(0, sizeof mine, &mine)) return (int)sysconf(_SC_NPROCESSORS_ONLN);
    CPU_ZERO(&seen);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &mine)) CPU_SET(core_of(cpu), &seen);
    return CPU_COUNT(&seen);
}

void cpu_set_threads(int n) { threads = n > 0 ? n : 0; }

int cpu_threads(void)
{
    int n = atomic_load_explicit(&threads, memory_order_relaxed);
    if (n) return n;
    n = cores();
    cpu_set_threads(n > 0 ? n : 1);
    return cpu_threads();
}
