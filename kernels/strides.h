/* strides: the check of row strides that both twins of an op make (ops.h). */
#ifndef KERNELS_STRIDES_H
#define KERNELS_STRIDES_H
#include "kernels/device_internal.h"

/* One activation of a call. */
struct op_rows {
    const char *name; /* of its stride */
    const void *p;    /* NULL: not given */
    long ld, width;
};

/* The first of r is what the call writes; another that is the same array has its stride. */
static inline int op_strides(const struct op_ctx *cx, const char *op, const struct op_rows *r, int n)
{
    for (int i = 0; i < n; i++) {
        if (!r[i].p) continue;
        if (r[i].ld < r[i].width)
            return dev_fail(cx->dev, DEV_FAILED, "%s: %s %ld, rows are %ld wide", op, r[i].name, r[i].ld, r[i].width);
        if (r[i].p == r[0].p && r[i].ld != r[0].ld)
            return dev_fail(cx->dev, DEV_FAILED, "%s: one array by %s %ld and %s %ld", op, r[0].name, r[0].ld,
                            r[i].name, r[i].ld);
    }
    return DEV_OK;
}
#endif
