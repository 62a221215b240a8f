/* lora: what the files of LoRA share: lora.c declares, binds and merges. */
#ifndef PEFT_PEFT_LORA_H
#define PEFT_PEFT_LORA_H
#include "libcommon/peft/method.h"

enum { LORA_R_MAX = 1024 };
enum lora_role { LORA_A, LORA_B, LORA_MAGNITUDE, LORA_FROZEN_A, LORA_FROZEN_B };
enum lora_begin {
    LORA_BEGIN_USUAL,
    LORA_BEGIN_GAUSSIAN,
    LORA_BEGIN_ORTHOGONAL,
    LORA_BEGIN_PISSA, /* Meng et al. 2024: the largest singular values of W and their vectors */
    LORA_BEGIN_OLORA  /* Bueyuekakyuez 2024: the first columns of Q, rows of R of W = Q R */
};
enum lora_bias { LORA_BIAS_NONE, LORA_BIAS_ALL, LORA_BIAS_ONLY };

struct lora_opts {
    int64_t r;
    double alpha, dropout;
    int bias;  /* enum lora_bias */
    int start; /* enum lora_begin */
    bool rslora, dora;
    bool halves; /* a frozen half takes away what the trained one has begun with (lora_halves.c) */
    struct strlist rank_pattern, alpha_pattern; /* see per_module.h */
    const struct site *site;                    /* the model's */
    float *scale;                               /* [n_site]; the adapter's */
};

/* The low-rank path of a site: of tensors at data (and grad, unless NULL), without dropout. A site without tensors: r
 * 0.
 */
struct lowrank lora_path(const struct adapter *a, const struct site *s, const float *data, float *grad);

/* A and B of the fresh adapter in host, where they do not begin as declared (lora_start.c). E_CONFIG: an odd rank. */
int lora_start(const struct adapter *a, uint64_t seed, float *host, struct err *e);

/* PiSSA and OLoRA (lora_halves.c). */
int lora_halves_check(struct adapter *a, struct err *e); /* E_CONFIG */
/* The frozen tensors of a site; behind all that are trained. E_CONFIG: a rank too large. */
int lora_halves_declare(struct adapter *a, const struct site *s, struct err *e);
/* Both halves out of W. E_CONFIG: the matrix has no such rank. */
int lora_halves_start(const struct adapter *a, const struct model *m, float *host, struct err *e);
struct lowrank lora_frozen_path(const struct adapter *a, const struct site *s, const float *data); /* as lora_path */
const float *lora_halves_exported(void *config, struct hooks *h); /* peft_method.exported */

/* DoRA (Liu et al. 2024): y = m / |W + s B A| (W + s B A) x, the norm row by row and a constant to the gradient. */
int dora_check(const struct adapter *a, const struct model *m, struct err *e);
void dora_declare(struct adapter *a, const struct site *s);
/* Magnitudes of the fresh adapter in host: the norms. E_MODEL: a row without one. */
int dora_start(const struct adapter *a, const struct model *m, float *host, struct err *e);
int dora_bind(const struct adapter *a, const struct site *s, const struct lowrank *low, struct hooks *h, struct err *e);
/* gain [nrows] = m / |W + s B A| of a weight of the site. enum dev_status */
int dora_gain(const struct adapter *a, const float *data, const struct site *s, const struct mat *w, float *gain);
#endif
