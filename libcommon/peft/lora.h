/* lora: low-rank adaptation (Hu et al. 2021): W x + scale B A x, scale = alpha/r, or alpha/sqrt(r) with rslora
 * (Kalajdzievski 2023). One A [r][in] and B [out][r] for each targeted projection. */
#ifndef PEFT_PEFT_LORA_H
#define PEFT_PEFT_LORA_H
#include "libcommon/base/opt.h"

struct lora_opts {
    int64_t r;
    double alpha, dropout;
    struct strlist target; /* names, or "all-linear", or one regular expression for the whole module path */
    int bias;              /* enum lora_bias */
    bool rslora;
};
enum lora_bias { LORA_BIAS_NONE, LORA_BIAS_ALL, LORA_BIAS_LORA_ONLY };
#endif
