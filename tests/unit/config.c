/* config: what a config file may hold, from the article's own to the hostile. */
#include "libcommon/base/opt_set.h"
#include "tests/test.h"

struct options {
    struct opt_common common;
    char *model, *metric, *prompt, *target;
    bool fp16, checkpointing;
    int64_t r, batch, patience, accumulate;
    double lr, epochs, alpha, dropout, test_size, warmup;
    int method, bias;
    struct strlist modules, ranks;
};
#define F(f) offsetof(struct options, f)
#define T(n, k, t, f, ...)                                                              \
    {                                                                                   \
        .name = n, .key = k, .type = t, .off = F(f), .section = "training", __VA_ARGS__ \
    }
static const struct opt rows[] = {
    {.name = "model", .type = OPT_STR, .off = F(model), .section = "model", .key = "model.name_or_path"},
    {.name = "method", .type = OPT_ENUM, .off = F(method), .section = "peft", .choices = "none|lora"},
    {.name = "lora-r", .type = OPT_INT, .off = F(r), .section = "peft.lora", .key = "peft.lora.r", .lo = 1, .hi = 64},
    {.name = "lora-alpha", .type = OPT_FLOAT, .off = F(alpha), .section = "peft.lora", .key = "peft.lora.alpha"},
    {.name = "lora-bias",
     .type = OPT_ENUM,
     .off = F(bias),
     .section = "peft.lora",
     .key = "peft.lora.bias",
     .choices = "all|none"},
    {.name = "target-modules", .type = OPT_LIST, .off = F(modules), .section = "peft.lora"},
    {.name = "rank-pattern", .type = OPT_MAP, .off = F(ranks), .section = "peft.lora"},
    {.name = "lora-dropout", .type = OPT_FLOAT, .off = F(dropout), .section = "peft.lora", .key = "peft.lora.dropout"},
    T("batch-size", "training.per_device_train_batch_size", OPT_INT, batch),
    T("accumulate", "training.gradient_accumulation_steps", OPT_INT, accumulate),
    T("lr", "training.learning_rate", OPT_FLOAT, lr, .lo = 0, .hi = 1),
    T("epochs", "training.num_train_epochs", OPT_FLOAT, epochs),
    T("fp16", NULL, OPT_FLAG, fp16),
    T("gradient-checkpointing", NULL, OPT_BOOL, checkpointing),
    T("warmup-ratio", NULL, OPT_FLOAT, warmup),
    {.name = "patience",
     .type = OPT_INT,
     .off = F(patience),
     .section = "training",
     .key = "callbacks.early_stopping.patience"},
    {.name = "metric",
     .type = OPT_STR,
     .off = F(metric),
     .section = "training",
     .key = "callbacks.early_stopping.metric"},
    {.name = "prompt", .type = OPT_STR, .off = F(prompt), .section = "dataset"},
    {.name = "target", .type = OPT_STR, .off = F(target), .section = "dataset"},
    {.name = "test-size", .type = OPT_FLOAT, .off = F(test_size), .section = "dataset"},
    OPT_END,
};
static const struct opt_group train[] = {{opt_common_rows, 0, 0}, {rows, 0, 0}, {0}},
                              other[] = {{opt_common_rows, 0, 0}, {0}};

static struct options o;
static struct err e;
static struct opt_set *set;

static int read_as(const char *tool, const struct opt_group *g, const char *text, size_t n)
{
    opt_set_free(set);
    o = (struct options){0};
    e = (struct err){0};
    set = opt_set_new(tool, g, &o);
    return opt_config_text(set, "c.yaml", text, n, &e);
}
static int read_config(const char *text) { return read_as("peft-train", train, text, strlen(text)); }

