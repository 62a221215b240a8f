#include "libcommon/model/model_internal.h"
/* model_config: what a model file says of its arithmetic is read, or refused by name, or ignored by a row that says
 * why. Every row of the tables is tried with values of each kind, then whole files of both formats: what they are read
 * as, which key a refusal names, tensors that no part of the model is made of, and rows beyond a window. */
#include <math.h>
#include <sys/stat.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"
#include "libcommon/format/gguf_names.h"
#include "libcommon/format/gguf_write.h"
#include "libcommon/format/json.h"
#include "libcommon/format/safetensors_write.h"
#include "libcommon/merge/hf_config.h"
#include "libcommon/model/config_table.h"
#include "tests/test.h"

static char root[64], dir[128], file[128];
static struct device *dev;

/* ---- rows ---------------------------------------------------------------------------------- */

static const char *const families[] = {"llama", "mistral", "qwen2"};

#define IS_NUMBER(x) ((struct config_value){.kind = VALUE_NUMBER, .number = (x)})
#define IS_BOOL(x)   ((struct config_value){.kind = VALUE_BOOL, .number = (x)})
#define IS_TEXT(z)   ((struct config_value){.kind = VALUE_TEXT, .text = STRZ(z)})
#define IS_LIST      ((struct config_value){.kind = VALUE_OTHER, .text = STRZ("a list")})
#define IS_NOTHING   ((struct config_value){.kind = VALUE_NOTHING})
#define IS_EMPTY     ((struct config_value){.kind = VALUE_EMPTY})

/* One key alone: the id of its refusal, which has to name it, or 0. */
static int try(const struct config_file *f, const char *key, struct config_value v, struct config_raw *r)
{
    struct err e = {0};
    config_raw_init(r);
    int rc = config_key(f, r, key, v, &e);
    CHECK_MSG(rc == -e.id && (!rc || strstr(e.msg, key)), "%s: %d %s", key, rc, e.msg);
    return e.id;
}

/* All values of a list, each as what it looks like. */
static void try_listed(const struct config_file *f, const char *key, const char *list)
{
    struct config_raw r;
    char word[64];
    for (const char *p = list; *p; p += strcspn(p, " "), p += *p == ' ') {
        char *end;
        snprintf(word, sizeof word, "%.*s", (int)strcspn(p, " "), p);
        double x = strtod(word, &end);
        struct config_value v = !*end ? IS_NUMBER(x) : IS_TEXT(word);
        if (!strcmp(word, "true") || !strcmp(word, "false")) v = IS_BOOL(*word == 't');
        if (strchr(list, ' ') && *word >= 'A' && *word <= 'Z') v = IS_TEXT(list), p += strlen(p) - 1;
        CHECK_MSG(!try(f, key, v, &r), "%s: %s is one of its values", key, word);
    }
}

static void try_row(const struct config_file *f, const struct config_row *row)
{
    char key[80];
    struct config_raw r, none;
    const double *at = (const double *)((const char *)&r + row->off);
    int malformed = (int)config_malformed(f);
    snprintf(key, sizeof key, "%s", row->key);
    if (key[strlen(key) - 1] == '*') strcpy(key + strlen(key) - 1, "x");
    if (config_row_of(f, key) != row) return; /* for another family, or before it stands one with the whole name */
    config_raw_init(&none);
    CHECK_MSG(!try(f, key, IS_NOTHING, &r) && !memcmp(&r, &none, sizeof r), "%s: nothing is nothing", key);
    const bool typed = row->kind == ROW_NUMBER || row->kind == ROW_FLAG || row->kind == ROW_TEXT;
    CHECK_MSG(!try(f, key, IS_EMPTY, &r) == !typed, "%s: an empty text, list or object", key);
    switch (row->kind) {
    case ROW_NUMBER:
        CHECK_MSG(!try(f, key, IS_NUMBER(3), &r) && *at == 3, "%s is read", key);
        CHECK_MSG(try(f, key, IS_TEXT("3"), &r) == malformed && try(f, key, IS_BOOL(1), &r) == malformed, "%s", key);
        break;
    case ROW_FLAG:
        CHECK_MSG(!try(f, key, IS_BOOL(1), &r) && *at == 1 && !try(f, key, IS_BOOL(0), &r) && *at == 0, "%s", key);
        CHECK_MSG(try(f, key, IS_NUMBER(1), &r) == malformed && try(f, key, IS_LIST, &r) == malformed, "%s", key);
        break;
    case ROW_TEXT:
        try_listed(f, key, row->arg);
        CHECK_MSG(try(f, key, IS_TEXT("dynamic"), &r) == E_ARCH && try(f, key, IS_NUMBER(1), &r) == E_ARCH, "%s", key);
        break;
    case ROW_NEUTRAL:
        try_listed(f, key, row->arg);
        CHECK_MSG(try(f, key, IS_TEXT("other"), &r) == E_ARCH && try(f, key, IS_NUMBER(7.5), &r) == E_ARCH &&
                      try(f, key, IS_LIST, &r) == E_ARCH,
                  "%s: only its neutral value is accepted", key);
        CHECK_MSG(try(f, key, IS_BOOL(1), &r) == (strcmp(row->arg, "true") ? E_ARCH : 0) &&
                      try(f, key, IS_BOOL(0), &r) == (strcmp(row->arg, "true") ? 0 : E_ARCH),
                  "%s", key);
        break;
    case ROW_HANDLED:
    case ROW_IGNORED:
        CHECK_MSG(row->arg && strlen(row->arg) > 3, "%s is ignored without a reason", key);
        CHECK_MSG(!try(f, key, IS_TEXT("other"), &r) && !try(f, key, IS_NUMBER(7), &r) && !try(f, key, IS_LIST, &r) &&
                      !memcmp(&r, &none, sizeof r),
                  "%s is ignored", key);
    }
}

