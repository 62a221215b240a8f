/* strides: arrays whose rows lie apart, for the tests of row strides: what lies beside the rows is poison and stays so.
 */
#ifndef TESTS_KERNELS_STRIDES_H
#define TESTS_KERNELS_STRIDES_H
#include "tests/kernels/cases.h"
#include "tests/test.h"

struct apart {
    float *all, *at; /* row t at at + t * ld */
    long T, width, ld;
};
/* Rows of `width` with `beside` elements around each, a half of them before it. rows: their values, packed; NULL:
 * poison. */
static inline struct apart apart(const float *rows, long T, long width, long beside)
{
    struct apart a = {.T = T, .width = width, .ld = width + beside};
    const size_t bytes = (size_t)(T * a.ld) * sizeof *a.all;
    a.all = case_alloc(bytes);
    a.at = a.all + beside / 2;
    case_poison(a.all, bytes);
    for (long t = 0; rows && t < T; t++) memcpy(a.at + t * a.ld, rows + t * width, (size_t)width * sizeof *rows);
    return a;
}
/* The bits of the packed rows, and poison beside them. */
static inline void apart_check(const char *what, const struct apart *a, const float *rows)
{
    struct apart want = apart(rows, a->T, a->width, a->ld - a->width);
    for (long i = 0; i < a->T * a->ld; i++)
        if (memcmp(a->all + i, want.all + i, sizeof *a->all) != 0) {
            const long t = i / a->ld, c = i % a->ld - (a->at - a->all);
            CHECK_MSG(0, "%s: row %ld, column %ld of %ld, stride %ld: %g, not %g", what, t, c, a->width, a->ld,
                      (double)a->all[i], (double)want.all[i]);
            break;
        }
    free(want.all);
}
static inline void apart_free(struct apart *a) { free(a->all); }

/* Elements beside a row: an odd stride, and one of 1 KiB, at which products copy their rows (gemm_sum.h). */
enum { STRIDES = 2 };
static inline long beside_of(int i, long width) { return i ? 1280 - width % 256 : 5; }
#endif
