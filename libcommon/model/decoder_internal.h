/* decoder_internal: what decoder.c, decoder_train.c and decoder_infer.c share; nobody else includes it. */
#ifndef PEFT_MODEL_DECODER_INTERNAL_H
#define PEFT_MODEL_DECODER_INTERNAL_H
#include "libcommon/model/decoder.h"

int decoder_status(struct decoder *d, int status, const char *what, struct err *e); /* enum dev_status -> err */
bool decoder_trained(const struct linear *lin);
int decoder_upload(struct decoder *d, const struct batch *b, struct err *e);
void decoder_attn(const struct decoder *d, const struct batch *b, struct attn *a);
/* From where attention has mixed the tokens, a layer works on these rows: all of the batch, in the last layer those
 * with a label or logits. d_res: the gradient of the layer's output, then of its input's part that passes by attention;
 * d_o: of o. */
struct mlp_rows {
    long T;
    void *res_in, *o;
    struct dropout drop;
    void *d_res, *d_o;
};
struct mlp_rows decoder_mlp_rows(const struct decoder *d, const struct batch *b, int l);
int decoder_layer(struct decoder *d, const struct batch *b, const struct attn *at, int l, void *out, struct err *e);
/* Embedding and all layers: leaves the residual stream of the label rows in d->x_last and the attention's description
 * in *at. */
int decoder_forward(struct decoder *d, const struct batch *b, struct attn *at, struct err *e);
int decoder_final_norm(struct decoder *d, const struct batch *b, struct err *e);
#endif
