/* lokr: Kronecker products (Yeh et al. 2024, LyCORIS): W + alpha/r kron(C, D), C [a][c] and D [b][d] with a b outputs
 * and c d inputs; each whole, or a product of rank r. The update is one low-rank path: with D = U V of rank k
 *   kron(C, D) = kron(C, U) kron(I, V) = kron(I, U) kron(C, V),
 * of rank c k or a k, whichever is less; a whole D is I D or D I. Names and configuration keys are those of Hugging
 * Face PEFT. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/peft/made.h"
#include "libcommon/peft/match.h"

enum { R_MAX = 1024 };
enum role { ROLE_C, ROLE_C_A, ROLE_C_B, ROLE_D, ROLE_D_A, ROLE_D_B };

struct lokr_opts {
    int64_t r, factor;
    double alpha;
    bool both;
};

static const struct opt rows[] = {
    OPT(struct lokr_opts, r, "lokr-r", OPT_INT, "peft.lokr", .key = "peft.lokr.r", .arg = "R", .def = "8", .lo = 1,
        .hi = R_MAX, .help = "rank of the larger factor; half its longer side or more: it is whole"),
    OPT(struct lokr_opts, alpha, "lokr-alpha", OPT_FLOAT, "peft.lokr", .key = "peft.lokr.alpha", .arg = "A", .def = "8",
        .lo = 1e-6, .hi = 1e6, .help = "the update is scaled by alpha/r"),
    OPT(struct lokr_opts, factor, "lokr-factor", OPT_INT, "peft.lokr", .key = "peft.lokr.decompose_factor", .arg = "N",
        .def = "-1", .lo = -1, .hi = 65536,
        .help = "about how long a side of the smaller factor is; -1: near the square root"),
    OPT(struct lokr_opts, both, "lokr-both", OPT_FLAG, "peft.lokr", .key = "peft.lokr.decompose_both",
        .help = "the smaller factor has rank r too, where that is less than half its longer side"),
    OPT_END};

#define F(field) offsetof(struct lokr_opts, field)
static const struct json_key keys[] = {
    {"r", KEY_INT, F(r), .text = "8", .lo = 1, .hi = R_MAX},
    {"alpha", KEY_WHOLE, F(alpha), .text = "8", .lo = 1e-6, .hi = 1e6},
    {"decompose_both", KEY_BOOL, F(both), .text = "false"},
    {"decompose_factor", KEY_INT, F(factor), .text = "-1", .lo = -1, .hi = 65536},
    ADAPTER_KEYS_TARGETS,
    ADAPTER_KEYS_LAYERS,
    {"rank_dropout", KEY_NEUTRAL, .text = "0.0"},
    {"module_dropout", KEY_NEUTRAL, .text = "0.0"},
    {"rank_dropout_scale", KEY_INFO, .text = "false"},   /* of rank_dropout */
    {"use_effective_conv2d", KEY_INFO, .text = "false"}, /* of convolutions, which no model here has */
    {"init_weights", KEY_INFO, .text = "true"},
    {"rank_pattern", KEY_NEUTRAL, .text = "{}"},
    {"alpha_pattern", KEY_NEUTRAL, .text = "{}"},
    {"modules_to_save", KEY_NEUTRAL, .text = "null"},
    {"inference_mode", KEY_INFO, .text = "true"},
    ADAPTER_KEYS_INFO,
    {.name = NULL}};

/* ---- parameters ---- */

/* n as a product, the first no longer than the second, by LyCORIS' search (PEFT's factorization). */
static void factorise(int n, int64_t factor, int *small, int *large)
{
    if (factor > 0 && n % factor == 0) {
        *small = (int)factor, *large = (int)(n / factor);
        return;
    }
    if (factor == -1) factor = n;
    int a = 1, b = n, length = n + 1;
    while (a < b) {
        int next = a + 1;
        while (n % next) next++;
        if (next + n / next > length || next > factor) break;
        a = next, b = n / next;
    }
    *small = a < b ? a : b;
    *large = a < b ? b : a;
}

/* One factor [n0][n1]: whole, or of rank r. zero: the update begins with nothing. */
static void add(struct adapter *a, const struct site *s, enum role role, const char *name, int n0, int n1, bool whole,
                bool zero)
{
    const int r = (int)((const struct lokr_opts *)a->config)->r;
    const enum init first = zero ? INIT_ZERO : INIT_UNIFORM;
    if (whole) {
        param_add(a, s, role, n0, n1, first, 1 / sqrt((double)n1), "base_model.model.%s.%s", s->path, name);
        return;
    }
    param_add(a, s, role + 1, n0, r, first, 1 / sqrt((double)r), "base_model.model.%s.%s_a", s->path, name);
    param_add(a, s, role + 2, r, n1, INIT_UNIFORM, 1 / sqrt((double)n1), "base_model.model.%s.%s_b", s->path, name);
}

