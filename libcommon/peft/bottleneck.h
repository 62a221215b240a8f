/* bottleneck: what the method and the reader of its files share. */
#ifndef PEFT_PEFT_BOTTLENECK_H
#define PEFT_PEFT_BOTTLENECK_H
#include "libcommon/peft/adapter.h"

enum bottleneck_kind { BOTTLENECK_SEQ, BOTTLENECK_DOUBLE_SEQ, BOTTLENECK_PAR };
enum bottleneck_place { PLACE_AUTO, PLACE_ATTENTION, PLACE_MLP, PLACE_BOTH };
enum bottleneck_scaling { SCALING_NUMBER, SCALING_LEARNED, SCALING_CHANNEL }; /* of the output, or of its channels */
enum bottleneck_init { BOTTLENECK_INIT_AUTO, BOTTLENECK_INIT_BERT, BOTTLENECK_INIT_MAM };
/* Activations by AdapterHub's names, in the order of BOTTLENECK_ACTS. */
enum bottleneck_act {
    BOTTLENECK_RELU,
    BOTTLENECK_GELU,
    BOTTLENECK_GELU_NEW,
    BOTTLENECK_GELU_TANH,
    BOTTLENECK_SWISH,
    BOTTLENECK_SILU,
    BOTTLENECK_TANH,
    BOTTLENECK_SIGMOID,
    BOTTLENECK_LEAKY,
    BOTTLENECK_ACT_AUTO
};
#define BOTTLENECK_ACTS "relu|gelu|gelu_new|gelu_pytorch_tanh|swish|silu|tanh|sigmoid|leakyrelu"

struct bottleneck_opts {
    int kind, act, place, init; /* the enums above */
    char *reduction;            /* "16", or "0=4,default=16" */
    char *scaling_text;         /* "auto", a number, "learned" or "channel" */
    double scaling, dropout;
    int learned; /* enum bottleneck_scaling */
    struct strlist leave_out;
    char *name; /* in the names of the tensors */
    /* what kind stands for, or what a file says */
    bool resolved, parallel, ln_before, residual_before_ln;
};

extern const struct adapter_format adapterhub_format;
#endif