/* The article's configuration, its parts put together. */
static const char article[] = "model:\n"
                              "  name_or_path: \"meta-llama/Llama-2-7b-hf\"\n"
                              "  torch_dtype: \"float16\"\n"
                              "  device_map: \"auto\"  # a comment\n"
                              "peft:\n"
                              "  method: \"lora\"\n"
                              "  lora:\n"
                              "    r: 8                     # rank\n"
                              "    alpha: 16\n"
                              "    dropout: 0.05\n"
                              "    target_modules: [\"q_proj\", \"v_proj\"]\n"
                              "    bias: \"none\"\n"
                              "training:\n"
                              "  per_device_train_batch_size: 4\n"
                              "  per_device_eval_batch_size: 4\n"
                              "  gradient_accumulation_steps: 8\n"
                              "  learning_rate: 2e-4\n"
                              "  num_train_epochs: 3\n"
                              "  fp16: true               # mixed precision\n"
                              "  bf16: false\n"
                              "  logging_steps: 20\n"
                              "  eval_steps: 200\n"
                              "  save_steps: 500\n"
                              "  warmup_ratio: 0.1\n"
                              "  weight_decay: 0.01\n"
                              "  dataloader_num_workers: 4\n"
                              "  gradient_checkpointing: true\n"
                              "logging:\n"
                              "  mlflow:\n"
                              "    experiment_name: \"qa_lora_llama7b\"\n"
                              "    tracking_uri: \"http://localhost:5000\"\n"
                              "  wandb:\n"
                              "    project: \"peft-demo\"\n"
                              "    entity: \"your-wandb-username\"\n"
                              "callbacks:\n"
                              "  - early_stopping:\n"
                              "      patience: 2\n"
                              "      metric: \"eval_exact_match\"\n"
                              "distributed:\n"
                              "  backend: \"nccl\"\n"
                              "  world_size: 2\n"
                              "  master_port: 29500\n"
                              "  use_deepspeed: true\n"
                              "seed: 42\n"
                              "dataset: {path: qa_pairs.csv, prompt: \"Q: {question}\\nA:\", "
                              "target: \" {answer}\", test_size: 0.1}\n";

static void whole_article(void)
{
    CHECK_MSG(!read_config(article), "%s", e.msg);
    CHECK_STR(o.model, "meta-llama/Llama-2-7b-hf");
    CHECK(o.method == 1 && o.r == 8 && o.alpha == 16 && o.bias == 1 && o.batch == 4 && o.accumulate == 8);
    CHECK(o.lr == 2e-4 && o.epochs == 3 && o.fp16 && o.checkpointing && o.warmup == 0.1 && o.patience == 2);
    CHECK(o.modules.n == 2 && !strcmp(o.modules.v[0], "q_proj") && !strcmp(o.modules.v[1], "v_proj"));
    CHECK_STR(o.metric, "eval_exact_match");
    CHECK_STR(o.prompt, "Q: {question}\nA:");
    CHECK_STR(o.target, " {answer}");
    CHECK(o.test_size == 0.1 && o.common.seed == 42);
    /* What has no effect is said, once, by the tool that owns it. */
    const char *notes = buf_str(&set->notes);
    static const char *const said[] = {"distributed.world_size: '2'\1this build runs one process\n",
                                       "model.device_map: 'auto'", "logging.wandb.entity: 'your-wandb-username'",
                                       "training.dataloader_num_workers: '4'"};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) CHECK_MSG(strstr(notes, said[i]), "%s\n%s", said[i], notes);
    CHECK(!strstr(notes, "training.fp16") && !strstr(notes, "dataset.path"));
    CHECK(!read_as("peft-log", other, article, strlen(article)) && set->notes.n == 0);
}

