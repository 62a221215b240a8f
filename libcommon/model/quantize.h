/* quantize: hold the layers' projections of a model in another storage type: --quantize, the same for every tool
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
extern const struct opt quantize_opt_rows[];

enum quantize quantize_of(const struct quantize_opts *o);
const char *quantize_name(enum quantize q); /* as --quantize takes it */

enum dtype quantize_dtype(enum quantize q); /* of QUANTIZE_NONE: DT_F32 */

/* A matrix to be held in another type: from [rows][cols] as stored to dst; head_rows: its rows are in GGUF's permuted
 * order with heads of that many (see gguf.h), 0: they are not. */
struct quantize_job {
    const struct tensor *from;
    unsigned char *dst;
    int head_rows;
};
/* Matrix by matrix, each on all threads; pages of the file that were read are dropped. The result does not depend on
 * the number of threads. */
int quantize_fill(const struct weights *w, const struct quantize_job *job, int n, enum dtype to, struct err *e);
#endif
