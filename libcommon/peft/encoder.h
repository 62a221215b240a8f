/* encoder: what computes the virtual tokens of an adapter while it is trained, out of embeddings of their own. Other
 * tools read its result alone, so that is what an adapter directory has; checkpoints have the parameters. */
#ifndef PEFT_PEFT_ENCODER_H
#define PEFT_PEFT_ENCODER_H
#include "libcommon/peft/method.h"

/* Rows of values and their gradient, which is NULL where nothing is trained; on the CPU. */
struct rows {
    const float *v; /* [n][width], adjacent */
    float *d_v;     /* added to */
    long n, width;
};

/* The rows of a parameter. */
static inline struct rows rows_of(const struct adapter *a, const struct param *p)
{
    return (struct rows){a->data + p->off, param_grad(a, p), p->rows, p->cols};
}

/* Declare a linear's weight [out][in] and bias, NAME.weight and NAME.bias; they begin as torch.nn.Linear does, or at
 * zero. */
void encoder_linear(struct adapter *a, int out, int in, bool zero, const char *name);
/* *out = W_k f(... f(W_1 in + b_1) ...) + b_k, the parameters p[0], p[1], ... as encoder_linear declared them; derived
 * values of the set. E_DEVICE. */
int encoder_mlp(const struct adapter *a, const struct param *p, int layers, enum act f, struct rows in, struct hooks *h,
                struct rows *out, struct err *e);

/* A declared linear, as the ops take it. */
struct linear encoder_linear_of(const struct adapter *a, const struct param *w);

/* An LSTM that reads the rows in both directions, as torch.nn.LSTM: *out [in.n][2 H]. Of each layer and direction there
 * are four parameters. */
enum { ENCODER_LSTM_PARAMS = 8 };
void encoder_lstm_declare(struct adapter *a, int layers, int H, int in, const char *name);
int encoder_lstm(const struct adapter *a, const struct param *p, int layers, struct rows in, struct hooks *h,
                 struct rows *out, struct err *e);

/* prompt.c: the rows of virtual tokens behind the embedding. E_ADAPTER: the set has virtual tokens. */
int prompt_bind(struct rows w, struct hooks *h, struct err *e);
const float *prompt_rows(const struct hooks *h); /* those of a set that prompt_bind made */
#endif