static void test_rows(void)
{
    const struct config_table *tables[] = {&config_table_hf, &config_table_rope, &config_table_gguf,
                                           &config_table_sections};
    int n[ROW_IGNORED + 1] = {0};
    for (size_t t = 0; t < 4; t++)
        for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
            struct config_file f = {.kind = t < 2 ? WEIGHTS_HF : WEIGHTS_GGUF, .path = "m", .place = "", .prefix = ""};
            f.family = families[i];
            f.row = tables[t]->row;
            f.n = tables[t]->n;
            for (int k = 0; k < f.n; k++) try_row(&f, &f.row[k]), n[f.row[k].kind] += !i;
            for (int k = 0; k < f.n; k++)
                for (int j = 0; j < k; j++)
                    CHECK_MSG(strcmp(f.row[k].key, f.row[j].key) || f.row[j].only, "%s: %s stands twice",
                              tables[t]->name, f.row[k].key);
            struct config_raw r;
            if (t == 3) continue; /* notes of other programs */
            CHECK(try(&f, "wondrous", IS_NUMBER(2), &r) == E_ARCH && try(&f, "wondrous", IS_TEXT("x"), &r) == E_ARCH);
            CHECK(try(&f, "wondrous", IS_BOOL(1), &r) == E_ARCH && try(&f, "wondrous", IS_LIST, &r) == E_ARCH);
            CHECK(!try(&f, "wondrous", IS_BOOL(0), &r) && !try(&f, "wondrous", IS_NOTHING, &r));
        }
    CHECK(n[ROW_NUMBER] > 25 && n[ROW_NEUTRAL] > 50 && n[ROW_IGNORED] > 80);
}

/* ---- whole files: a model of one layer, width 8, 2 heads of 4, 1 KV head ------------------- */

static const char *const parts[] = {"token_embd",   "blk.0.attn_norm",   "blk.0.attn_q",   "blk.0.attn_k",
                                    "blk.0.attn_v", "blk.0.attn_output", "blk.0.ffn_norm", "blk.0.ffn_gate",
                                    "blk.0.ffn_up", "blk.0.ffn_down",    "output_norm",    "output"};
static const int shapes[][2] = {{6, 8}, {8, 0},  {8, 8},  {4, 8},  {4, 8}, {8, 8},
                                {8, 0}, {16, 8}, {16, 8}, {8, 16}, {8, 0}, {6, 8}};
enum { PARTS = sizeof parts / sizeof *parts };

/* The weights of the directory; extra: one tensor more, of one row of 8 values. head: with lm_head, of another value.
 */
static void put_weights(const char *extra, bool head)
{
    struct err e = {0};
    char path[256], name[GGUF_NAME_MAX], gguf[96];
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    struct st_writer *w = st_create(path, true, &e);
    int n = head ? PARTS : PARTS - 1;
    for (int i = 0; i < n; i++) {
        snprintf(gguf, sizeof gguf, "%s.weight", parts[i]);
        CHECK(gguf_name_to_hf(&llama_names, gguf, name));
        st_declare(w, name, "F32", shapes[i][1] ? 2 : 1, (int64_t[]){shapes[i][0], shapes[i][1]}, &e);
    }
    if (extra) st_declare(w, extra, "F32", 1, (int64_t[]){8}, &e);
    st_begin(w, &e);
    for (int i = 0; i < n + !!extra; i++) {
        int at = st_order(w, i);
        float v = at == PARTS - 1 ? 0.5f : 0.25f;
        for (int k = at < n ? shapes[at][0] * (shapes[at][1] ? shapes[at][1] : 1) : 8; k > 0; k--)
            st_data(w, &v, 4, &e);
    }
    CHECK_MSG(!st_finish(w, &e), "%s", e.msg);
}

static struct err last;

/* A model from the directory with a configuration that has these members beside, or instead of, the usual. */
static struct model *hf(const char *members)
{
    char path[256], *text = mem_printf("{%s}", members);
    json_error_t je;
    json_t *j = json_pack("{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:b}", "architectures", "LlamaForCausalLM",
                          "model_type", "llama", "hidden_size", 8, "intermediate_size", 16, "num_hidden_layers", 1,
                          "num_attention_heads", 2, "num_key_value_heads", 1, "vocab_size", 6, "rms_norm_eps", 1e-5,
                          "tie_word_embeddings", 1);
    json_t *more = json_loads(text, 0, &je);
    CHECK_MSG(more != NULL, "%s: %s", text, je.text);
    json_object_update(j, more);
    snprintf(path, sizeof path, "%s/config.json", dir);
    CHECK(!json_dump_file(j, path, 0));
    json_decref(j);
    json_decref(more);
    free(text);
    last = (struct err){0};
    return model_load(dir, dev, &last);
}

struct kv {
    const char *key, *text; /* text: a string; NULL: number, an integer if it is one and no point is wanted */
    double number;
    bool real;
};

