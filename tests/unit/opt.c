/* opt: the sources of a value and their order, every kind of mistake on the command line, help, and the way out and
 * back. */
#include "libcommon/base/opt.h"

#include <unistd.h>

#include "tests/test.h"

struct inner {
    int64_t r;
};
struct options {
    struct opt_common common;
    char *model, *prompt;
    bool fp16, pack;
    int64_t steps, show, patience;
    double lr;
    int scheduler;
    struct strlist modules;
    struct inner lora;
};
#define F(f) offsetof(struct options, f)
static const struct opt rows[] = {
    {.name = "model",
     .ch = 'm',
     .type = OPT_STR,
     .off = F(model),
     .section = "model",
     .key = "model.name_or_path",
     .arg = "MODEL"},
    {.name = "prompt", .type = OPT_STR, .off = F(prompt), .section = "dataset", .def = "Q: {question}\nA:"},
    {.name = "fp16", .type = OPT_FLAG, .off = F(fp16), .section = "training", .help = "half precision"},
    {.name = "pack", .type = OPT_BOOL, .off = F(pack), .section = "training", .def = "yes"},
    {.name = "max-steps", .type = OPT_INT, .off = F(steps), .section = "training", .def = "0", .lo = 0, .hi = 1e15},
    {.name = "lr",
     .type = OPT_FLOAT,
     .off = F(lr),
     .section = "training",
     .key = "training.learning_rate",
     .def = "2e-4",
     .lo = 0,
     .hi = 10,
     .arg = "X"},
    {.name = "scheduler",
     .type = OPT_ENUM,
     .off = F(scheduler),
     .section = "training",
     .choices = "linear|cosine|no",
     .def = "linear"},
    {.name = "target-modules", .type = OPT_LIST, .off = F(modules), .section = "peft.lora", .def = "q_proj,v_proj"},
    {.name = "patience", .type = OPT_INT, .off = F(patience), .section = "training", .lo = 1, .hi = 100},
    {.name = "show", .type = OPT_INT, .off = F(show), .bare = "5", .arg = "N"},
    OPT_END,
};
static const struct opt inner_rows[] = {
    {.name = "lora-r",
     .ch = 'r',
     .type = OPT_INT,
     .off = offsetof(struct inner, r),
     .section = "peft.lora",
     .key = "peft.lora.r",
     .arg = "R",
     .def = "8",
     .lo = 1,
     .hi = 1024,
     .help = "rank"},
    OPT_END,
};
static const struct opt_group groups[] = {{opt_common_rows, 0, 0}, {rows, 0, 0}, {inner_rows, F(lora), 0}, {0}};

static struct options o;
static struct strlist operands;
static struct err e;
static struct opt_set *set;
static char *args[32];

/* Parse the words of a line, separated by spaces; the last parse's strings live until the next. */
static struct opt_set *parse(const char *line)
{
    static char text[512];
    int n = 0;
    snprintf(text, sizeof text, "tool %s", line);
    for (char *w = strtok(text, " "); w && n < 31; w = strtok(NULL, " ")) args[n++] = w;
    args[n] = NULL;
    opt_set_free(set);
    o = (struct options){0};
    e = (struct err){0};
    return set = opt_parse("peft-train", groups, &o, n, args, &operands, &e);
}

static void defaults(void)
{
    CHECK(parse("") && !e.id);
    CHECK(!o.model && o.pack && !o.fp16 && o.lr == 2e-4 && o.scheduler == 0 && o.lora.r == 8 && o.show == 0);
    CHECK(o.common.seed == 42 && o.common.threads == 0 && !o.common.output && o.common.errors == ERRORS_TEXT);
    CHECK(o.modules.n == 2 && !strcmp(o.modules.v[1], "v_proj"));
    CHECK_STR(o.prompt, "Q: {question}\nA:");
    CHECK(opt_given(set, "lr") == OPT_FROM_DEFAULT && operands.n == 0);
    CHECK(!opt_text(set, "model") && !opt_text(set, "patience") && o.patience == 0);
    CHECK_STR(opt_text(set, "target-modules"), "q_proj,v_proj");
    CHECK_STR(opt_text(set, "lr"), "0.0002");
    CHECK_STR(opt_text(set, "pack"), "yes");
}

