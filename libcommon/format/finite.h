/* finite: values of stored tensors that are not numbers. A model with one computes NaN from there on, and a score of
 * NaN says nothing of why. */
#ifndef PEFT_FORMAT_FINITE_H
#define PEFT_FORMAT_FINITE_H
#include <stddef.h>
#include <stdint.h>
#include "kernels/dtype.h"
/* Index of the first value that is infinite or NaN in n bytes of whole blocks, of a quantised type the first of the
 * block whose scale is; -1: none. The data need not be aligned. */
int64_t finite_first_not(enum dtype t, const void *data, size_t n);
#endif