static int longer(int x, int y) { return x > y ? x : y; }

static int declare(struct adapter *a, const struct model *m, struct err *e)
{
    const struct lokr_opts *o = a->config;
    if (o->factor == 0) return err_set(e, E_CONFIG, "decompose_factor is 0: expected -1, or a length from 1");
    struct match *match = match_new(m, &a->shared, e);
    if (!match) return -e->id;
    a->adds = true;
    for (int i = 0; i < m->n_site; i++) {
        const struct site *s = &m->site[i];
        if (!match_site(match, s)) continue;
        int out_s, out_l, in_s, in_l;
        factorise(site_rows(s), o->factor, &out_s, &out_l);
        factorise(site_cols(s), o->factor, &in_s, &in_l);
        add(a, s, ROLE_C, "lokr_w1", out_s, in_s, !(o->both && 2 * o->r < longer(out_s, in_s)), true);
        add(a, s, ROLE_D, "lokr_w2", out_l, in_l, 2 * o->r >= longer(out_l, in_l), false);
    }
    match_free(match);
    return 0;
}

/* ---- the path ---- */

/* The factors of a site as matrices: C = Ca Cb or whole, D = U V. In a second one of the same shape, their gradients.
 */
struct factors {
    int a, b, c, d, k;       /* C [a][c], D [b][d], U [b][k], V [k][d] */
    bool right;              /* kron(I, U) kron(C, V): rank a k */
    bool u_is_one, v_is_one; /* of a whole D */
    const struct param *C, *C_a, *C_b, *D, *D_a, *D_b;
};

static struct factors factors_of(const struct made_site *m)
{
    struct factors f = {.C = made_param(m, ROLE_C),
                        .C_a = made_param(m, ROLE_C_A),
                        .C_b = made_param(m, ROLE_C_B),
                        .D = made_param(m, ROLE_D),
                        .D_a = made_param(m, ROLE_D_A),
                        .D_b = made_param(m, ROLE_D_B)};
    f.a = f.C ? f.C->rows : f.C_a->rows;
    f.c = f.C ? f.C->cols : f.C_b->cols;
    f.b = f.D ? f.D->rows : f.D_a->rows;
    f.d = f.D ? f.D->cols : f.D_b->cols;
    f.k = f.D ? (f.b < f.d ? f.b : f.d) : f.D_a->cols;
    f.u_is_one = f.D && f.b < f.d;
    f.v_is_one = f.D && !f.u_is_one;
    f.right = f.a < f.c;
    return f;
}

static int rank(const struct made_site *m)
{
    const struct factors f = factors_of(m);
    return (f.right ? f.a : f.c) * f.k;
}

static double scale(const struct made_site *m)
{
    const struct lokr_opts *o = m->a->config;
    return o->alpha / (double)o->r;
}

static float *identity(float *to, int n)
{
    for (int i = 0; i < n; i++) to[(size_t)i * (size_t)n + (size_t)i] = 1;
    return to;
}

static float *matrix(long n0, long n1) { return mem_alloc((size_t)n0 * (size_t)n1, sizeof(float)); }

/* y [n][m] += x [n][k] w [k][m]; transposed: x is [k][n], or w is [m][k]. */
static void add_product(float *y, const float *x, bool x_t, const float *w, bool w_t, long n, long k, long m)
{
    for (long i = 0; i < n; i++)
        for (long j = 0; j < m; j++) {
            double sum = 0;
            for (long t = 0; t < k; t++) sum += (double)x[x_t ? t * n + i : i * k + t] * w[w_t ? j * k + t : t * m + j];
            y[i * m + j] += (float)sum;
        }
}

/* C, U and V as whole matrices, one behind the other; malloc'ed. */
struct whole {
    float *C, *U, *V;
};
static struct whole whole_of(const struct factors *f, const float *data)
{
    struct whole w = {matrix(f->a, f->c), matrix(f->b, f->k), matrix(f->k, f->d)};
    if (f->C)
        memcpy(w.C, data + f->C->off, (size_t)f->a * (size_t)f->c * sizeof(float));
    else
        add_product(w.C, data + f->C_a->off, false, data + f->C_b->off, false, f->a, f->C_a->cols, f->c);
    if (f->u_is_one)
        identity(w.U, f->b);
    else
        memcpy(w.U, data + (f->D ? f->D : f->D_a)->off, (size_t)f->b * (size_t)f->k * sizeof(float));
    if (f->v_is_one)
        identity(w.V, f->d);
    else
        memcpy(w.V, data + (f->D ? f->D : f->D_b)->off, (size_t)f->k * (size_t)f->d * sizeof(float));
    return w;
}