static void spellings(void)
{
    CHECK(parse("-m base -r16 --lr=3e-4 in1 --pack no -fq --target-modules a,b,c - --scheduler no -- -x"));
    CHECK(o.lora.r == 16 && o.lr == 3e-4 && !o.pack && o.common.force && o.common.quiet && o.modules.n == 3);
    CHECK_STR(o.model, "base");
    CHECK_STR(opt_text(set, "scheduler"), "no");
    CHECK(opt_given(set, "lora-r") == OPT_FROM_ARGV);
    CHECK(operands.n == 3 && !strcmp(operands.v[0], "in1") && !strcmp(operands.v[1], "-") &&
          !strcmp(operands.v[2], "-x"));
    CHECK(parse("--fp16 --lr 1 --lr 2") && o.fp16 && o.lr == 2);
    CHECK(parse("--fp16 --fp16=no") && !o.fp16);
    CHECK(parse("--lr -0") && o.lr == 0);
    CHECK(parse("--target-modules=") && o.modules.n == 0);
    CHECK(parse("--show") && o.show == 5);
    CHECK(parse("--show 7 file") && o.show == 7 && operands.n == 1);
    CHECK(parse("file --show other") && o.show == 5 && operands.n == 2);
    CHECK(parse("--show=3") && o.show == 3);
}

static void mistakes(void)
{
    static const struct {
        const char *line, *message, *hint;
    } c[] = {
        {"--lora-rr 3", "unknown option '--lora-rr'", "did you mean --lora-r?"},
        {"--lora_r 3", "unknown option '--lora_r'", "did you mean --lora-r?"},
        {"--lora_rank 3", "unknown option '--lora_rank'", "here it is --lora-r"},
        {"--num_train_epochs 3", "unknown option '--num_train_epochs'", "here it is --epochs of peft-train"},
        {"--cutoff-len=3", "unknown option '--cutoff-len'", "here it is --max-len of peft-tok"},
        {"--output_dir x", "unknown option '--output_dir'", "peft-train -o RUN"},
        {"--set lora_rank=3", "--set: unknown key 'lora_rank'", "here it is peft.lora.r"},
        {"--targ x", "unknown option '--targ'", "did you mean --target-modules?"},
        {"--zzz=3", "unknown option '--zzz'", "peft-train --help lists the options"},
        {"-x", "unknown option '-x'", "peft-train --help"},
        {"-fx", "unknown option '-x'", "peft-train --help"},
        {"--lr", "'--lr': expected an argument", ""},
        {"-m", "'-m': expected an argument", ""},
        {"--lora-r 0", "--lora-r: found '0', expected an integer from 1 to 1024", ""},
        {"--lora-r 1025", "--lora-r: found '1025', expected an integer from 1 to 1024", ""},
        {"--lora-r 8x", "--lora-r: found '8x', expected an integer", ""},
        {"--max-steps -1", "--max-steps: found '-1', expected an integer of at least 0", ""},
        {"--lr nan", "--lr: found 'nan', expected a number from 0 to 10", ""},
        {"--scheduler cosin", "--scheduler: found 'cosin', expected one of linear, cosine, no", ""},
        {"--pack maybe", "--pack: found 'maybe', expected yes or no", ""},
        {"--target-modules a,,b", "--target-modules: found 'a,,b', expected a list", ""},
        {"--set lr", "--set: found 'lr', expected KEY=VALUE", ""},
        {"--set training.leraning_rate=1", "--set: unknown key 'training.leraning_rate'",
         "did you mean training.learning_rate?"},
        {"--set training.lr=x", "--set training.lr: found 'x', expected a number", ""},
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        CHECK_MSG(!parse(c[i].line) && e.id == E_USAGE, "%s", c[i].line);
        CHECK_MSG(strstr(e.msg, c[i].message), "%s: %s", c[i].line, e.msg);
        CHECK_MSG(strstr(e.hint, c[i].hint), "%s: %s", c[i].line, e.hint);
    }
    CHECK(!parse("-c /nonexistent/config.yaml") && e.id == E_NOINPUT);
}

static char config[64];
static const char *config_file(const char *text)
{
    snprintf(config, sizeof config, "/tmp/peft-opt-%ld.yaml", (long)getpid());
    FILE *f = fopen(config, "w");
    CHECK(f && fputs(text, f) >= 0 && !fclose(f));
    return config;
}

