/* svd: products that give the matrix back, orthonormal vectors, the closest matrix of a rank, and fixed signs. */
#include "libcommon/base/svd.h"

#include <math.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/rng.h"
#include "tests/test.h"

enum { MAX = 64 };

static void random_matrix(double *w, long n, uint64_t seed)
{
    for (long i = 0; i < n; i++) w[i] = rng_normal(seed, RNG_INIT, (uint64_t)i);
}

/* Largest |a - u diag(s) vt|; s NULL: ones. */
static double off_by(const double *a, const double *u, const double *s, const double *vt, long m, long n, long r)
{
    double most = 0;
    for (long i = 0; i < m; i++)
        for (long j = 0; j < n; j++) {
            double x = 0;
            for (long k = 0; k < r; k++) x += u[i * r + k] * (s ? s[k] : 1) * vt[k * n + j];
            most = fmax(most, fabs(x - a[i * n + j]));
        }
    return most;
}

/* Largest |v v' - 1| over r vectors of n elements, `step` apart, each with its elements `gap` apart. */
static double skew(const double *v, long r, long n, long step, long gap)
{
    double most = 0;
    for (long a = 0; a < r; a++)
        for (long b = 0; b < r; b++) {
            double x = a == b ? -1 : 0;
            for (long i = 0; i < n; i++) x += v[a * step + i * gap] * v[b * step + i * gap];
            most = fmax(most, fabs(x));
        }
    return most;
}

static void whole_of(long m, long n)
{
    double w[MAX * MAX], u[MAX * MAX], s[MAX], vt[MAX * MAX];
    struct err e = {0};
    const long p = m < n ? m : n;
    random_matrix(w, m * n, (uint64_t)(m * 100 + n));
    CHECK(svd_thin(w, m, n, p, u, s, vt, &e) == 0);
    CHECK_MSG(off_by(w, u, s, vt, m, n, p) < 1e-11, "%ld x %ld", m, n);
    CHECK(skew(u, p, m, 1, p) < 1e-10 && skew(vt, p, n, n, 1) < 1e-10);
    for (long k = 0; k < p; k++) {
        long at = 0;
        for (long i = 1; i < m; i++)
            if (fabs(u[i * p + k]) > fabs(u[at * p + k])) at = i;
        CHECK_MSG(u[at * p + k] > 0, "%ld x %ld, column %ld", m, n, k);
        CHECK(!k || s[k] <= s[k - 1]);
    }
}

static void whole(void)
{
    whole_of(40, 17);
    whole_of(17, 40);
    whole_of(30, 30);
    whole_of(1, 9);
    whole_of(9, 1);
}

/* diag(5, 3, 2) turned: what is left out of rank 2 is the 2. */
static void closest(void)
{
    double w[20 * 30], q1[20 * 3], q2[30 * 3], r[9], u[40], s[2], vt[60], rest = 0;
    struct err e = {0};
    random_matrix(q1, 60, 1);
    random_matrix(q2, 90, 2);
    CHECK(qr_thin(q1, 20, 3, r, &e) == 0 && qr_thin(q2, 30, 3, r, &e) == 0);
    for (int i = 0; i < 20; i++)
        for (int j = 0; j < 30; j++)
            w[i * 30 + j] = 5 * q1[i * 3] * q2[j * 3] + 3 * q1[i * 3 + 1] * q2[j * 3 + 1] +
                            2 * q1[i * 3 + 2] * q2[j * 3 + 2];
    CHECK(svd_thin(w, 20, 30, 2, u, s, vt, &e) == 0);
    CHECK(fabs(s[0] - 5) < 1e-12 && fabs(s[1] - 3) < 1e-12);
    for (int i = 0; i < 20; i++)
        for (int j = 0; j < 30; j++) {
            double x = w[i * 30 + j];
            for (int k = 0; k < 2; k++) x -= u[i * 2 + k] * s[k] * vt[k * 30 + j];
            rest += x * x;
        }
    CHECK_MSG(fabs(sqrt(rest) - 2) < 1e-12, "%.17g", sqrt(rest));
}

/* Of rank 3 in rank 5: two triples are nothing, not noise made large. */
static void deficient(void)
{
    double w[20 * 30], a[60], b[90], u[100], s[5], vt[150];
    struct err e = {0};
    random_matrix(a, 60, 3);
    random_matrix(b, 90, 4);
    for (int i = 0; i < 20; i++)
        for (int j = 0; j < 30; j++) {
            double x = 0;
            for (int k = 0; k < 3; k++) x += a[i * 3 + k] * b[j * 3 + k];
            w[i * 30 + j] = (float)x;
        }
    CHECK(svd_thin(w, 20, 30, 5, u, s, vt, &e) == 0);
    CHECK(s[2] > 0.1 && s[3] == 0 && s[4] == 0 && u[3] == 0 && vt[3 * 30] == 0);
    CHECK(off_by(w, u, s, vt, 20, 30, 5) < 1e-6);
    memset(w, 0, sizeof w);
    CHECK(svd_thin(w, 20, 30, 5, u, s, vt, &e) == 0 && s[0] == 0 && u[0] == 0 && vt[0] == 0);
    CHECK(svd_thin(w, 20, 30, 21, u, s, vt, &e) == -E_BUG);
}

static void basis(void)
{
    double w[50 * 12], q[50 * 12], r[12 * 12];
    struct err e = {0};
    random_matrix(w, 50 * 12, 5);
    memcpy(q, w, sizeof q);
    CHECK(qr_thin(q, 50, 12, r, &e) == 0);
    CHECK(off_by(w, q, NULL, r, 50, 12, 12) < 1e-13 && skew(q, 12, 50, 1, 12) < 1e-14);
    for (int i = 0; i < 12; i++) {
        CHECK(r[i * 12 + i] > 0);
        for (int k = 0; k < i; k++) CHECK(r[i * 12 + k] == 0);
    }
    CHECK(qr_thin(q, 12, 50, r, &e) == -E_BUG);
}

int main(void)
{
    RUN(whole, "svd: a matrix of full rank");
    RUN(closest, "svd: the closest matrix of a rank");
    RUN(deficient, "svd: fewer singular values than asked for");
    RUN(basis, "qr: an orthonormal basis");
    return test_failed;
}
