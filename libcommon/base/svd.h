/* svd: truncated singular value decompositions and orthonormal bases of dense matrices, in f64 on one thread: the same
 * bits for any number of threads. The one user of LAPACK, the reference implementation linked statically, as others'
 * results hang on threads and on the CPU's kind.
 *
 * Matrices are row-major and dense. Values are expected to be finite. */
#ifndef PEFT_BASE_SVD_H
#define PEFT_BASE_SVD_H
#include "libcommon/base/err.h"

/* The r largest singular values of w [m][n] (unchanged) and their vectors: w ~ u diag(s) vt, the closest matrix of rank
 * r. u [m][r], s [r] in falling order, vt [r][n]; 1 <= r <= min(m, n). The element of a column of u that is largest in
 * size (the first of these) is positive. What lies below 1e-7 s[0] is nothing but rounding of f32 values: such a
 * triple is all zero. It comes from the eigenvectors of the smaller Gram matrix, so that vectors are orthonormal to
 * 1e-16 s[0] / s[k] on the longer side.
 * min^2 max + 4/3 min^3 multiplications, of the smaller and the larger side. E_MODEL: LAPACK found no eigenvectors. */
int svd_thin(const double *w, long m, long n, long r, double *u, double *s, double *vt, struct err *e);

/* w [m][n], m >= n, becomes q [m][n] with orthonormal columns: w = q r, r [n][n] upper triangular (zeros below) with no
 * negative number on its diagonal. E_MODEL. */
int qr_thin(double *w, long m, long n, double *r, struct err *e);
#endif