static void precedence(void)
{
    char line[256];
    snprintf(line, sizeof line, "-c %s --set peft.lora.r=3", config_file("peft: {lora: {r: 2}}\n"));
    CHECK(parse("") && o.lora.r == 8);
    line[strcspn(line, "-") + 3 + strlen(config)] = '\0';
    CHECK(parse(line) && o.lora.r == 2 && opt_given(set, "lora-r") == OPT_FROM_CONFIG);
    snprintf(line, sizeof line, "--set peft.lora.r=3 -c %s", config);
    CHECK(parse(line) && o.lora.r == 3 && opt_given(set, "lora-r") == OPT_FROM_SET);
    setenv("PEFT_LORA_R", "4", 1);
    CHECK(parse(line) && o.lora.r == 4 && opt_given(set, "lora-r") == OPT_FROM_ENV);
    snprintf(line, sizeof line, "-r 5 --set peft.lora.r=3 -c %s", config);
    CHECK(parse(line) && o.lora.r == 5 && opt_given(set, "lora-r") == OPT_FROM_ARGV);
    setenv("PEFT_LORA_R", "x", 1);
    CHECK(!parse("") && e.id == E_USAGE && strstr(e.msg, "environment PEFT_LORA_R: found 'x'"));
    setenv("PEFT_LORA_R", "", 1);
    CHECK(parse("") && o.lora.r == 8);
    unsetenv("PEFT_LORA_R");
    setenv("PEFT_OUTPUT", "x", 1); /* no config section: not from the environment */
    CHECK(parse("") && !o.common.output);
    unsetenv("PEFT_OUTPUT");
    CHECK(parse("--set training.lora_r=1") == NULL);
    CHECK(parse("--set distributed.world_size=2")); /* a key of the whole run */
    remove(config);
}

static char *printed(void)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    CHECK(!opt_print_yaml(set, f, false));
    fclose(f);
    return text;
}

static void round_trip(void)
{
    char line[128];
    CHECK(parse("-m dir/m --prompt a\"b\\c\x01#{x}:\xc3\xa9 --fp16 --lr 1.1e-7 --scheduler no "
                "--target-modules a,#b,yes --seed 7"));
    char *first = printed();
    unsigned char d1[32], d2[32], d3[32];
    opt_digest(set, d1);
    snprintf(line, sizeof line, "-c %s --threads 3", config_file(first));
    CHECK_MSG(parse(line), "%s\n%s", e.msg, first);
    CHECK(o.fp16 && o.lr == 1.1e-7 && o.common.seed == 7 && o.modules.n == 3 && !strcmp(o.modules.v[1], "#b"));
    CHECK_STR(o.prompt, "a\"b\\c\x01#{x}:\xc3\xa9");
    opt_digest(set, d2);
    CHECK(!memcmp(d1, d2, 32)); /* threads do not change a result, nor the digest */
    snprintf(line, sizeof line, "-c %s", config);
    CHECK(parse(line));
    char *second = printed();
    CHECK_STR(second, first);
    CHECK(strstr(first, "\n    r: 8  # --lora-r: rank\n"));
    snprintf(line, sizeof line, "-c %s -r 9", config);
    CHECK(parse(line));
    opt_digest(set, d3);
    CHECK(memcmp(d1, d3, 32));
    free(first);
    free(second);
    remove(config);
    CHECK(parse("-m \xff"));
    FILE *null = fopen("/dev/null", "w");
    CHECK(opt_print_yaml(set, null, false) == -E_ENCODING);
    fclose(null);
}

static void help(void)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    opt_help(f, groups);
    fclose(f);
    for (const struct opt_group *g = groups; g->rows; g++)
        for (const struct opt *r = g->rows; r->name; r++) {
            char name[64];
            snprintf(name, sizeof name, "--%s", r->name);
            char *at = strstr(text, name);
            CHECK_MSG(at, "%s", name);
        }
    CHECK(strstr(text, "  -r, --lora-r R              rank (1 to 1024; default 8)\n"));
    CHECK(strstr(text, "--show[=N]"));
    CHECK(strstr(text, "-c, --config FILE"));
    CHECK(strstr(text, "under peft.lora:\n"));
    free(text);
}

static void wants(void)
{
    bool json;
    char *a[] = {"t", "--bogus", "--errors=json", "x", "-h", NULL}, *b[] = {"t", "-m", "-h", NULL},
         *c[] = {"t", "-fV", NULL}, *d[] = {"t", "--", "-h", NULL};
    CHECK(opt_wants(groups, 5, a, &json) == 'h' && json);
    CHECK_STR(a[3], "x"); /* argv is not permuted */
    CHECK(opt_wants(groups, 3, b, &json) == 0 && !json);
    CHECK(opt_wants(groups, 2, c, &json) == 'V');
    CHECK(opt_wants(groups, 3, d, &json) == 0);
}

int main(void)
{
    RUN(defaults, "opt/defaults");
    RUN(spellings, "opt/spellings");
    RUN(mistakes, "opt/mistakes");
    RUN(precedence, "opt/precedence");
    RUN(round_trip, "opt/round-trip");
    RUN(help, "opt/help");
    RUN(wants, "opt/wants");
    opt_set_free(set);
    return test_failed;
}
