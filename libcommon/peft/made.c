/* made.c: see made.h. */
#include "libcommon/peft/made.h"
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"

struct path {
    struct derived d;
    struct made_site m;
    const struct made_low *low;
    float *A, *B, *d_A, *d_B; /* d_: NULL if nothing is trained */
    size_t n_a, n_b;
};

const struct param *made_param(const struct made_site *m, int role)
{
    const struct param *end = m->a->param + m->a->n_param;
    for (const struct param *p = m->first; p < end && p->site == m->first->site; p++)
        if (p->role == role) return p;
    return NULL;
}

static int refresh(const struct derived *d)
{
    const struct path *p = (const struct path *)d;
    p->low->make(&p->m, p->m.a->data, p->A, p->B);
    return DEV_OK;
}

static int fold(const struct derived *d)
{
    const struct path *p = (const struct path *)d;
    p->low->fold(&p->m, p->m.a->data, p->m.a->grad, p->d_A, p->d_B);
    memset(p->d_A, 0, p->n_a * sizeof(float));
    memset(p->d_B, 0, p->n_b * sizeof(float));
    return DEV_OK;
}

static int bind_site(const struct made_site *m, struct hooks *h, const struct made_low *low, struct err *e)
{
    const struct site *s = m->first->site;
    const int r = low->rank(m);
    struct path *p = hooks_alloc(h, 1, sizeof *p);
    *p = (struct path){.d = {.refresh = refresh, .fold = m->a->grad ? fold : NULL}, .m = *m, .low = low};
    p->n_a = (size_t)r * (size_t)site_cols(s), p->n_b = (size_t)r * (size_t)site_rows(s);
    p->A = hooks_floats(h, p->n_a);
    p->B = hooks_floats(h, p->n_b);
    if (m->a->grad) {
        p->d_A = hooks_floats(h, p->n_a);
        p->d_B = hooks_floats(h, p->n_b);
    }
    hooks_low(h, s,
              (struct lowrank){.r = r,
                               .scale = (float)(low->scale(m) * m->a->factor),
                               .drop_p = low->drop_p ? (float)low->drop_p(m) : 0,
                               .key = s->key,
                               .a = p->A,
                               .b = p->B,
                               .d_a = p->d_A,
                               .d_b = p->d_B,
                               .span = m->a->span});
    return hooks_derive(h, &p->d, e);
}

int made_bind(const struct adapter *a, struct hooks *h, const struct made_low *low, struct err *e)
{
    const struct site *last = NULL; /* a site's tensors stand together */
    for (int i = 0; i < a->n_param; i++) {
        const struct made_site m = {a, &a->param[i]};
        if (!m.first->site || m.first->site == last) continue;
        last = m.first->site;
        int rc = bind_site(&m, h, low, e);
        if (rc) return rc;
    }
    return 0;
}

int made_merge(const struct adapter *a, const struct made_low *low, const float *data, const struct site *s, bool bias,
               float *w, int rows, int cols, double factor)
{
    struct made_site m = {a, NULL};
    for (int i = 0; i < a->n_param && !m.first; i++)
        if (a->param[i].site == s) m.first = &a->param[i];
    if (!m.first || bias) return 0;
    const int r = low->rank(&m);
    const double scale = low->scale(&m) * factor;
    float *A = mem_alloc((size_t)r * (size_t)cols, sizeof *A), *B = mem_alloc((size_t)r * (size_t)rows, sizeof *B);
    double *sum = mem_alloc((size_t)cols, sizeof *sum);
    low->make(&m, data, A, B);
    for (long o = 0; o < rows; o++) {
        memset(sum, 0, (size_t)cols * sizeof *sum);
        for (long k = 0; k < r; k++)
            for (long c = 0; c < cols; c++) sum[c] += (double)B[o * r + k] * A[k * cols + c];
        for (long c = 0; c < cols; c++) w[o * cols + c] = (float)(w[o * cols + c] + scale * sum[c]);
    }
    free(A);
    free(B);
    free(sum);
    return 1;
}
