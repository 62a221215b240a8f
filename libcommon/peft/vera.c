/* vera: vectors on shared random matrices (Kopiczko et al. 2024): W + diag(b) B diag(d) A, where A [r][.] and B [.][r]
 * are the same for all modules (of which each takes as much as it has inputs and outputs), frozen, and kept in the
 * file; b begins with zeros. Names and configuration keys are those of Hugging Face PEFT, whose own A and B would
 * follow from a seed by torch's generator: a file without them is refused. */
#include <math.h>
#include "libcommon/peft/made.h"
#include "libcommon/peft/match.h"

enum { R_MAX = 4096 };
enum role { ROLE_B, ROLE_D, ROLE_SHARED_A, ROLE_SHARED_B };

struct vera_opts {
    int64_t r;
    double dropout, d_initial;
};

static const struct opt rows[] = {
    OPT(struct vera_opts, r, "vera-r", OPT_INT, "peft.vera", .key = "peft.vera.r", .arg = "R", .def = "256", .lo = 1,
        .hi = R_MAX, .help = "rank of the shared matrices"),
    OPT(struct vera_opts, d_initial, "vera-d-initial", OPT_FLOAT, "peft.vera", .key = "peft.vera.d_initial", .arg = "X",
        .def = "0.1", .lo = -1e6, .hi = 1e6, .help = "what the vector between the matrices begins with"),
    OPT(struct vera_opts, dropout, "vera-dropout", OPT_FLOAT, "peft.vera", .key = "peft.vera.vera_dropout", .arg = "P",
        .def = "0", .lo = 0, .hi = 0.99, .help = "dropout on the input of the update while training"),
    OPT_END};

#define F(field) offsetof(struct vera_opts, field)
static const struct json_key keys[] = {
    {"r", KEY_INT, F(r), .text = "256", .lo = 1, .hi = R_MAX},
    {"vera_dropout", KEY_REAL, F(dropout), .text = "0", .lo = 0, .hi = 0.999999},
    {"d_initial", KEY_REAL, F(d_initial), .text = "0.1", .lo = -1e6, .hi = 1e6},
    {"target_modules", KEY_TARGETS, offsetof(struct adapter_opts, target), .shared = true},
    ADAPTER_KEYS_LAYERS,
    {"projection_prng_key", KEY_INFO, .text = "0"}, /* the matrices are there */
    {"save_projection", KEY_ACCEPT, .text = "true", .choices = ""},
    {"init_weights", KEY_INFO, .text = "true"},
    {"fan_in_fan_out", KEY_NEUTRAL, .text = "false"},
    {"bias", KEY_ACCEPT, .text = "\"none\"", .choices = ""},
    {"modules_to_save", KEY_NEUTRAL, .text = "null"},
    {"inference_mode", KEY_INFO, .text = "true"},
    ADAPTER_KEYS_INFO,
    {.name = NULL}};

/* PEFT's kaiming_uniform, gain sqrt(2), of a matrix [.][n]: uniform in +-sqrt(6/n). */
static int declare(struct adapter *a, const struct model *m, struct err *e)
{
    const struct vera_opts *o = a->config;
    const int r = (int)o->r;
    if (a->shared.exclude.n)
        return err_set(e, E_CONFIG,
                       "exclude_modules: the files of vera have no such key; name the modules that are meant");
    struct match *match = match_new(m, &a->shared, e);
    if (!match) return -e->id;
    a->adds = true;
    int in = 0, out = 0;
    for (int i = 0; i < m->n_site; i++) {
        const struct site *s = &m->site[i];
        if (!match_site(match, s)) continue;
        param_add(a, s, ROLE_B, site_rows(s), 0, INIT_ZERO, 0, "base_model.model.%s.vera_lambda_b", s->path);
        param_add(a, s, ROLE_D, r, 0, INIT_ONE, 0, "base_model.model.%s.vera_lambda_d", s->path);
        if (site_cols(s) > in) in = site_cols(s);
        if (site_rows(s) > out) out = site_rows(s);
    }
    match_free(match);
    param_freeze(a, param_add(a, NULL, ROLE_SHARED_A, r, in, INIT_UNIFORM, sqrt(6.0 / in), "base_model.vera_A"));
    param_freeze(a, param_add(a, NULL, ROLE_SHARED_B, out, r, INIT_UNIFORM, sqrt(6.0 / r), "base_model.vera_B"));
    return 0;
}

