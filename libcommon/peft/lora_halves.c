/* lora_halves: LoRA that begins with values out of the base. PEFT takes them out of its copy of the base; here the base
 * stays as it is: a second, frozen half of opposite sign takes away what the trained half begins with. Checkpoints have
 * both; what others read is a normal adapter of twice the rank. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/base/svd.h"
#include "libcommon/peft/adapter.h"
#include "libcommon/peft/lora.h"

int lora_halves_check(struct adapter *a, struct err *e)
{
    struct lora_opts *o = a->config;
    if (o->start >= LORA_BEGIN_PISSA) o->halves = true;
    if (!o->halves || !o->dora) return 0;
    err_set(e, E_CONFIG, "DoRA does not go with a start that takes its values out of the weight");
    return err_hint(e, "--init true, gaussian or orthogonal");
}

int lora_halves_declare(struct adapter *a, const struct site *s, struct err *e)
{
    const struct param *pa = param_of(a, s, LORA_A), *pb = param_of(a, s, LORA_B);
    const int r = pa->rows, in = pa->cols, out = pb->rows;
    if (2 * r > LORA_R_MAX)
        return err_set(e, E_CONFIG, "%s: rank %d: with this start at most %d", s->path, r, LORA_R_MAX / 2);
    param_freeze(a,
                 param_add(a, s, LORA_FROZEN_A, r, in, INIT_ZERO, 0, "base_model.model.%s.frozen_A.weight", s->path));
    param_freeze(a,
                 param_add(a, s, LORA_FROZEN_B, out, r, INIT_ZERO, 0, "base_model.model.%s.frozen_B.weight", s->path));
    return 0;
}

struct lowrank lora_frozen_path(const struct adapter *a, const struct site *s, const float *data)
{
    struct lowrank low = lora_path(a, s, data, NULL);
    const struct param *pa = low.r ? param_of(a, s, LORA_FROZEN_A) : NULL;
    if (!pa) return (struct lowrank){.r = 0};
    low.scale = -low.scale;
    low.a = data + pa->off;
    low.b = data + param_of(a, s, LORA_FROZEN_B)->off;
    return low;
}

/* ---- start ---- */

/* W of a site in f64. */
static double *weight_of(const struct model *m, const struct site *s)
{
    const struct mat *w = &model_part((struct model *)m, s)->w;
    const long n = (long)w->rows * w->cols;
    const size_t row = dtype_row_bytes(w->dtype, w->cols);
    double *v = mem_alloc((size_t)n, sizeof *v);
    float *f = mem_alloc((size_t)w->cols, sizeof *f);
    for (long i = 0; i < w->rows; i++) {
        dtype_to_f32(w->dtype, (const char *)w->data + (size_t)i * row, f, w->cols);
        for (long c = 0; c < w->cols; c++) v[i * w->cols + c] = f[c];
    }
    free(f);
    return v;
}

/* scale B A is W cut to its r largest singular values. */
static int pissa(const double *w, long rows, long cols, int r, double scale, float *A, float *B, struct err *e)
{
    double *u = mem_alloc((size_t)(rows * r), sizeof *u), *s = mem_alloc((size_t)r, sizeof *s),
           *vt = mem_alloc((size_t)(r * cols), sizeof *vt);
    int rc = svd_thin(w, rows, cols, r, u, s, vt, e);
    for (int k = 0; k < r && !rc; k++) {
        const double root = sqrt(s[k] / scale);
        for (long c = 0; c < cols; c++) A[k * cols + c] = (float)(root * vt[k * cols + c]);
        for (long i = 0; i < rows; i++) B[i * r + k] = (float)(root * u[i * r + k]);
    }
    free(u);
    free(s);
    free(vt);
    return rc;
}

/* B: the first columns of Q, which hang on as many columns of W alone; A = B^T W: the first rows of R. */
static int olora(const double *w, long rows, long cols, int r, float *A, float *B, struct err *e)
{
    double *q = mem_alloc((size_t)(rows * r), sizeof *q), *upper = mem_alloc((size_t)r * (size_t)r, sizeof *upper),
           *sum = mem_alloc((size_t)cols, sizeof *sum);
    for (long i = 0; i < rows; i++)
        for (int k = 0; k < r; k++) q[i * r + k] = w[i * cols + k];
    int rc = qr_thin(q, rows, r, upper, e);
    for (int k = 0; k < r && !rc; k++) {
        memset(sum, 0, (size_t)cols * sizeof *sum);
        for (long i = 0; i < rows; i++)
            for (long c = 0; c < cols; c++) sum[c] += q[i * r + k] * w[i * cols + c];
        for (long c = 0; c < cols; c++) A[k * cols + c] = (float)sum[c];
        for (long i = 0; i < rows; i++) B[i * r + k] = (float)q[i * r + k];
    }
    free(q);
    free(upper);
    free(sum);
    return rc;
}

