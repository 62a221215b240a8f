/* made: low-rank paths whose A and B an adapter makes of its parameters: products of factors (LoHa, LoKr), shared
 * matrices with scales (VeRA). They are made after each update, and their gradients handed back to the parameters
 * (struct derived), so that no update is ever a dense matrix. */
#ifndef PEFT_PEFT_MADE_H
#define PEFT_PEFT_MADE_H
#include "libcommon/peft/method.h"

/* The parameters of one site: the method's, in the order of their declaration. */
struct made_site {
    const struct adapter *a;
    const struct param *first; /* its others follow, up to one of another site */
};
struct made_low {
    int (*rank)(const struct made_site *m); /* of the path */
    /* A [rank][in] and B [out][rank] of the adapter's values in data. */
    void (*make)(const struct made_site *m, const float *data, float *A, float *B);
    /* Adds to grad, the gradient of data, what follows from those of A and B. */
    void (*fold)(const struct made_site *m, const float *data, float *grad, const float *d_A, const float *d_B);
    double (*scale)(const struct made_site *m);  /* of the path */
    double (*drop_p)(const struct made_site *m); /* dropout of its input; NULL: none */
};
/* The tensor of a role; NULL: the site has none. */
const struct param *made_param(const struct made_site *m, int role);
int made_bind(const struct adapter *a, struct hooks *h, const struct made_low *low, struct err *e);
/* w += factor * scale B A, as peft_method.merge. */
int made_merge(const struct adapter *a, const struct made_low *low, const float *data, const struct site *s, bool bias,
               float *w, int rows, int cols, double factor);
#endif