/* Maps of numbers: as a map, as a list, and as what is printed. */
static void maps(void)
{
    static const char *const same[] = {"peft:\n  lora:\n    rank_pattern:\n      q_proj: 4\n      'a{1,2}=\\.b': 16\n",
                                       "peft: {lora: {rank_pattern: ['q_proj=4', 'a{1,2}=\\.b=16']}}\n",
                                       "peft: {lora: {rank_pattern: 'q_proj=4,a{1,2}=\\.b=16'}}\n"};
    for (int i = 0; i < 3; i++) {
        CHECK_MSG(!read_config(same[i]), "%d: %s", i, e.msg);
        CHECK_MSG(o.ranks.n == 2, "%d: %d", i, o.ranks.n);
        CHECK_STR(o.ranks.v[0], "q_proj=4");
        CHECK_STR(o.ranks.v[1], "a{1,2}=\\.b=16");
    }
    char *text;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    CHECK(!opt_print_yaml(set, f, false));
    fclose(f);
    CHECK_MSG(strstr(text, "rank_pattern: {\"q_proj\": 4, \"a{1,2}=\\\\.b\": 16}"), "%s", text);
    CHECK_MSG(!read_config(text) && o.ranks.n == 2 && !strcmp(o.ranks.v[1], "a{1,2}=\\.b=16"), "%s", e.msg);
    free(text);
    static const char *const bad[] = {"peft: {lora: {rank_pattern: {q: four}}}\n",
                                      "peft: {lora: {rank_pattern: {q: }}}\n",
                                      "peft: {lora: {rank_pattern: [q]}}\n",
                                      "peft: {lora: {rank_pattern: 'q=4,r'}}\n",
                                      "peft: {lora: {rank_pattern: {q: {r: 4}, s: 5}}}\n",
                                      "peft: {lora: {rank_pattern: {[q]: 4}}}\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_MSG(read_config(bad[i]) == -E_CONFIG && strstr(e.msg, "peft.lora.rank_pattern"), "%s: %s", bad[i], e.msg);
}

static void shapes(void)
{
    CHECK(!read_config(""));
    CHECK(!read_config("# only a comment\n"));
    CHECK(!read_config("---\n"));
    CHECK(!read_config("null\n"));
    CHECK(!read_config("\xef\xbb\xbfseed: 3\n") && o.common.seed == 3);
    CHECK(!read_config("seed: 3\r\ntraining:\r\n  lr: 0.5\r\n") && o.lr == 0.5);
    CHECK(!read_config("training:\npeft: ~\nmodel: null\n"));
    CHECK(!read_config("training: {lr: null, fp16: ~, epochs: }\nmodel: {name_or_path: Null}\n") && !o.model);
    CHECK(!read_config("model: {name_or_path: \"null\"}\n") && !strcmp(o.model, "null"));
    CHECK(!read_config("model: {model: ''}\n") && o.model && !*o.model);
    CHECK(!read_config("training.lr: 0.25\n") && o.lr == 0.25);
    CHECK(!read_config("callbacks: {early_stopping: {patience: 4}}\n") && o.patience == 4);
    CHECK(!read_config("callbacks:\n- early_stopping: {patience: 4}\n- early_stopping: {metric: loss}\n") &&
          o.patience == 4);
    CHECK(!read_config("peft: {lora: {target_modules: all-linear}}\n") && o.modules.n == 1);
    CHECK(!read_config("peft: {lora: {target_modules: \"a,b\"}}\n") && o.modules.n == 2);
    CHECK(!read_config("peft:\n  lora:\n    target_modules:\n    - a,b\n    - c\n") && o.modules.n == 2 &&
          !strcmp(o.modules.v[0], "a,b"));
    CHECK(!read_config("peft: {lora: {target_modules: []}}\n") && o.modules.n == 0);
    CHECK(!read_config("dataset:\n  prompt: |\n    Q\n    A\n") && !strcmp(o.prompt, "Q\nA\n"));
    CHECK(!read_config("\xef\xbb\xbf"
                       "dataset:\n  prompt: |2-\n\n      Q\n    A\n  target: >\n   b\n   c\nseed: 3\n"));
    CHECK_STR(o.prompt, "\n  Q\nA");
    CHECK_STR(o.target, "b c\n");
    CHECK(!read_config("dataset: {path: x}\nmodel:\n  model: |\nseed: 3\n") && o.model && !*o.model &&
          o.common.seed == 3);
    CHECK(read_config("training: {lr: '2e-4', fp16: TRUE, epochs: 1_0}\n") != 0 && strstr(e.msg, "'1_0'"));
}

struct bad {
    const char *text, *says[3];
};
static void check_bad(const struct bad *c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        CHECK_MSG(read_config(c[i].text) == -E_CONFIG, "%s", c[i].text);
        for (int k = 0; k < 3 && c[i].says[k]; k++)
            CHECK_MSG(strstr(e.msg, c[i].says[k]), "%s\n--> %s\nlacks %s", c[i].text, e.msg, c[i].says[k]);
    }
}

static void unknown_keys(void)
{
    static const struct bad c[] = {
        {"peft:\n  lora:\n    rr: 3\n", {"c.yaml:3:5: unknown key 'peft.lora.rr'; did you mean peft.lora.r?"}},
        {"training: {leraning_rate: 1}\n",
         {"c.yaml:1:12: unknown key 'training.leraning_rate'; did you mean "
          "training.learning_rate?"}},
        {"learning_rate: 1\n", {"unknown key 'learning_rate'; did you mean training.learning_rate?"}},
        {"lora_rank: 1\n", {"unknown key 'lora_rank'; here it is peft.lora.r"}},
        {"training: {val_set_size: 1}\n", {"unknown key 'training.val_set_size'; here it is dataset.test_size"}},
        {"stage: sft\n", {"unknown key 'stage'; peft-train does supervised fine-tuning; leave it out"}},
        {"trainig: {lr: 1}\n", {"unknown key 'trainig'; did you mean training?"}},
        {"model: {name: x}\n", {"unknown key 'model.name'; did you mean model.name_or_path?"}},
        {"xyzzy: {a: {b: [1, {c: 2}]}}\nseed: x\n", {"1:1: unknown key 'xyzzy'\n", "2:7: seed: found 'x'"}},
        {"\"\\e[2J\": 1\n", {"unknown key '\\x1b[2J'"}},
    };
    check_bad(c, sizeof c / sizeof *c);
}

