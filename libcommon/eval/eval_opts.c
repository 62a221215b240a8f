/* eval_opts.c: the rows. */
#include "libcommon/eval/eval_opts.h"

static const char metrics_help[] =
#define METRIC(name) ", " #name
#include "libcommon/eval/metrics.def"
#undef METRIC
    "; or none";

#define ROW(opt_name, opt_type, field, ...)                                                                    \
    {                                                                                                          \
        .name = opt_name, .type = opt_type, .off = offsetof(struct eval_opts, field), .section = "evaluation", \
        __VA_ARGS__                                                                                            \
    }

const struct opt eval_opt_rows[] = {
    {.name = "model",
     .ch = 'm',
     .type = OPT_STR,
     .off = offsetof(struct eval_opts, model),
     .section = "model",
     .key = "model.name_or_path",
     .arg = "MODEL",
     .help = "model: Hugging Face directory or GGUF file"},
    {.name = "adapter",
     .ch = 'a',
     .type = OPT_STR,
     .off = offsetof(struct eval_opts, adapter),
     .arg = "DIR",
     .help = "adapter directory in PEFT's format; none: the model alone"},
    ROW("metrics", OPT_LIST, metrics, .def = "em,f1,bleu,ppl", .arg = "LIST", .help = metrics_help + 2),
    ROW("max-new-tokens", OPT_INT, max_new, .def = "64", .lo = 1, .hi = 1 << 16, .arg = "N",
        .help = "tokens generated at most"),
    ROW("temperature", OPT_FLOAT, temperature, .def = "0", .lo = 0, .hi = 100, .arg = "X", .help = "0: greedy"),
    ROW("top-p", OPT_FLOAT, top_p, .def = "1", .lo = 1e-6, .hi = 1, .arg = "X",
        .help = "sample from the smallest set of this probability"),
    ROW("top-k", OPT_INT, top_k, .def = "0", .lo = 0, .hi = 1 << 22, .arg = "N",
        .help = "sample from the N likeliest; 0: all"),
    ROW("batch-size", OPT_INT, batch_size, .key = "training.per_device_eval_batch_size", .def = "16", .lo = 1,
        .hi = 4096, .arg = "N", .help = "rows generated at a time; does not change the texts"),
    ROW("stop", OPT_LIST, stop, .arg = "LIST", .help = "strings that end a text, besides EOS"),
    ROW("limit", OPT_INT, limit, .def = "0", .lo = 0, .hi = 1e12, .arg = "N", .help = "only the first N rows; 0: all"),
    {.name = "min",
     .type = OPT_LIST,
     .off = offsetof(struct eval_opts, min),
     .arg = "FIGURE=X,...",
     .help = "exit 1 if a figure is below (ppl: above) X"},
    {.name = "prompt",
     .ch = 'p',
     .type = OPT_STR,
     .off = offsetof(struct eval_opts, prompt),
     .arg = "TEXT",
     .help = "continue TEXT instead of reading rows"},
    {.name = "logits",
     .type = OPT_STR,
     .off = offsetof(struct eval_opts, logits),
     .arg = "FILE",
     .help = "write the logits that predict each row's first target token (safetensors)"},
    ROW("micro-tokens", OPT_INT, micro_tokens, .key = "training.micro_tokens", .def = "1024", .lo = 1, .hi = 1 << 24,
        .arg = "N", .help = "tokens computed at a time: memory against speed, not the result"),
    ROW("precision", OPT_ENUM, precision, .key = "training.precision", .def = "auto", .choices = PRECISION_CHOICES,
        .arg = "TYPE", .help = "inputs of matrix products"),
    ROW("device", OPT_STR, device, .key = "training.device", .def = "auto", .arg = "auto|cpu|cuda[:N]",
        .help = "where to compute"),
    {.name = "force-base",
     .type = OPT_FLAG,
     .off = offsetof(struct eval_opts, force_base),
     .help = "take an adapter that was made for another base"},
    OPT_END};
