/* fuzz_yaml: any bytes as a config file. A refusal is E_CONFIG with a message; a config that is accepted prints as one
 * that is accepted again and prints the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/opt_set.h"

struct options {
    struct opt_common common;
    char *prompt;
    bool fp16;
    int64_t r;
    double lr;
    int scheduler;
    struct strlist modules;
};
#define ROW(n, t, f, s, k, ...)                                                                       \
    {                                                                                                 \
        .name = n, .type = t, .off = offsetof(struct options, f), .section = s, .key = k, __VA_ARGS__ \
    }
static const struct opt rows[] = {
    ROW("prompt", OPT_STR, prompt, "dataset", NULL, .help = "template"),
    ROW("fp16", OPT_FLAG, fp16, "training", NULL, .help = "flag"),
    ROW("lora-r", OPT_INT, r, "peft.lora", "peft.lora.r", .lo = 1, .hi = 1024),
    ROW("lr", OPT_FLOAT, lr, "training", "training.learning_rate", .def = "2e-4"),
    ROW("scheduler", OPT_ENUM, scheduler, "training", NULL, .choices = "linear|cosine|constant"),
    ROW("target-modules", OPT_LIST, modules, "peft.lora", NULL, .def = "q_proj,v_proj"),
    OPT_END,
};
static const struct opt_group groups[] = {{opt_common_rows, 0, 0}, {rows, 0, 0}, {0}};

/* The resolved options as YAML, NULL if the text is refused. */
static char *resolve(const char *text, size_t n)
{
    struct options o = {0};
    struct err e = {0};
    struct opt_set *s = opt_set_new("peft-train", groups, &o);
    char *yaml = NULL;
    size_t size;
    if (opt_config_text(s, "c.yaml", text, n, &e)) {
        if (e.id != E_CONFIG || !e.msg[0]) abort();
    } else {
        FILE *f = open_memstream(&yaml, &size);
        if (!f || opt_print_yaml(s, f, false) || fclose(f)) abort();
    }
    opt_set_free(s);
    return yaml;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char *first = resolve((const char *)data, size);
    if (!first) return 0;
    char *second = resolve(first, strlen(first));
    if (!second || strcmp(first, second) != 0) abort();
    free(first);
    free(second);
    return 0;
}