static int start(const struct adapter *a, const struct model *m, uint64_t seed, float *host, struct err *e)
{
    (void)m, (void)seed, (void)e;
    const struct vera_opts *o = a->config;
    for (int i = 0; i < a->n_param; i++) {
        const struct param *p = &a->param[i];
        for (long k = 0; k < p->rows && p->role == ROLE_D; k++) host[p->off + k] = (float)o->d_initial;
    }
    return 0;
}

/* ---- the path: diag(d) A and diag(b) B ---- */

static int rank(const struct made_site *m) { return (int)((const struct vera_opts *)m->a->config)->r; }
static double scale(const struct made_site *m) { return (void)m, 1; }
static double drop_p(const struct made_site *m) { return ((const struct vera_opts *)m->a->config)->dropout; }

static const struct param *shared(const struct made_site *m, enum role role)
{
    return &m->a->param[m->a->n_param - (role == ROLE_SHARED_A ? 2 : 1)];
}

static void make(const struct made_site *m, const float *data, float *A, float *B)
{
    const struct param *pa = shared(m, ROLE_SHARED_A), *pb = shared(m, ROLE_SHARED_B);
    const float *b = data + m->first[ROLE_B].off, *d = data + m->first[ROLE_D].off;
    const long r = pa->rows, in = site_cols(m->first->site), out = site_rows(m->first->site);
    for (long k = 0; k < r; k++)
        for (long c = 0; c < in; c++) A[k * in + c] = d[k] * data[pa->off + k * pa->cols + c];
    for (long o = 0; o < out; o++)
        for (long k = 0; k < r; k++) B[o * r + k] = b[o] * data[pb->off + o * r + k];
}

static void fold(const struct made_site *m, const float *data, float *grad, const float *d_A, const float *d_B)
{
    const struct param *pa = shared(m, ROLE_SHARED_A), *pb = shared(m, ROLE_SHARED_B);
    float *d_b = grad + m->first[ROLE_B].off, *d_d = grad + m->first[ROLE_D].off;
    const long r = pa->rows, in = site_cols(m->first->site), out = site_rows(m->first->site);
    for (long k = 0; k < r; k++) {
        double sum = 0;
        for (long c = 0; c < in; c++) sum += (double)d_A[k * in + c] * data[pa->off + k * pa->cols + c];
        d_d[k] += (float)sum;
    }
    for (long o = 0; o < out; o++) {
        double sum = 0;
        for (long k = 0; k < r; k++) sum += (double)d_B[o * r + k] * data[pb->off + o * r + k];
        d_b[o] += (float)sum;
    }
}

static const struct made_low low = {.rank = rank, .make = make, .fold = fold, .scale = scale, .drop_p = drop_p};

static int bind(const struct adapter *a, struct hooks *h, struct err *e) { return made_bind(a, h, &low, e); }

static int merge(const struct adapter *a, const float *data, const struct site *s, bool bias, float *w, int nrows,
                 int ncols, double factor, struct err *e)
{
    (void)e;
    return made_merge(a, &low, data, s, bias, w, nrows, ncols, factor);
}

const struct peft_method peft_vera = {
    .name = "vera",
    .peft_type = "VERA",
    .opts = rows,
    .opts_size = sizeof(struct vera_opts),
    .keys = keys,
    .targets = "q_proj,v_proj",
    .promises = PROMISE_IDENTITY,
    .declare = declare,
    .start = start,
    .bind = bind,
    .merge = merge,
};