static struct model *gguf_of(const char *arch, struct kv more, const char *extra)
{
    struct kv kv[] = {{"llama.embedding_length", NULL, 8, false},
                      {"llama.block_count", NULL, 1, false},
                      {"llama.attention.head_count", NULL, 2, false},
                      {"llama.attention.head_count_kv", NULL, 1, false},
                      {"llama.feed_forward_length", NULL, 16, false},
                      {"llama.rope.dimension_count", NULL, 4, false},
                      {"llama.attention.layer_norm_rms_epsilon", NULL, 1e-5, true},
                      {"llama.rope.scaling.factor", NULL, 4, true},
                      more};
    struct err e = {0};
    struct gguf_writer *w = gguf_create(file, true, &e);
    gguf_put_str(w, "general.architecture", STRZ(arch));
    if (more.text && !strcmp(more.text, "longrope")) gguf_put_u32(w, "llama.rope.scaling.original_context_length", 512);
    for (size_t i = 0; i < sizeof kv / sizeof *kv; i++) {
        bool last_one = i + 1 == sizeof kv / sizeof *kv;
        /* longrope has no factor */
        if (more.text && !strcmp(more.text, "longrope") && strstr(kv[i].key, "scaling.factor")) continue;
        if (!kv[i].key || (!last_one && more.key && !strcmp(kv[i].key, more.key))) continue;
        if (kv[i].text)
            gguf_put_str(w, kv[i].key, STRZ(kv[i].text));
        else if (kv[i].real)
            gguf_put_f32(w, kv[i].key, (float)kv[i].number);
        else
            gguf_put_u32(w, kv[i].key, (uint32_t)kv[i].number);
    }
    char name[96];
    size_t bytes = 0;
    for (int i = 0; i < PARTS; i++) {
        snprintf(name, sizeof name, "%s.weight", parts[i]);
        gguf_put_tensor(w, name, shapes[i][1] ? 2 : 1, (int64_t[]){shapes[i][0], shapes[i][1]}, 0, &e);
        bytes += (size_t)shapes[i][0] * (size_t)(shapes[i][1] ? shapes[i][1] : 1) * 4;
    }
    /* longrope's two tensors come together: 1 2 and 3 4 */
    const bool pairs = extra && !strncmp(extra, "rope_", 5),
               both = more.text && !strcmp(more.text, "longrope") && extra;
    const float one = 1, factors[] = {1, 2, 3, 4};
    int n = !extra ? 0 : both ? 4 : pairs ? 2 : 8;
    if (both) gguf_put_tensor(w, "rope_factors_short.weight", 1, (int64_t[]){2}, 0, &e);
    if (extra) gguf_put_tensor(w, extra, 1, (int64_t[]){both ? 2 : n}, 0, &e);
    gguf_begin(w, &e);
    for (size_t i = 0; i < bytes / 4; i++) gguf_data(w, &one, 4, &e);
    for (int i = 0; i < n; i++) gguf_data(w, both ? &factors[i] : &one, 4, &e);
    CHECK_MSG(!gguf_finish(w, &e), "%s", e.msg);
    last = (struct err){0};
    return model_load(file, dev, &last);
}

/* The outcome of the load before: 0, or the id and what the message names. */
static void expect(struct model *m, int want, const char *named)
{
    CHECK_MSG(last.id == want && !m == !!want && (!want || strstr(last.msg, named)), "%s: %s %s", named,
              err_name(last.id), last.msg);
    model_free(m);
}

#define MISTRAL "\"architectures\": [\"MistralForCausalLM\"], \"model_type\": \"mistral\", "

/* What transformers writes into every file of the popular families. */
static void test_hf_popular(void)
{
    static const char *const ok[] = {
        /* Llama 3.1 */
        "\"attention_bias\": false, \"attention_dropout\": 0.0, \"bos_token_id\": 128000, \"eos_token_id\": [128001, "
        "128008],"
        "\"hidden_act\": \"silu\", \"initializer_range\": 0.02, \"max_position_embeddings\": 131072, \"mlp_bias\": "
        "false,"
        "\"pretraining_tp\": 1, \"rope_scaling\": {\"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": "
        "4.0,"
        "\"original_max_position_embeddings\": 8192, \"rope_type\": \"llama3\"}, \"rope_theta\": 500000.0,"
        "\"torch_dtype\": \"bfloat16\", \"transformers_version\": \"4.43.0\", \"use_cache\": true",
        /* SmolLM2 */
        "\"is_llama_config\": true, \"rope_interleaved\": false, \"rope_scaling\": null, \"tie_word_embeddings\": true,"
        "\"transformers.js_config\": {\"kv_cache_dtype\": {\"q4f16\": \"float16\"}}, \"pad_token_id\": 2",
        /* Llama 1 and 2 as they were converted */
        "\"_name_or_path\": \"x/y\", \"max_sequence_length\": 2048, \"pad_token_id\": -1, \"pretraining_tp\": 8,"
        "\"use_cache\": false, \"architectures\": [\"LLaMAForCausalLM\"]",
        MISTRAL "\"sliding_window\": null, \"head_dim\": null, \"attention_dropout\": 0.1",
        MISTRAL "\"sliding_window\": 4096, \"rope_parameters\": {\"rope_theta\": 1e6, \"rope_type\": \"default\"}",
        /* the whole list of PretrainedConfig before transformers 5 */
        "\"return_dict\": true, \"output_hidden_states\": false, \"output_attentions\": false, \"torchscript\": false,"
        "\"use_bfloat16\": false, \"tf_legacy_loss\": false, \"pruned_heads\": {}, \"chunk_size_feed_forward\": 0,"
        "\"is_encoder_decoder\": false, \"is_decoder\": false, \"cross_attention_hidden_size\": null,"
        "\"add_cross_attention\": false, \"tie_encoder_decoder\": false, \"max_length\": 20, \"min_length\": 0,"
        "\"do_sample\": false, \"early_stopping\": false, \"num_beams\": 1, \"num_beam_groups\": 1,"
        "\"diversity_penalty\": 0.0, \"temperature\": 1.0, \"top_k\": 50, \"top_p\": 1.0, \"typical_p\": 1.0,"
        "\"repetition_penalty\": 1.0, \"length_penalty\": 1.0, \"no_repeat_ngram_size\": 0,"
        "\"encoder_no_repeat_ngram_size\": 0, \"bad_words_ids\": null, \"num_return_sequences\": 1,"
        "\"output_scores\": false, \"return_dict_in_generate\": false, \"forced_bos_token_id\": null,"
        "\"forced_eos_token_id\": null, \"remove_invalid_values\": false, \"exponential_decay_length_penalty\": null,"
        "\"suppress_tokens\": null, \"begin_suppress_tokens\": null, \"architectures\": null, \"finetuning_task\": "
        "null,"
        "\"id2label\": {\"0\": \"LABEL_0\", \"1\": \"LABEL_1\"}, \"label2id\": {\"LABEL_0\": 0, \"LABEL_1\": 1},"
        "\"tokenizer_class\": null, \"prefix\": null, \"sep_token_id\": null, \"decoder_start_token_id\": null,"
        "\"task_specific_params\": null, \"problem_type\": null, \"_attn_implementation_autoset\": true",
        "\"unsloth_fixed\": true, \"unsloth_version\": \"2025.1.1\", \"auto_map\": {\"AutoConfig\": \"c.C\"}",
        "\"model_type\": null",
        "\"whatever\": null, \"whatever_too\": false, \"a\": [], \"b\": {}, \"c\": \"\"",
    };
    put_weights(NULL, false);
    for (size_t i = 0; i < sizeof ok / sizeof *ok; i++) expect(hf(ok[i]), 0, ok[i]);
}

