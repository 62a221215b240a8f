/* ptuning: P-tuning (Liu et al. 2021): virtual tokens in front of every row as in prompt tuning, whose embeddings an
 * encoder makes of embeddings of its own: an MLP, or an LSTM that reads them in both directions and an MLP behind it.
 * All that is trained, and checkpoints have it; others read the tokens' embeddings alone. Names and configuration keys
 * are those of Hugging Face PEFT. */
#include <stdlib.h>
#include <string.h>
#include "libcommon/peft/encoder.h"

enum { TOKENS_MAX = 4096, WIDTH_MAX = 1 << 20, LSTM_LAYERS = 16 };
enum kind { KIND_MLP, KIND_LSTM };
#define KINDS "MLP|LSTM"

struct ptuning_opts {
    int64_t n, hidden, layers; /* hidden 0: the model's width */
    int kind;
    bool flat; /* there are the tokens' embeddings alone */
};

static const struct opt rows[] = {OPT(struct ptuning_opts, n, "ptuning-tokens", OPT_INT, "peft.ptuning",
                                      .key = "peft.ptuning.num_virtual_tokens", .arg = "N", .def = "20", .lo = 1,
                                      .hi = TOKENS_MAX, .help = "virtual tokens in front of every row"),
                                  OPT(struct ptuning_opts, kind, "ptuning-encoder", OPT_ENUM, "peft.ptuning",
                                      .key = "peft.ptuning.encoder_reparameterization_type", .arg = "KIND",
                                      .def = "MLP", .choices = KINDS, .help = "what makes their embeddings"),
                                  OPT(struct ptuning_opts, hidden, "ptuning-hidden", OPT_INT, "peft.ptuning",
                                      .key = "peft.ptuning.encoder_hidden_size", .arg = "N", .def = "0", .lo = 0,
                                      .hi = WIDTH_MAX, .help = "width of its hidden layers; 0: the model's"),
                                  OPT(struct ptuning_opts, layers, "ptuning-layers", OPT_INT, "peft.ptuning",
                                      .key = "peft.ptuning.encoder_num_layers", .arg = "N", .def = "2", .lo = 1,
                                      .hi = LSTM_LAYERS, .help = "layers of the LSTM"),
                                  OPT_END};

#define F(field) offsetof(struct ptuning_opts, field)
static const struct json_key keys[] = {
    {"num_virtual_tokens", KEY_INT, F(n), .lo = 1, .hi = TOKENS_MAX},
    {"encoder_reparameterization_type", KEY_ENUM, F(kind), .text = "\"MLP\"", .choices = KINDS},
    {"encoder_hidden_size", KEY_INT, F(hidden), .text = "0", .hi = WIDTH_MAX},
    {"encoder_num_layers", KEY_INT, F(layers), .text = "2", .lo = 1, .hi = LSTM_LAYERS},
    {"inference_mode", KEY_BOOL, F(flat), .text = "true"},
    {.name = "encoder_dropout", .kind = KEY_INFO, .text = "0.0"}, /* of training elsewhere */
    {.name = "num_attention_heads", .kind = KEY_INFO},            /* facts of the base, and derived from it here */
    {.name = "num_layers", .kind = KEY_INFO},
    {.name = "token_dim", .kind = KEY_INFO},
    {.name = "num_transformer_submodules", .kind = KEY_NEUTRAL, .text = "1"},
    {.name = "modules_to_save", .kind = KEY_NEUTRAL, .text = "null"},
    ADAPTER_KEYS_INFO,
    {.name = NULL}};

static int check(struct adapter *a, const struct model *m, struct err *e)
{
    struct ptuning_opts *o = a->config;
    (void)e;
    if (!o->hidden) o->hidden = m->cfg.C;
    return 0;
}

static int declare(struct adapter *a, const struct model *m, struct err *e)
{
    (void)e;
    const struct ptuning_opts *o = a->config;
    const int C = m->cfg.C, H = (int)o->hidden;
    param_add(a, NULL, 0, (int)o->n, C, INIT_NORMAL, 1,
              o->flat ? "prompt_embeddings" : "prompt_encoder.embedding.weight");
    if (o->flat) return 0;
    if (o->kind == KIND_LSTM) {
        encoder_lstm_declare(a, (int)o->layers, H, C, "prompt_encoder.lstm_head");
        encoder_linear(a, 2 * H, 2 * H, false, "prompt_encoder.mlp_head.0");
        encoder_linear(a, C, 2 * H, false, "prompt_encoder.mlp_head.2");
        return 0;
    }
    encoder_linear(a, H, C, false, "prompt_encoder.mlp_head.0");
    encoder_linear(a, H, H, false, "prompt_encoder.mlp_head.2");
    encoder_linear(a, C, H, false, "prompt_encoder.mlp_head.4");
    return 0;
}

static int bind(const struct adapter *a, struct hooks *h, struct err *e)
{
    const struct ptuning_opts *o = a->config;
    const struct param *p = &a->param[1];
    struct rows w = rows_of(a, &a->param[0]);
    int rc = 0;
    if (!o->flat && o->kind == KIND_LSTM) {
        rc = encoder_lstm(a, p, (int)o->layers, w, h, &w, e);
        p += ENCODER_LSTM_PARAMS * o->layers;
        if (!rc) rc = encoder_mlp(a, p, 2, ACT_RELU, w, h, &w, e);
    } else if (!o->flat) {
        rc = encoder_mlp(a, p, 3, ACT_RELU, w, h, &w, e);
    }
    return rc ? rc : prompt_bind(w, h, e);
}

static bool has_other_form(const void *config) { return !((const struct ptuning_opts *)config)->flat; }

static const float *exported(void *config, struct hooks *h)
{
    struct ptuning_opts *o = config;
    o->flat = true;
    return prompt_rows(h);
}

const struct peft_method peft_ptuning = {
    .name = "ptuning",
    .peft_type = "P_TUNING",
    .opts = rows,
    .opts_size = sizeof(struct ptuning_opts),
    .keys = keys,
    .check = check,
    .declare = declare,
    .bind = bind,
    .has_other_form = has_other_form,
    .exported = exported,
};
