/* spark: a row of numbers as a row of block characters. */
#ifndef PEFT_SINK_SPARK_H
#define PEFT_SINK_SPARK_H
#include <stdbool.h>
#include <stddef.h>
#include "libcommon/base/mem.h"

/* Append at most `width` characters for x[0..n), each the mean of its part, scaled between the least and the greatest
 * mean; values that are not finite are left out. utf8 false: ASCII. */
void spark_line(struct buf *b, const double *x, size_t n, int width, bool utf8);
#endif
