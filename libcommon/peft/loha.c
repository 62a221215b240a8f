/* loha: low-rank Hadamard products (Hyeon-Woo et al. 2022, FedPara; LyCORIS): W + alpha/r (B1 A1) o (B2 A2). The
 * product of two matrices of rank r has rank r^2: row (i, j) of its A is a1_i o a2_j, column (i, j) of its B b1_i o
 * b2_j. Names and configuration keys are those of Hugging Face PEFT. */
#include <math.h>
#include "libcommon/peft/made.h"
#include "libcommon/peft/match.h"

enum { R_MAX = 64 }; /* the rank of the product is its square */
enum role { ROLE_B1, ROLE_A1, ROLE_B2, ROLE_A2 };

struct loha_opts {
    int64_t r;
    double alpha;
};

static const struct opt rows[] = {
    OPT(struct loha_opts, r, "loha-r", OPT_INT, "peft.loha", .key = "peft.loha.r", .arg = "R", .def = "8", .lo = 1,
        .hi = R_MAX, .help = "rank of both factors; that of the update is its square"),
    OPT(struct loha_opts, alpha, "loha-alpha", OPT_FLOAT, "peft.loha", .key = "peft.loha.alpha", .arg = "A", .def = "8",
        .lo = 1e-6, .hi = 1e6, .help = "the update is scaled by alpha/r"),
    OPT_END};

#define F(field) offsetof(struct loha_opts, field)
static const struct json_key keys[] = {
    {"r", KEY_INT, F(r), .text = "8", .lo = 1, .hi = R_MAX},
    {"alpha", KEY_WHOLE, F(alpha), .text = "8", .lo = 1e-6, .hi = 1e6},
    ADAPTER_KEYS_TARGETS,
    ADAPTER_KEYS_LAYERS,
    {"rank_dropout", KEY_NEUTRAL, .text = "0.0"},
    {"module_dropout", KEY_NEUTRAL, .text = "0.0"},
    {"use_effective_conv2d", KEY_INFO, .text = "false"}, /* of convolutions, which no model here has */
    {"init_weights", KEY_INFO, .text = "true"},
    {"rank_pattern", KEY_NEUTRAL, .text = "{}"},
    {"alpha_pattern", KEY_NEUTRAL, .text = "{}"},
    {"modules_to_save", KEY_NEUTRAL, .text = "null"},
    {"inference_mode", KEY_INFO, .text = "true"},
    ADAPTER_KEYS_INFO,
    {.name = NULL}};

/* kaiming_uniform with a = sqrt(5) of a matrix [.][n] is uniform in +-1/sqrt(n). The second A is zero: a fresh adapter
 * is the identity. */
static int declare(struct adapter *a, const struct model *m, struct err *e)
{
    const struct loha_opts *o = a->config;
    const int r = (int)o->r;
    struct match *match = match_new(m, &a->shared, e);
    if (!match) return -e->id;
    a->adds = true;
    for (int i = 0; i < m->n_site; i++) {
        const struct site *s = &m->site[i];
        if (!match_site(match, s)) continue;
        const int in = site_cols(s), out = site_rows(s);
        const double of_r = 1 / sqrt((double)r), of_in = 1 / sqrt((double)in);
        param_add(a, s, ROLE_B1, out, r, INIT_UNIFORM, of_r, "base_model.model.%s.hada_w1_a", s->path);
        param_add(a, s, ROLE_A1, r, in, INIT_UNIFORM, of_in, "base_model.model.%s.hada_w1_b", s->path);
        param_add(a, s, ROLE_B2, out, r, INIT_UNIFORM, of_r, "base_model.model.%s.hada_w2_a", s->path);
        param_add(a, s, ROLE_A2, r, in, INIT_ZERO, 0, "base_model.model.%s.hada_w2_b", s->path);
    }
    match_free(match);
    return 0;
}

static int rank(const struct made_site *m)
{
    const struct loha_opts *o = m->a->config;
    return (int)(o->r * o->r);
}

static double scale(const struct made_site *m)
{
    const struct loha_opts *o = m->a->config;
    return o->alpha / (double)o->r;
}

static void make(const struct made_site *m, const float *data, float *A, float *B)
{
    const struct param *p = m->first; /* the four stand in the order of their roles */
    const float *b1 = data + p[ROLE_B1].off, *a1 = data + p[ROLE_A1].off, *b2 = data + p[ROLE_B2].off,
                *a2 = data + p[ROLE_A2].off;
    const long r = p[ROLE_A1].rows, in = p[ROLE_A1].cols, out = p[ROLE_B1].rows;
    for (long i = 0; i < r; i++)
        for (long j = 0; j < r; j++)
            for (long c = 0; c < in; c++) A[(i * r + j) * in + c] = a1[i * in + c] * a2[j * in + c];
    for (long o = 0; o < out; o++)
        for (long i = 0; i < r; i++)
            for (long j = 0; j < r; j++) B[(o * r + i) * r + j] = b1[o * r + i] * b2[o * r + j];
}

static void fold(const struct made_site *m, const float *data, float *grad, const float *d_A, const float *d_B)
{
    const struct param *p = m->first;
    const float *b1 = data + p[ROLE_B1].off, *a1 = data + p[ROLE_A1].off, *b2 = data + p[ROLE_B2].off,
                *a2 = data + p[ROLE_A2].off;
    float *d_b1 = grad + p[ROLE_B1].off, *d_a1 = grad + p[ROLE_A1].off, *d_b2 = grad + p[ROLE_B2].off,
          *d_a2 = grad + p[ROLE_A2].off;
    const long r = p[ROLE_A1].rows, in = p[ROLE_A1].cols, out = p[ROLE_B1].rows;
    for (long i = 0; i < r; i++)
        for (long j = 0; j < r; j++) {
            const float *d = d_A + (i * r + j) * in;
            for (long c = 0; c < in; c++) {
                d_a1[i * in + c] += d[c] * a2[j * in + c];
                d_a2[j * in + c] += d[c] * a1[i * in + c];
            }
        }
    for (long o = 0; o < out; o++)
        for (long i = 0; i < r; i++)
            for (long j = 0; j < r; j++) {
                const float d = d_B[(o * r + i) * r + j];
                d_b1[o * r + i] += d * b2[o * r + j];
                d_b2[o * r + j] += d * b1[o * r + i];
            }
}

static const struct made_low low = {.rank = rank, .make = make, .fold = fold, .scale = scale};

static int bind(const struct adapter *a, struct hooks *h, struct err *e) { return made_bind(a, h, &low, e); }

static int merge(const struct adapter *a, const float *data, const struct site *s, bool bias, float *w, int nrows,
                 int ncols, double factor, struct err *e)
{
    (void)e;
    return made_merge(a, &low, data, s, bias, w, nrows, ncols, factor);
}

const struct peft_method peft_loha = {
    .name = "loha",
    .peft_type = "LOHA",
    .opts = rows,
    .opts_size = sizeof(struct loha_opts),
    .keys = keys,
    .targets = "q_proj,v_proj",
    .promises = PROMISE_IDENTITY,
    .declare = declare,
    .bind = bind,
    .merge = merge,
};