static void wrong_values(void)
{
    static const struct bad c[] = {
        {"peft: {lora: {r: eight}}\n", {"c.yaml:1:18: peft.lora.r: found 'eight', expected an integer from 1 to 64"}},
        {"peft: {lora: {r: 65}}\n", {"found '65'"}},
        {"peft: {lora: {r: 8.0}}\n", {"found '8.0'"}},
        {"peft: {lora: {r: 0x8}}\n", {"found '0x8'"}},
        {"training: {lr: .inf}\n", {"found '.inf', expected a number from 0 to 1"}},
        {"training: {fp16: yes}\n",
         {"training.fp16: found 'yes', expected true or false (YAML 1.2 has no yes, no, on and "
          "off)"}},
        {"training: {gradient_checkpointing: 'Off'}\n", {"found 'Off', expected true or false (YAML"}},
        {"training: {fp16: 1}\n", {"found '1', expected true or false"}},
        {"peft: {method: dora}\n", {"found 'dora', expected one of none, lora"}},
        {"training: {lr: [1]}\n", {"training.lr: found a list, expected one value"}},
        {"training: {lr: {a: 1}}\n", {"training.lr: found a map, expected one value"}},
        {"peft: {lora: {target_modules: {a: 1}}}\n", {"found a map, expected one value"}},
        {"peft: {lora: {target_modules: [a, [b], c]}}\n", {"target_modules: found an element that is no plain value"}},
        {"peft: {lora: {target_modules: [a, ~]}}\n", {"found an element"}},
        {"training: 5\n", {"c.yaml:1:11: training: found '5', expected a map of keys"}},
        {"callbacks: [early_stopping]\n", {"callbacks: found 'early_stopping', expected a map of keys"}},
        {"just text\n", {"c.yaml:1:1: found 'just text', expected a map of keys"}},
        {"seed: 1\nseed: 2\n", {"c.yaml:2:7: seed: set a second time, first on line 1"}},
        {"training:\n  lr: 1\n  learning_rate: 1\n",
         {"c.yaml:3:18: training.learning_rate: set a second time, first on line 2"}},
        {"model: {model: \"a\\0b\"}\n", {"found 'a\\x00b'"}},
    };
    check_bad(c, sizeof c / sizeof *c);
}

static void refused_syntax(void)
{
    static const struct bad c[] = {
        {"seed: &a 5\n", {"anchors (&name) are not supported"}},
        {"seed: &a 5\ntraining: {lr: *a}\n", {"anchors", "2:17: aliases (*name) are not supported"}},
        {"training: &t {lr: 1}\npeft: *t\n", {"anchors", "aliases"}},
        {"seed: !!int 5\n", {"tags (!name) are not supported"}},
        {"seed: !evil 5\n", {"tags (!name) are not supported"}},
        {"seed: 1\n---\nseed: 2\n", {"found a second document, expected one"}},
        {"seed: 1\n...\nseed: 2\n", {"second document"}},
        {"training:\n\tlr: 1\n", {"c.yaml:2:1: not YAML: tab"}},
        {"a: \"x\n", {"not YAML: double-quoted scalar without closing quote"}},
        {"training: {lr: 1\n", {"not YAML"}},
        {"? {a: b}\n: 1\n", {"found a key that is no name"}},
        {"'': 1\n", {"found a key that is no name"}},
        {"dataset:\n  prompt: |\n  target: x\n", {"'dataset.prompt': the text after | or > must be indented"}},
        {"dataset:\n  prompt: >\n\n  Q\n\n    A:\n ", {"'dataset.prompt': the text after | or > must be indented"}},
        {"peft: {lora: {r: 1}}\n? |\n  x\n: 1\n", {"found a key that is no name"}},
        {"peft:\n  lora:\n    target_modules:\n    - |\n      x\n", {"found an element"}},
        {"seed: \x01\n", {"c.yaml:1:7: found byte 0x01, expected UTF-8 text"}},
        {"seed: 1\nmodel: \xff\n", {"c.yaml:2:8: found byte 0xff, expected UTF-8 text"}},
        {"seed: \xc2\x9b\n", {"expected UTF-8 text"}},
    };
    check_bad(c, sizeof c / sizeof *c);
    CHECK(read_as("peft-train", train, "seed: 1\0", 8) == -E_CONFIG && strstr(e.msg, "found byte 0x00"));
}