static int start_site(const struct adapter *a, const struct model *m, const struct param *pa, float *host,
                      struct err *e)
{
    const struct lora_opts *o = a->config;
    const struct site *s = pa->site;
    const struct param *pb = param_of(a, s, LORA_B);
    const int r = pa->rows, least = pa->cols < pb->rows ? pa->cols : pb->rows;
    if (r > least) return err_set(e, E_CONFIG, "%s: rank %d, and its matrix has no more than %d", s->path, r, least);
    double *w = weight_of(m, s);
    float *A = host + pa->off, *B = host + pb->off;
    int rc = o->start == LORA_BEGIN_PISSA ? pissa(w, pb->rows, pa->cols, r, o->scale[s - o->site], A, B, e)
                                          : olora(w, pb->rows, pa->cols, r, A, B, e);
    free(w);
    memcpy(host + param_of(a, s, LORA_FROZEN_A)->off, A, (size_t)param_size(pa) * sizeof *A);
    memcpy(host + param_of(a, s, LORA_FROZEN_B)->off, B, (size_t)param_size(pb) * sizeof *B);
    return rc;
}

int lora_halves_start(const struct adapter *a, const struct model *m, float *host, struct err *e)
{
    int rc = 0;
    for (int i = 0; i < a->n_param && !rc; i++)
        if (a->param[i].role == LORA_A) rc = start_site(a, m, &a->param[i], host, e);
    return rc;
}

/* ---- as one pair of twice the rank ---- */

/* "name=number" with the number times a factor. */
static void multiply(struct strlist *map, double factor, struct hooks *h)
{
    char **v = hooks_alloc(h, (size_t)map->n + 1, sizeof *v);
    for (int i = 0; i < map->n; i++) {
        const char *eq = strrchr(map->v[i], '=');
        char *text = mem_printf("%.*s=%.17g", (int)(eq - map->v[i]), map->v[i], factor * strtod(eq + 1, NULL));
        v[i] = hooks_alloc(h, strlen(text) + 1, 1);
        memcpy(v[i], text, strlen(text));
        free(text);
    }
    map->v = v;
}

/* A over frozen A, B beside minus frozen B. */
static float *join(float *to, const struct lowrank *low, const struct lowrank *frozen, long in, long out)
{
    const long r = low->r, n = r * in;
    memcpy(to, low->a, (size_t)n * sizeof *to);
    memcpy(to + n, frozen->a, (size_t)n * sizeof *to);
    to += 2 * n;
    for (long i = 0; i < out; i++, to += 2 * r)
        for (long k = 0; k < r; k++) to[k] = low->b[i * r + k], to[r + k] = -frozen->b[i * r + k];
    return to;
}

const float *lora_halves_exported(void *config, struct hooks *h)
{
    struct lora_opts *o = config;
    const double factor = o->rslora ? sqrt(2.0) : 2; /* alpha / r, or alpha / sqrt(r), stays as it is */
    o->r *= 2;
    o->alpha *= factor;
    multiply(&o->rank_pattern, 2, h);
    multiply(&o->alpha_pattern, factor, h);
    o->halves = false;
    o->start = LORA_BEGIN_USUAL;
    size_t n = 0;
    for (int i = 0; i < h->m->n_site; i++)
        if (h->slot[i].n_low)
            n += 2 * (size_t)h->slot[i].low->r * (size_t)(site_rows(&h->m->site[i]) + site_cols(&h->m->site[i]));
    float *values = hooks_alloc(h, n, sizeof *values), *at = values;
    for (int i = 0; i < h->m->n_site; i++) {
        const struct site *s = &h->m->site[i];
        const struct lowrank *low = h->slot[i].low;
        if (h->slot[i].n_low) at = join(at, &low[0], &low[1], site_cols(s), site_rows(s));
    }
    return values;
}
