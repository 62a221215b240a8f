/* eval_opts.c: the rows. */
#include "libcommon/eval/eval_opts.h"

static const char metrics_help[] =
#define METRIC(name) ", " #name
#include "libcommon/eval/metrics.def"
#undef METRIC
    "; or none";

const struct opt eval_opt_rows[] = {
    OPT(struct eval_opts, model, "model", OPT_STR, "model", .file = true, .ch = 'm', .key = "model.name_or_path",
        .arg = "MODEL", .help = "model: Hugging Face directory or GGUF file"),
    OPT(struct eval_opts, adapter, "adapter", OPT_STR, NULL, .file = true, .ch = 'a', .arg = "ADAPTER",
        .help = "adapter directory in PEFT's format, or several as stack(A,B), average(A:0.3,B:0.7), "
                "route(NAME=A,*=B); none: the model alone"),
    OPT(struct eval_opts, metrics, "metrics", OPT_LIST, "evaluation", .def = "em,f1,bleu,ppl", .arg = "LIST",
        .help = metrics_help + 2),
    OPT(struct eval_opts, max_new, "max-new-tokens", OPT_INT, "evaluation", .def = "64", .lo = 1, .hi = 1 << 16,
        .arg = "N", .help = "tokens generated at most"),
    OPT(struct eval_opts, temperature, "temperature", OPT_FLOAT, "evaluation", .def = "0", .lo = 0, .hi = 100,
        .arg = "X", .help = "0: greedy"),
    OPT(struct eval_opts, top_p, "top-p", OPT_FLOAT, "evaluation", .def = "1", .lo = 1e-6, .hi = 1, .arg = "X",
        .help = "sample from the smallest set of this probability"),
    OPT(struct eval_opts, top_k, "top-k", OPT_INT, "evaluation", .def = "0", .lo = 0, .hi = 1 << 22, .arg = "N",
        .help = "sample from the N likeliest; 0: all"),
    OPT(struct eval_opts, batch_size, "batch-size", OPT_INT, "evaluation", .key = "training.per_device_eval_batch_size",
        .def = "16", .lo = 1, .hi = 4096, .arg = "N", .help = "rows generated at a time; does not change the texts"),
    OPT(struct eval_opts, stop, "stop", OPT_LIST, "evaluation", .arg = "LIST",
        .help = "strings that end a text, besides EOS"),
    OPT(struct eval_opts, stop_token, "stop-token", OPT_LIST, "evaluation", .arg = "LIST",
        .help = "tokens that end a text, besides those of the model: their text or number"),
    OPT(struct eval_opts, limit, "limit", OPT_INT, "evaluation", .def = "0", .lo = 0, .hi = 1e12, .arg = "N",
        .help = "only the first N rows; 0: all"),
    OPT(struct eval_opts, min, "min", OPT_LIST, NULL, .arg = "FIGURE=X,...",
        .help = "exit 1 if a figure is below (ppl: above) X"),
    OPT(struct eval_opts, prompt, "prompt", OPT_STR, NULL, .ch = 'p', .arg = "TEXT",
        .help = "continue TEXT instead of reading rows"),
    OPT(struct eval_opts, logits, "logits", OPT_STR, NULL, .file = true, .arg = "FILE",
        .help = "write the logits that predict each row's first target token (safetensors)"),
    OPT(struct eval_opts, micro_tokens, "micro-tokens", OPT_INT, "evaluation", .key = "training.micro_tokens",
        .def = "1024", .lo = 1, .hi = 1 << 24, .arg = "N",
        .help = "tokens computed at a time: memory against speed, not the result"),
    OPT(struct eval_opts, precision, "precision", OPT_ENUM, "evaluation", .key = "training.precision", .def = "auto",
        .choices = PRECISION_CHOICES, .arg = "TYPE", .help = "inputs of matrix products"),
    OPT(struct eval_opts, device, "device", OPT_STR, "evaluation", .key = "training.device", .def = "auto",
        .arg = "auto|cpu|cuda[:N]", .help = "where to compute"),
    OPT(struct eval_opts, force_base, "force-base", OPT_FLAG, NULL,
        .help = "take an adapter that was made for another base"),
    OPT_END};