#define LONGROPE "\"rope_scaling\": {\"rope_type\": \"longrope\", \"short_factor\": [1, 1], "

/* Where the original length stands, and what the factor on cosines and sines is made of, by the version of transformers
 * that writes such a file. */
static void test_rope_lengths(void)
{
    static const struct {
        const char *members;
        int original;
        double attention;
    } t[] = {
        {"\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4}", 256, 1.1386294361119891},
        {"\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 1}", 256, 1},
        {"\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 16}", 16,
         1.1386294361119891},
        {"\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4}, \"original_max_position_embeddings\": 16", 256,
         1.1386294361119891},
        {"\"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 4}, \"original_max_position_embeddings\": 16", 16,
         1.1386294361119891},
        {"\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4, \"attention_factor\": 1.5, \"mscale\": 2}", 256,
         1.5},
        {"\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4, \"mscale\": 2, \"mscale_all_dim\": 0}", 256,
         1.1386294361119891},
        {LONGROPE "\"long_factor\": [2, 3], \"factor\": 4}", 256, 1.1180339887498949},
        {LONGROPE "\"long_factor\": [2, 3], \"factor\": 4}, \"original_max_position_embeddings\": 16", 16,
         1.4142135623730951},
        {LONGROPE "\"long_factor\": [2, 3], \"factor\": 4, \"original_max_position_embeddings\": 16}", 256,
         1.1180339887498949},
        {"\"rope_parameters\": {\"rope_type\": \"longrope\", \"short_factor\": [1, 1], \"long_factor\": [2, 3],"
         "\"original_max_position_embeddings\": 16, \"factor\": 4}",
         16, 1.2247448713915889},
        {LONGROPE "\"long_factor\": [2, 3], \"attention_factor\": 1.25}", 256, 1.25},
    };
    put_weights(NULL, false);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        char members[512];
        snprintf(members, sizeof members, "\"max_position_embeddings\": 256, %s", t[i].members);
        struct model *m = hf(members);
        CHECK_MSG(m && m->cfg.rope_scaling.original_max_pos == t[i].original &&
                      fabs(m->cfg.rope_scaling.attention_factor - t[i].attention) < 1e-12,
                  "%s: %d, %.17g; %s", t[i].members, m ? m->cfg.rope_scaling.original_max_pos : 0,
                  m ? m->cfg.rope_scaling.attention_factor : 0, last.msg);
        model_free(m);
    }
    struct model *m = hf(LONGROPE "\"long_factor\": [2, 3], \"factor\": 4}");
    CHECK(m && m->inv_freq[0] == 1 && m->inv_freq_long[0] == 0.5f && m->inv_freq_long[1] < 0.34f * m->inv_freq[1]);
    model_free(m);
    m = hf(MISTRAL "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4}");
    CHECK(m && m->cfg.rope_scaling.original_max_pos == 131072 && !m->inv_freq_long); /* the class's own length */
    model_free(m);
}