static void whole_free(struct whole *w)
{
    free(w->C);
    free(w->U);
    free(w->V);
}

/* Element (i, p) x (j, q) of kron(X, Y), Y [ny][my]: row i ny + j, column p my + q. X NULL: the identity. */
static void kron(float *to, const float *X, int nx, int mx, const float *Y, int ny, int my)
{
    for (long i = 0; i < nx; i++)
        for (long j = 0; j < ny; j++)
            for (long p = 0; p < mx; p++) {
                const float x = X ? X[i * mx + p] : i == p;
                for (long q = 0; q < my; q++) to[((i * ny + j) * mx + p) * my + q] = x * Y[j * my + q];
            }
}

/* Gradients of X (NULL: it has none) and Y from that of kron(X, Y). */
static void kron_back(float *d_X, float *d_Y, const float *d, const float *X, int nx, int mx, const float *Y, int ny,
                      int my)
{
    for (long i = 0; i < nx; i++)
        for (long p = 0; p < mx; p++) {
            const float x = X ? X[i * mx + p] : i == p;
            double sum = 0;
            for (long j = 0; j < ny; j++)
                for (long q = 0; q < my; q++) {
                    const float g = d[((i * ny + j) * mx + p) * my + q];
                    d_Y[j * my + q] += x * g;
                    sum += (double)g * Y[j * my + q];
                }
            if (d_X) d_X[i * mx + p] += (float)sum;
        }
}

static void make(const struct made_site *m, const float *data, float *A, float *B)
{
    const struct factors f = factors_of(m);
    struct whole w = whole_of(&f, data);
    if (f.right) {
        kron(B, NULL, f.a, f.a, w.U, f.b, f.k);
        kron(A, w.C, f.a, f.c, w.V, f.k, f.d);
    } else {
        kron(B, w.C, f.a, f.c, w.U, f.b, f.k);
        kron(A, NULL, f.c, f.c, w.V, f.k, f.d);
    }
    whole_free(&w);
}

static void add_to(float *grad, const struct param *p, const float *d)
{
    for (long i = 0; i < param_size(p); i++) grad[p->off + i] += d[i];
}

static void fold(const struct made_site *m, const float *data, float *grad, const float *d_A, const float *d_B)
{
    const struct factors f = factors_of(m);
    struct whole w = whole_of(&f, data), d = {matrix(f.a, f.c), matrix(f.b, f.k), matrix(f.k, f.d)};
    if (f.right) {
        kron_back(NULL, d.U, d_B, NULL, f.a, f.a, w.U, f.b, f.k);
        kron_back(d.C, d.V, d_A, w.C, f.a, f.c, w.V, f.k, f.d);
    } else {
        kron_back(d.C, d.U, d_B, w.C, f.a, f.c, w.U, f.b, f.k);
        kron_back(NULL, d.V, d_A, NULL, f.c, f.c, w.V, f.k, f.d);
    }
    if (!f.u_is_one) add_to(grad, f.D ? f.D : f.D_a, d.U);
    if (!f.v_is_one) add_to(grad, f.D ? f.D : f.D_b, d.V);
    if (f.C) {
        add_to(grad, f.C, d.C);
    } else {
        const int r = f.C_a->cols;
        add_product(grad + f.C_a->off, d.C, false, data + f.C_b->off, true, f.a, f.c, r);
        add_product(grad + f.C_b->off, data + f.C_a->off, true, d.C, false, r, f.a, f.c);
    }
    whole_free(&w);
    whole_free(&d);
}

static const struct made_low low = {.rank = rank, .make = make, .fold = fold, .scale = scale};

static int bind(const struct adapter *a, struct hooks *h, struct err *e) { return made_bind(a, h, &low, e); }

static int merge(const struct adapter *a, const float *data, const struct site *s, bool bias, float *w, int nrows,
                 int ncols, double factor, struct err *e)
{
    (void)e;
    return made_merge(a, &low, data, s, bias, w, nrows, ncols, factor);
}

const struct peft_method peft_lokr = {
    .name = "lokr",
    .peft_type = "LOKR",
    .opts = rows,
    .opts_size = sizeof(struct lokr_opts),
    .keys = keys,
    .targets = "q_proj,v_proj",
    .promises = PROMISE_IDENTITY,
    .declare = declare,
    .bind = bind,
    .merge = merge,
};
