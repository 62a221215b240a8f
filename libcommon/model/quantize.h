/* quantize: hold the layers' projections of a loaded model in another storage type: --quantize, the same for every tool
 * that computes. Embedding, head, norms and biases stay as they are stored, as with bitsandbytes' load_in_4bit. */
#ifndef PEFT_MODEL_QUANTIZE_H
#define PEFT_MODEL_QUANTIZE_H
#include "libcommon/base/opt.h"
#include "libcommon/model/model.h"

struct quantize_opts {
    int quantize; /* enum quantize */
    bool load_in_4bit;
    int quant_type;
};
enum quantize { QUANTIZE_NONE, QUANTIZE_NF4 };
extern const struct opt quantize_opt_rows[];

enum quantize quantize_of(const struct quantize_opts *o);
const char *quantize_name(enum quantize q); /* as --quantize takes it */

/* Matrix by matrix into memory of the model, each on all threads; a matrix whose rows are no multiple of the type's
 * block stays as it is, with one note. Pages of the file that it read are dropped. The result does not depend on the
 * number of threads. E_MODEL: a matrix is quantised already; E_DEVICE: not the CPU; E_NOMEM. On an error the model can
 * only be freed. */
int model_quantize(struct model *m, enum quantize q, struct err *e);
#endif