static void test_hf_values(void)
{
    put_weights(NULL, false);
    struct model *m = hf("\"rope_theta\": 500, \"max_position_embeddings\": 99, \"sliding_window\": 16,"
                         "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}");
    CHECK_MSG(m != NULL, "%s", last.msg);
    if (m) {
        const struct model_config *c = &m->cfg;
        CHECK(c->C == 8 && c->L == 1 && c->H == 2 && c->K == 1 && c->D == 4 && c->F == 16 && c->V == 6);
        CHECK(c->max_pos == 99 && c->window == 16 && c->tied && c->norm_eps == 1e-5f && c->rope_theta == 500);
        CHECK(c->rope_scaling.factor == 2 && !c->rope_scaling.original_max_pos);
        CHECK_STR(c->arch, "llama");
        CHECK(m->inv_freq[0] == 0.5f && fabsf(m->inv_freq[1] - 0.5f / sqrtf(500)) < 1e-7f);
        struct err e = {0};
        CHECK(model_check_length(m, 16, &e) == 0 && model_check_length(m, 17, &e) == -E_ARCH);
        CHECK(strstr(e.msg, "17") && strstr(e.msg, "16") && strstr(e.msg, "sliding window"));
    }
    model_free(m);
    m = hf("\"rope_parameters\": {\"rope_type\": \"llama3\", \"rope_theta\": 50, \"factor\": 4, \"low_freq_factor\": 1,"
           "\"high_freq_factor\": 4, \"original_max_position_embeddings\": 16}, \"rope_theta\": 50");
    CHECK(m && m->cfg.rope_theta == 50 && m->cfg.rope_scaling.original_max_pos == 16 && !m->cfg.window);
    CHECK(m && m->cfg.rope_scaling.factor == 4 && m->cfg.rope_scaling.high_freq_factor == 4);
    CHECK(m && model_check_length(m, 1 << 20, &last) == 0);
    model_free(m);
    m = hf("\"rope_scaling\": {\"type\": \"default\", \"factor\": 2}, \"rms_norm_eps\": null");
    CHECK(m && !m->cfg.rope_scaling.factor && m->cfg.norm_eps == 1e-6f);
    model_free(m);
    m = hf(MISTRAL "\"bos_token_id\": 1");
    CHECK(m && m->cfg.window == 4096); /* what the class takes when the key is not there */
    CHECK(m && m->layer[0].window == 4096 && model_check_length(m, 5000, &last) == 0);
    model_free(m);
    m = hf(MISTRAL "\"sliding_window\": 16, \"layer_types\": [\"full_attention\"]"); /* a list that is not read */
    CHECK(m && m->cfg.window == 16 && model_check_length(m, 17, &last) == -E_ARCH);
    model_free(m);
}

