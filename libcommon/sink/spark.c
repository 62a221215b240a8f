/* spark: see spark.h. */
#include "libcommon/sink/spark.h"
#include <math.h>
#include <stdlib.h>

void spark_line(struct buf *b, const double *x, size_t n, int width, bool utf8)
{
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const ascii[] = {"_", ".", ":", "-", "=", "+", "*", "#"};
    size_t cols = n < (size_t)width ? n : (size_t)width;
    double *mean = mem_alloc(cols + 1, sizeof *mean), lo = INFINITY, hi = -INFINITY;
    for (size_t c = 0; c < cols; c++) {
        size_t from = c * n / cols, to = (c + 1) * n / cols, k = 0;
        double sum = 0;
        for (size_t i = from; i < to; i++)
            if (isfinite(x[i])) sum += x[i], k++;
        mean[c] = k ? sum / (double)k : (double)NAN;
        if (mean[c] < lo) lo = mean[c];
        if (mean[c] > hi) hi = mean[c];
    }
    for (size_t c = 0; c < cols; c++) {
        int level = hi > lo ? (int)lround((mean[c] - lo) / (hi - lo) * 7) : 3;
        if (isnan(mean[c]))
            buf_addc(b, '?');
        else
            buf_addz(b, utf8 ? blocks[level] : ascii[level]);
    }
    free(mean);
}
