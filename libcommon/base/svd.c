/* svd: see svd.h. */
#include "libcommon/base/svd.h"

#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/mem.h"

/* LAPACK's own interface: everything by address, matrices by columns, lengths of strings behind all. */
void dsyevr_(const char *jobz, const char *range, const char *uplo, const int *n, double *a, const int *lda,
             const double *vl, const double *vu, const int *il, const int *iu, const double *abstol, int *found,
             double *w, double *z, const int *ldz, int *isuppz, double *work, const int *lwork, int *iwork,
             const int *liwork, int *info, size_t, size_t, size_t);
void dgelqf_(const int *m, const int *n, double *a, const int *lda, double *tau, double *work, const int *lwork,
             int *info);
void dorglq_(const int *m, const int *n, const int *k, double *a, const int *lda, const double *tau, double *work,
             const int *lwork, int *info);

#define NOISE 1e-7
enum { LANES = 8, PANEL = 64 };

static int too_large(long m, long n, struct err *e)
{
    if (m > 0 && n > 0 && m <= INT_MAX / PANEL && n <= INT_MAX / PANEL) return 0;
    return err_set(e, E_MODEL, "a matrix of %ld x %ld is too large to be decomposed", m, n);
}

/* In a fixed order, so wide that the compiler makes vectors of it. */
static double dot(const double *a, const double *b, long n)
{
    double sum[LANES] = {0}, all = 0;
    long i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) sum[k] += a[i + k] * b[i + k];
    for (; i < n; i++) sum[0] += a[i] * b[i];
    for (int k = 0; k < LANES; k++) all += sum[k];
    return all;
}

/* g [p][p] = t t', for t [p][q]; by panels of rows that stay in the cache. */
static void gram(const double *t, long p, long q, double *g)
{
    for (long at = 0; at < p; at += PANEL)
        for (long i = at; i < p; i++)
            for (long k = at; k <= i && k < at + PANEL; k++) g[i * p + k] = g[k * p + i] = dot(t + i * q, t + k * q, q);
}

/* The r last eigenvectors of g [p][p], which is lost: z [r][p], in rising order of their values. */
static int eigenvectors(double *g, long p, long r, double *z, struct err *e)
{
    const int n = (int)p, il = (int)(p - r + 1);
    const double none = 0;
    double *w = mem_alloc((size_t)p, sizeof *w), size = 0;
    int *support = mem_alloc(2 * (size_t)r, sizeof *support), found = 0, info = 0, isize = 0, ask = -1;
    dsyevr_("V", "I", "U", &n, g, &n, &none, &none, &il, &n, &none, &found, w, z, &n, support, &size, &ask, &isize,
            &ask, &info, 1, 1, 1);
    const int lwork = (int)size, liwork = isize;
    double *work = mem_alloc((size_t)lwork, sizeof *work);
    int *iwork = mem_alloc((size_t)liwork, sizeof *iwork);
    dsyevr_("V", "I", "U", &n, g, &n, &none, &none, &il, &n, &none, &found, w, z, &n, support, work, &lwork, iwork,
            &liwork, &info, 1, 1, 1);
    free(iwork);
    free(work);
    free(support);
    free(w);
    if (!info && found == r) return 0;
    return err_set(e, E_MODEL, "dsyevr: %d of %ld eigenvectors found (info %d)", found, r, info);
}

static void transpose(const double *a, long rows, long cols, double *t)
{
    for (long i = 0; i < rows; i++)
        for (long k = 0; k < cols; k++) t[k * rows + i] = a[i * cols + k];
}

/* One triple of t [p][q] from the eigenvector x [p]: y [q] = t' x, of length s. */
static double other_side(const double *t, long p, long q, const double *x, double *y)
{
    memset(y, 0, (size_t)q * sizeof *y);
    for (long i = 0; i < p; i++)
        for (long k = 0; k < q; k++) y[k] += x[i] * t[i * q + k];
    return sqrt(dot(y, y, q));
}

static double sign_of_largest(const double *v, long n)
{
    long at = 0;
    for (long i = 1; i < n; i++)
        if (fabs(v[i]) > fabs(v[at])) at = i;
    return v[at] < 0 ? -1 : 1;
}

/* x [p] and y [q], y not yet of length 1, become column k of u and row k of vt. */
static void put_triple(const double *x, const double *y, long m, long n, long r, long k, double *u, const double *s,
                       double *vt)
{
    const bool wide = m <= n;
    const double sign = sign_of_largest(wide ? x : y, m), ux = s[k] > 0 ? sign : 0, uy = s[k] > 0 ? sign / s[k] : 0;
    for (long i = 0; i < m; i++) u[i * r + k] = wide ? ux * x[i] : uy * y[i];
    for (long i = 0; i < n; i++) vt[k * n + i] = wide ? uy * y[i] : ux * x[i];
}

int svd_thin(const double *w, long m, long n, long r, double *u, double *s, double *vt, struct err *e)
{
    const long p = m < n ? m : n, q = m < n ? n : m;
    if (too_large(m, n, e)) return -e->id;
    if (r < 1 || r > p) return err_set(e, E_BUG, "svd_thin: rank %ld of a matrix of %ld x %ld", r, m, n);
    double *flipped = m <= n ? NULL : mem_alloc((size_t)m * (size_t)n, sizeof *flipped);
    if (flipped) transpose(w, m, n, flipped);
    const double *t = flipped ? flipped : w;
    double *g = mem_alloc((size_t)p * (size_t)p, sizeof *g), *z = mem_alloc((size_t)r * (size_t)p, sizeof *z);
    double *y = mem_alloc((size_t)q, sizeof *y);
    gram(t, p, q, g);
    int rc = eigenvectors(g, p, r, z, e);
    for (long k = 0; k < r && !rc; k++) {
        const double *x = z + (r - 1 - k) * p;
        s[k] = other_side(t, p, q, x, y);
        if (k && !(s[k] > NOISE * s[0])) s[k] = 0;
        put_triple(x, y, m, n, r, k, u, s, vt);
    }
    free(y);
    free(z);
    free(g);
    free(flipped);
    return rc;
}

/* By columns w is its transpose l q', and the rows of q' by columns are the columns of q by rows. */
int qr_thin(double *w, long m, long n, double *r, struct err *e)
{
    if (too_large(m, n, e)) return -e->id;
    if (n > m) return err_set(e, E_BUG, "qr_thin: a matrix of %ld x %ld", m, n);
    const int rows = (int)n, cols = (int)m, lwork = PANEL * rows;
    int info = 0, info2 = 0;
    double *tau = mem_alloc((size_t)n, sizeof *tau), *work = mem_alloc((size_t)lwork, sizeof *work);
    dgelqf_(&rows, &cols, w, &rows, tau, work, &lwork, &info);
    for (long i = 0; i < n; i++)
        for (long k = 0; k < n; k++) r[i * n + k] = k < i ? 0 : w[i * n + k];
    dorglq_(&rows, &cols, &rows, w, &rows, tau, work, &lwork, &info2);
    for (long i = 0; i < n; i++) {
        const double sign = r[i * n + i] < 0 ? -1 : 1;
        for (long k = i; k < n; k++) r[i * n + k] *= sign;
        for (long k = 0; k < m; k++) w[k * n + i] *= sign;
    }
    free(work);
    free(tau);
    return info || info2 ? err_set(e, E_MODEL, "LAPACK: no orthonormal basis (info %d, %d)", info, info2) : 0;
}