static void test_hf_refused(void)
{
    static const struct {
        const char *members;
        int id;
        const char *named;
    } bad[] = {
        {"\"rope_scaling\": {\"rope_type\": \"dynamic\", \"factor\": 4, \"odd_key\": 3}", E_ARCH, "'dynamic'"},
        {"\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4, \"odd_key\": 3}", E_ARCH, "odd_key"},
        {"\"rope_scaling\": {\"rope_type\": \"yarn\"}", E_MODEL, "yarn: factor is missing"},
        {"\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 2, \"attention_factor\": -1}", E_MODEL,
         "attention_factor"},
        {"\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 2, \"beta_fast\": -1}", E_MODEL, "beta_fast"},
        {"\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 2, \"truncate\": 1}", E_MODEL,
         "rope_scaling.truncate"},
        {"\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 2, \"original_max_position_embeddings\": 8},"
         "\"original_max_position_embeddings\": 16",
         E_MODEL, "8 in the scaling and 16 beside it"},
        {"\"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1], \"long_factor\": [2]}", E_MODEL,
         "short_factor"},
        {LONGROPE "\"long_factor\": [2]}", E_MODEL, "long_factor has 1 values, expected 2"},
        {LONGROPE "\"long_factor\": [2, 0]}", E_MODEL, "long_factor[1] is 0"},
        {LONGROPE "\"long_factor\": [2, \"3\"]}", E_MODEL, "rope_scaling.long_factor[1] is no number"},
        {LONGROPE "\"long_factor\": 2}", E_MODEL, "rope_scaling.long_factor is no list"},
        {LONGROPE "\"long_factor\": [2, 3]}", E_MODEL, "longrope: factor is missing"},
        {"\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2}", E_ARCH, "rope_scaling.type"},
        {"\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"default\"}}", E_ARCH,
         "rope_parameters.full_attention"},
        {"\"rope_parameters\": {\"partial_rotary_factor\": 0.5}", E_ARCH, "rope_parameters.partial_rotary_factor"},
        {"\"rope_scaling\": {\"factor\": 2}", E_MODEL, "without rope_type"},
        {"\"rope_scaling\": {\"rope_type\": \"linear\"}", E_MODEL, "factor is missing"},
        {"\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": -1}", E_MODEL, "not positive"},
        {"\"rope_scaling\": {\"rope_type\": \"linear\", \"type\": \"llama3\"}", E_MODEL, "rope_scaling.type"},
        {"\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 2, \"low_freq_factor\": 4, \"high_freq_factor\": 4,"
         "\"original_max_position_embeddings\": 16}",
         E_MODEL, "high_freq_factor"},
        {"\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 2, \"low_freq_factor\": 1, \"high_freq_factor\": "
         "4}",
         E_MODEL, "original_max_position_embeddings"},
        {"\"rope_scaling\": 3", E_MODEL, "rope_scaling"},
        {"\"rope_parameters\": {\"rope_theta\": 100}, \"rope_theta\": 200", E_MODEL, "rope_theta"},
        {"\"rope_theta\": 0.5", E_MODEL, "rope_theta"},
        {"\"partial_rotary_factor\": 0.5", E_ARCH, "partial_rotary_factor"},
        {"\"rope_interleaved\": true", E_ARCH, "rope_interleaved"},
        {"\"hidden_act\": \"gelu\"", E_ARCH, "hidden_act"},
        {"\"attention_multiplier\": 0.25", E_ARCH, "attention_multiplier"},
        {"\"embedding_multiplier\": 12.0", E_ARCH, "embedding_multiplier"},
        {"\"residual_multiplier\": 0.22", E_ARCH, "residual_multiplier"},
        {"\"logits_scaling\": 8", E_ARCH, "logits_scaling"},
        {"\"num_local_experts\": 8", E_ARCH, "num_local_experts"},
        {"\"quantization_config\": {\"quant_method\": \"gptq\"}", E_ARCH, "quantization_config"},
        {"\"layer_types\": [\"linear_attention\"]", E_ARCH, "layer_types"},
        {"\"layer_types\": [\"sliding_attention\"]", E_MODEL, "layer_types"},
        {"\"attention_bias\": true", E_MODEL, "self_attn.q_proj.bias"},
        {"\"mlp_bias\": true", E_MODEL, "mlp.gate_proj.bias"},
        {"\"tie_word_embeddings\": false", E_MODEL, "tie_word_embeddings"},
        {"\"some_new_key\": 1", E_ARCH, "'some_new_key'"},
        {"\"hidden_size\": \"8\"", E_MODEL, "hidden_size"},
        {"\"hidden_size\": null", E_MODEL, "hidden_size is missing"},
        {"\"hidden_size\": 8.5", E_MODEL, "hidden_size"},
        {"\"num_attention_heads\": 100000", E_MODEL, "num_attention_heads"},
        {"\"head_dim\": 3", E_MODEL, "odd"},
        {"\"num_attention_heads\": 3, \"head_dim\": 4, \"num_key_value_heads\": 2", E_MODEL, "no multiple"},
        {"\"rms_norm_eps\": 0", E_MODEL, "rms_norm_eps"},
        {"\"rms_norm_eps\": \"1e-5\"", E_MODEL, "rms_norm_eps"},
        {"\"rope_theta\": \"500000.0\"", E_MODEL, "rope_theta"},
        {"\"rope_theta\": \"\"", E_MODEL, "rope_theta"},
        {"\"head_dim\": []", E_MODEL, "head_dim"},
        {"\"tie_word_embeddings\": \"true\"", E_MODEL, "tie_word_embeddings"},
        {"\"tie_word_embeddings\": 1", E_MODEL, "tie_word_embeddings"},
        {"\"max_position_embeddings\": -1", E_MODEL, "max_position_embeddings"},
        {"\"max_position_embeddings\": 1e30", E_MODEL, "max_position_embeddings"},
        {"\"max_position_embeddings\": 12.5", E_MODEL, "max_position_embeddings"},
        {"\"max_position_embeddings\": []", E_MODEL, "max_position_embeddings"},
        {"\"sliding_window\": -1", E_MODEL, "sliding_window"},
        {"\"sliding_window\": 2.5", E_MODEL, "sliding_window"},
        {"\"sliding_window\": \"4096\"", E_MODEL, "sliding_window"},
        {"\"layer_types\": [\"full_attention\", \"full_attention\"]", E_MODEL, "num_hidden_layers"},
        {"\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": \"2\"}", E_MODEL, "rope_scaling.factor"},
        {"\"architectures\": [\"Qwen3ForCausalLM\"]", E_ARCH, "Qwen3ForCausalLM"},
        {"\"architectures\": [\"LlamaForSequenceClassification\"]", E_ARCH, "LlamaForSequenceClassification"},
        {"\"model_type\": \"mistral\"", E_ARCH, "model_type"},
        {"\"architectures\": null, \"model_type\": \"gpt2\"", E_ARCH, "gpt2"},
        {"\"architectures\": null, \"model_type\": null", E_MODEL, "model_type"},
    };
    put_weights(NULL, false);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) expect(hf(bad[i].members), bad[i].id, bad[i].named);
    char some[64];
    snprintf(some, sizeof some, "\"attention_multiplier\": %.9g", 1 / sqrt(4));
    expect(hf(some), 0, some);
}

static void test_hf_tensors(void)
{
    put_weights("model.layers.0.self_attn.q_norm.weight", false);
    expect(hf(""), E_ARCH, "'model.layers.0.self_attn.q_norm.weight'");
    put_weights("model.layers.1.input_layernorm.weight", false); /* one layer more than the configuration says */
    expect(hf(""), E_ARCH, "model.layers.1.input_layernorm.weight");
    put_weights("model.layers.0.self_attn.rotary_emb.inv_freq", false);
    expect(hf(""), 0, "inv_freq");
    put_weights("model.layers.0.self_attn.q_proj.bias", false);
    expect(hf(""), E_ARCH, "q_proj.bias is there, but by attention_bias");
    expect(hf("\"attention_bias\": true"), E_MODEL, "k_proj.bias");
    expect(hf(MISTRAL "\"attention_bias\": true"), E_ARCH, "q_proj.bias");
    put_weights(NULL, true);
    struct model *m = hf("\"tie_word_embeddings\": true"); /* another matrix: a warning */
    CHECK(m && !m->cfg.tied);
    model_free(m);
    m = hf("\"tie_word_embeddings\": false");
    CHECK(m && !m->cfg.tied);
    model_free(m);
}