static void bombs(void)
{
    struct buf b = {0};
    for (int i = 0; i < 40; i++) buf_addc(&b, '[');
    CHECK(read_as("peft-train", train, b.p, b.n) == -E_CONFIG && strstr(e.msg, "nested deeper than 32 levels"));
    b.n = 0;
    buf_addz(&b, "xyzzy: ");
    for (int i = 0; i < 40; i++) buf_addz(&b, "{a: ");
    CHECK(read_as("peft-train", train, b.p, b.n) == -E_CONFIG && strstr(e.msg, "nested deeper"));
    b.n = 0;
    for (int i = 0; i < 100000; i++) buf_addz(&b, "# padding.\n");
    CHECK(read_as("peft-train", train, b.p, b.n) == -E_CONFIG && strstr(e.msg, "larger than 1048576 bytes"));
    b.n = 0;
    for (int i = 0; i < 5000; i++) buf_printf(&b, "k%d: 1\n", i);
    CHECK(read_as("peft-train", train, b.p, b.n) == -E_CONFIG && strstr(e.msg, "\nc.yaml: and "));
    b.n = 0;
    buf_addz(&b, "a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (char c = 'b'; c <= 'l'; c++)
        buf_printf(&b, "%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c - 1, c - 1, c - 1, c - 1, c - 1,
                   c - 1, c - 1, c - 1, c - 1);
    CHECK(read_as("peft-train", train, b.p, b.n) == -E_CONFIG);
    b.n = 0;
    for (int i = 0; i < 300; i++) buf_addc(&b, 'k');
    buf_addz(&b, ": 1\n");
    CHECK(read_as("peft-train", train, b.p, b.n) == -E_CONFIG && strstr(e.msg, "at most 256 bytes"));
    buf_fini(&b);
}

static void key_table(void)
{
    for (const struct config_key *k = opt_config_keys; k->path; k++) {
        CHECK_MSG(opt_config_key(k->path) == k, "%s stands twice", k->path);
        CHECK_MSG(!strncmp(k->tools, "peft-", 5), "%s", k->path);
        CHECK_MSG(k->option || k->note, "%s has neither an option nor a note", k->path);
        const char *dot = strrchr(k->path, '.');
        char *map = dot ? mem_dup(k->path, (size_t)(dot - k->path)) : NULL;
        CHECK_MSG(!map || !opt_config_key(map), "%s is a value and a map", map);
        free(map);
    }
    const struct config_key *k = opt_config_key("model.name_or_path");
    CHECK(opt_config_key("training.lr") == opt_config_key("training.learning_rate") && !opt_config_key("training.l"));
    CHECK(opt_config_key("peft.method") && !opt_config_key("peft.methods") && !opt_config_key("lr"));
    CHECK(k && opt_key_owned(k, "peft-tok") && opt_key_owned(k, "peft-merge") && !opt_key_owned(k, "peft-t") &&
          !opt_key_owned(k, "peft-log"));
}

/* What lies in a method's map is checked by the tool that has the methods, and passed over by the others. */
static void method_maps(void)
{
    static const char text[] = "peft:\n  method: lora\n  newest:\n    key: [1, {a: 2}]\n  lora:\n    rr: 3\n";
    CHECK_MSG(!read_as("peft-log", other, text, strlen(text)) && set->notes.n == 0, "%s", e.msg);
    CHECK(read_as("peft-train", train, text, strlen(text)) == -E_CONFIG && strstr(e.msg, "peft.newest") &&
          strstr(e.msg, "peft.lora.rr"));
    static const char misspelt[] = "peft:\n  methd: lora\n";
    CHECK(read_as("peft-log", other, misspelt, strlen(misspelt)) == -E_CONFIG);
}

/* What is said to be ours is. */
static void foreign_names(void)
{
    static const char *const ours[] = {
#define NAME(theirs, path, note) path,
#include "libcommon/base/foreign_names.def"
#undef NAME
    };
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        CHECK_MSG(!*ours[i] || opt_config_key(ours[i]) || !strncmp(ours[i], "peft.lora", 9), "%s", ours[i]);
}

int main(void)
{
    RUN(whole_article, "config/article");
    RUN(maps, "config: maps of numbers");
    RUN(shapes, "config/shapes");
    RUN(unknown_keys, "config/unknown");
    RUN(wrong_values, "config/values");
    RUN(refused_syntax, "config/syntax");
    RUN(bombs, "config/bombs");
    RUN(key_table, "config/table");
    RUN(foreign_names, "config/foreign_names");
    RUN(method_maps, "config/method_maps");
    opt_set_free(set);
    return test_failed;
}