/* Qwen2's window: only if it is used, from a layer on, or where layer_types says so. */
static void test_qwen2_window(void)
{
    static const struct {
        const char *members;
        int window; /* -1: refused */
    } t[] = {
        {"\"use_sliding_window\": false, \"sliding_window\": 16, \"max_window_layers\": 0", 0},
        {"\"sliding_window\": 16, \"max_window_layers\": 0", 0},
        {"\"use_sliding_window\": true, \"sliding_window\": 16, \"max_window_layers\": 0", 16},
        {"\"use_sliding_window\": true, \"sliding_window\": 16, \"max_window_layers\": 1", 0},
        {"\"use_sliding_window\": true, \"max_window_layers\": 0", 4096},
        {"\"use_sliding_window\": true, \"sliding_window\": 16, \"layer_types\": [\"sliding_attention\"]", 16},
        {"\"use_sliding_window\": true, \"sliding_window\": 16, \"max_window_layers\": 0,"
         "\"layer_types\": [\"full_attention\"]",
         0},
        {"\"sliding_window\": 16, \"layer_types\": [\"sliding_attention\"]", -1},
    };
    put_weights(NULL, false);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        model_free(hf(t[i].members)); /* writes the file */
        struct err e = {0};
        struct weights *w = weights_open(dir, &e);
        struct model_config c = {0};
        int rc = config_read_hf(&c, w, "qwen2", &e);
        CHECK_MSG(t[i].window < 0 ? rc == -E_MODEL && strstr(e.msg, "layer_types") : !rc && c.window == t[i].window,
                  "%s: window %d, %s", t[i].members, c.window, e.msg);
        CHECK(t[i].window <= 0 || c.slides[0]);
        weights_close(w);
    }
}

static const struct kv longrope = {"llama.rope.scaling.type", "longrope", 0, false};

static void test_gguf(void)
{
    static const struct {
        struct kv kv;
        int id;
    } t[] = {
        {{"llama.rope.scaling.type", "linear", 0, false}, 0},
        {{"llama.rope.scaling.type", "yarn", 0, false}, 0},
        {{"llama.rope.scaling.type", "dynamic", 0, false}, E_ARCH},
        {{"llama.rope.scaling.attn_factor", NULL, 1, true}, 0},
        {{"llama.rope.scaling.attn_factor", NULL, 1.2, true}, 0},
        {{"llama.rope.scaling.attn_factor", NULL, -1, true}, E_GGUF},
        {{"llama.rope.scaling.yarn_attn_factor", NULL, 1.2, true}, E_ARCH},
        {{"llama.rope.scaling.original_context_length", NULL, 512, false}, 0},
        {{"llama.rope.scaling.yarn_ext_factor", NULL, 1, true}, E_ARCH}, /* of a type that has none */
        {{"llama.rope.scaling.yarn_ext_factor", NULL, -1, true}, 0},
        {{"llama.rope.scale_linear", NULL, 4, true}, 0},
        {{"llama.rope.scale_linear", NULL, 2, true}, E_GGUF}, /* another factor than the file has */
        {{"llama.rope.dimension_count", NULL, 2, false}, E_ARCH},
        {{"llama.attention.value_length", NULL, 4, false}, 0},
        {{"llama.attention.value_length", NULL, 8, false}, E_ARCH},
        {{"llama.attention.scale", NULL, 0.5, true}, 0},
        {{"llama.attention.scale", NULL, 0, true}, 0},
        {{"llama.attention.scale", NULL, 0.015625, true}, E_ARCH},
        {{"llama.expert_count", NULL, 8, false}, E_ARCH},
        {{"llama.expert_count", NULL, 0, false}, 0},
        {{"llama.logit_scale", NULL, 8, true}, E_ARCH},
        {{"llama.residual_scale", NULL, 0.22, true}, E_ARCH},
        {{"llama.attn_logit_softcapping", NULL, 50, true}, E_ARCH},
        {{"llama.final_logit_softcapping", NULL, 30, true}, E_ARCH},
        {{"llama.some_new_key", NULL, 1, false}, E_ARCH},
        {{"llama.attention.head_count", "2", 0, false}, E_GGUF},
        {{"llama.attention.head_count", NULL, 0, false}, E_GGUF},
        {{"llama.block_count", NULL, 4000000000, false}, E_GGUF},
        {{"llama.attention.layer_norm_rms_epsilon", NULL, -1, true}, E_GGUF},
        {{"llama.tensor_data_layout", "Meta AI original pth", 0, false}, 0},
        {{"llama.tensor_data_layout", "rotated", 0, false}, E_ARCH},
        {{"llama.vocab_size", NULL, 6, false}, 0},
        {{"general.name", "x", 0, false}, 0},
        {{"general.type", "model", 0, false}, 0},
        {{"general.type", "adapter", 0, false}, E_ARCH},
        {{"general.quantization_version", NULL, 2, false}, 0},
        {{"general.quantization_version", NULL, 1, false}, E_ARCH},
        {{"tokenizer.ggml.model", "llama", 0, false}, 0},
        {{"quantize.imatrix.file", "x", 0, false}, 0},
        {{"mradermacher.quantize_version", "2", 0, false}, 0},
        {{"clip.has_vision_encoder", NULL, 1, false}, E_ARCH},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) expect(gguf_of("llama", t[i].kv, NULL), t[i].id, t[i].kv.key);
    expect(gguf_of("llama", (struct kv){"llama.rope.scaling.type", "dynamic", 0, false}, NULL), E_ARCH, "'dynamic'");
    expect(gguf_of("llama", longrope, NULL), E_GGUF, "rope_factors_short.weight is missing");
    expect(gguf_of("gpt2", (struct kv){0}, NULL), E_ARCH, "gpt2");
    CHECK(strstr(last.hint, "supported: llama") && !strstr(last.hint, "ForCausalLM"));

    struct model *m = gguf_of("llama", (struct kv){"llama.attention.sliding_window", NULL, 16, false}, NULL);
    CHECK(m && m->cfg.window == 16 && m->cfg.rope_scaling.factor == 4 && m->cfg.norm_eps == 1e-5f && m->cfg.V == 6);
    CHECK(m && m->cfg.D == 4 && m->cfg.K == 1 && m->cfg.rope_theta == 10000 && !m->cfg.tied);
    model_free(m);
    m = gguf_of("llama", (struct kv){"llama.rope.scaling.type", "none", 0, false}, NULL);
    CHECK(m && !m->cfg.rope_scaling.factor); /* no scaling, whatever the factor */
    model_free(m);
    m = gguf_of("llama", (struct kv){"llama.rope.scaling.factor", NULL, 0, true}, NULL);
    CHECK(m && !m->cfg.rope_scaling.factor);
    model_free(m);
}

static void test_gguf_tensors(void)
{
    const struct kv none = {0};
    expect(gguf_of("llama", none, "blk.0.attn_q_norm.weight"), E_ARCH, "'blk.0.attn_q_norm.weight'");
    expect(gguf_of("llama", none, "blk.1.attn_norm.weight"), E_ARCH, "blk.1.attn_norm.weight");
    expect(gguf_of("llama", none, "rope_factors_long.weight"), E_ARCH, "rope_factors_long.weight");
    struct model *m = gguf_of("llama", longrope, "rope_factors_long.weight");
    CHECK_MSG(m && m->inv_freq[1] == 0.01f / 2 && m->inv_freq_long[0] == 1.0f / 3, "%s", last.msg);
    CHECK(m && m->cfg.rope_scaling.original_max_pos == 512 && m->cfg.rope_scaling.attention_factor == 1);
    model_free(m);
    expect(gguf_of("llama", none, "rope_freqs.weight"), 0, "rope_freqs.weight");
    expect(gguf_of("llama", none, "blk.0.attn_rot_embd.weight"), 0, "attn_rot_embd");
}

/* The config.json that is written for a GGUF file is read as the same configuration. */
static void test_round_trip(void)
{
    const struct kv kv[] = {
        {"llama.rope.freq_base", NULL, 12345, true},         {"llama.rope.scaling.type", "none", 0, false},
        {"llama.rope.scaling.type", "yarn", 0, false},       longrope,
        {"llama.attention.sliding_window", NULL, 16, false}, {"llama.context_length", NULL, 77, false}};
    put_weights(NULL, true);
    for (size_t i = 0; i < sizeof kv / sizeof *kv; i++) {
        const bool of_tensors = kv[i].text && !strcmp(kv[i].text, longrope.text);
        struct model *g = gguf_of("llama", kv[i], of_tensors ? "rope_factors_long.weight" : NULL), *h = NULL;
        struct err e = {0};
        char path[256], *text = g ? hf_config_text(g, DT_F32, false, &e) : NULL;
        snprintf(path, sizeof path, "%s/config.json", dir);
        FILE *f = fopen(path, "w");
        CHECK(text && f && fputs(text, f) >= 0 && !fclose(f));
        h = model_load(dir, dev, &e);
        CHECK_MSG(h != NULL, "%s", e.msg);
        if (g && h) {
            const struct model_config *a = &g->cfg, *b = &h->cfg;
            CHECK(a->C == b->C && a->L == b->L && a->H == b->H && a->K == b->K && a->D == b->D && a->F == b->F);
            CHECK(a->V == b->V && a->max_pos == b->max_pos && a->norm_eps == b->norm_eps && a->window == b->window);
            CHECK(a->rope_theta == b->rope_theta && a->rope_scaling.factor == b->rope_scaling.factor);
            CHECK(a->rope_scaling.type == b->rope_scaling.type &&
                  a->rope_scaling.original_max_pos == b->rope_scaling.original_max_pos &&
                  a->rope_scaling.attention_factor == b->rope_scaling.attention_factor);
            CHECK(!g->inv_freq_long == !h->inv_freq_long &&
                  (!g->inv_freq_long || !memcmp(g->inv_freq_long, h->inv_freq_long, 2 * sizeof(float))));
            CHECK(a->tied == b->tied && !memcmp(g->inv_freq, h->inv_freq, 2 * sizeof(float)));
        }
        free(text);
        model_free(g);
        model_free(h);
    }
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/peft-config-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(root)) return 1;
    snprintf(dir, sizeof dir, "%s/model", root);
    snprintf(file, sizeof file, "%s/m.gguf", root);
    mkdir(dir, 0777);
    setenv("XDG_CACHE_HOME", root, 1);
    dev = dev_open(DEVICE_CPU, 1, NULL);
    RUN(test_rows, "model_config: every row of the tables");
    RUN(test_hf_popular, "model_config: config.json of known models");
    RUN(test_rope_lengths, "model_config: lengths and factors of rotary scaling");
    RUN(test_hf_values, "model_config: values of config.json");
    RUN(test_hf_refused, "model_config: what config.json is refused for");
    RUN(test_hf_tensors, "model_config: tensors of a directory");
    RUN(test_qwen2_window, "model_config: Qwen2's window");
    RUN(test_gguf, "model_config: keys of GGUF");
    RUN(test_gguf_tensors, "model_config: tensors of GGUF");
    RUN(test_round_trip, "model_config: what is written for a GGUF file");
    dev_close(dev);
    tree_remove(root);
    return test_failed;
}
