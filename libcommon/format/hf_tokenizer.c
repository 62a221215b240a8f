/* hf_tokenizer: see hf_tokenizer.h. Sources: the serialisation of Hugging Face tokenizers; llama.cpp's names of
 * pre-tokenizers. */
#include "libcommon/format/hf_tokenizer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define T "tokenizer.ggml."
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER = 4 }; /* tokenizer.ggml.token_type */
#define UNDERSCORE "\xe2\x96\x81"                        /* U+2581, SentencePiece's space */

struct vocab {
    const struct gguf *g;
    struct str *token;
    uint64_t n;
    const struct gguf_kv *type, *score; /* NULL: absent */
    json_t *id;                         /* token -> id */
    bool spm, add_bos, space_prefix;
    int64_t bos, eos, unk, pad; /* -1: none */
};

static int type_of(const struct vocab *v, uint64_t i) { return v->type ? (int)gguf_int_at(v->type, i) : NORMAL; }

/* ---- reading ------------------------------------------------------------------------------- */

static int special_id(const struct vocab *v, const char *key, int64_t *id, struct err *e)
{
    int rc = gguf_get_i64(v->g, key, id, e);
    if (rc > 0 && (*id < 0 || (uint64_t)*id >= v->n))
        return err_set(e, E_TOKENIZER, "%s: %s is %lld, the vocabulary has %llu tokens", v->g->path, key,
                       (long long)*id, (unsigned long long)v->n);
    return rc < 0 ? rc : 0;
}

static int read_kind(struct vocab *v, struct err *e)
{
    struct str model = {0}, pre = {0};
    int rc = gguf_get_str(v->g, T "model", &model, e);
    if (rc < 0) return rc;
    v->spm = model.n == 5 && !memcmp(model.p, "llama", 5);
    if (!v->spm && !(model.n == 4 && !memcmp(model.p, "gpt2", 4)))
        return err_set(e, E_TOKEN_UNSUPPORTED,
                       "%s: " T "model is %s; only llama and gpt2 can be written as tokenizer.json", v->g->path,
                       err_quote(model.p, model.n));
    rc = gguf_get_str(v->g, T "pre", &pre, e);
    bool llama_bpe = pre.n >= 5 && !memcmp(pre.p, "llama", 5);
    v->add_bos = v->spm || llama_bpe;
    v->space_prefix = true;
    if (rc >= 0) rc = gguf_get_bool(v->g, T "add_bos_token", &v->add_bos, e);
    if (rc >= 0) rc = gguf_get_bool(v->g, T "add_space_prefix", &v->space_prefix, e);
    return rc < 0 ? rc : 0;
}

static int vocab_read(struct vocab *v, const struct gguf *g, struct err *e)
{
    *v = (struct vocab){.g = g, .bos = -1, .eos = -1, .unk = -1, .pad = -1};
    const struct gguf_kv *tokens = gguf_find(g, T "tokens");
    v->token = tokens ? gguf_strings(tokens) : NULL;
    if (!v->token) return err_set(e, E_TOKENIZER, "%s: key " T "tokens is missing or no list of strings", g->path);
    v->n = tokens->n;
    v->type = gguf_find(g, T "token_type");
    v->score = gguf_find(g, T "scores");
    if ((v->type && (v->type->elem == GGUF_STRING || v->type->n != v->n)) ||
        (v->score && (v->score->elem != GGUF_F32 || v->score->n != v->n)))
        return err_set(e, E_TOKENIZER, "%s: token_type or scores do not fit %llu tokens", g->path,
                       (unsigned long long)v->n);
    v->id = json_object();
    for (uint64_t i = 0; i < v->n; i++) {
        if (json_object_getn(v->id, v->token[i].p, v->token[i].n))
            return err_set(e, E_TOKENIZER, "%s: token %s appears twice", g->path,
                           err_quote(v->token[i].p, v->token[i].n));
        if (json_object_setn_new(v->id, v->token[i].p, v->token[i].n, json_integer((json_int_t)i)))
            return err_set(e, E_TOKENIZER, "%s: token %llu is not UTF-8", g->path, (unsigned long long)i);
    }
    int rc = read_kind(v, e);
    if (!rc) rc = special_id(v, T "bos_token_id", &v->bos, e);
    if (!rc) rc = special_id(v, T "eos_token_id", &v->eos, e);
    if (!rc) rc = special_id(v, T "unknown_token_id", &v->unk, e);
    if (!rc) rc = special_id(v, T "padding_token_id", &v->pad, e);
    return rc;
}

static json_t *token_json(const struct vocab *v, int64_t id) { return json_stringn(v->token[id].p, v->token[id].n); }

/* ---- merges -------------------------------------------------------------------------------- */

struct pair { /* a merge of SentencePiece: token `whole` from its first `cut` bytes and the rest */
    uint64_t whole;
    size_t cut;
    float score;
    int chars_l, chars_r;
    json_int_t l, r;
    size_t order;
};

static int chars(const char *s, size_t n)
{
    int c = 0;
    for (size_t i = 0; i < n; i++) c += ((unsigned char)s[i] & 0xc0) != 0x80;
    return c;
}

static int by_parts(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    if (x->l != y->l) return x->l < y->l ? -1 : 1;
    return (x->r > y->r) - (x->r < y->r);
}

/* Best score first; among equals the longer first part, then the longer second, then the order of the vocabulary. */
static int by_rank(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->chars_l != y->chars_l) return y->chars_l - x->chars_l;
    if (x->chars_r != y->chars_r) return y->chars_r - x->chars_r;
    return x->order < y->order ? -1 : 1;
}

/* Every way to make a token from two tokens is a merge, ranked by the token's score. */
static json_t *merges_from_scores(const struct vocab *v)
{
    struct pair *p = NULL;
    size_t n = 0, cap = 0;
    for (uint64_t i = 0; i < v->n; i++) {
        if (type_of(v, i) != NORMAL && type_of(v, i) != USER) continue;
        struct str t = v->token[i];
        size_t first = n;
        for (size_t cut = 1; cut < t.n; cut++) {
            if (((unsigned char)t.p[cut] & 0xc0) == 0x80) continue;
            json_t *l = json_object_getn(v->id, t.p, cut), *r = json_object_getn(v->id, t.p + cut, t.n - cut);
            if (!l || !r) continue;
            p = mem_grow(p, &cap, n + 1, sizeof *p);
            p[n++] = (struct pair){i,
                                   cut,
                                   (float)gguf_float_at(v->score, i),
                                   chars(t.p, cut),
                                   chars(t.p + cut, t.n - cut),
                                   json_integer_value(l),
                                   json_integer_value(r),
                                   0};
        }
        if (n > first) qsort(p + first, n - first, sizeof *p, by_parts);
    }
    for (size_t i = 0; i < n; i++) p[i].order = i;
    if (n) qsort(p, n, sizeof *p, by_rank);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        struct str t = v->token[p[i].whole];
        json_array_append_new(list, json_pack("[s%, s%]", t.p, p[i].cut, t.p + p[i].cut, t.n - p[i].cut));
    }
    free(p);
    return list;
}

static json_t *merges_of(const struct vocab *v, struct err *e)
{
    const struct gguf_kv *kv = gguf_find(v->g, T "merges");
    if (v->spm) {
        if (v->score) return merges_from_scores(v);
        err_set(e, E_TOKENIZER, "%s: key " T "scores is missing", v->g->path);
        return NULL;
    }
    struct str *s = kv ? gguf_strings(kv) : NULL;
    if (!s) {
        err_set(e, E_TOKENIZER, "%s: key " T "merges is missing or no list of strings", v->g->path);
        return NULL;
    }
    json_t *list = json_array();
    for (uint64_t i = 0; i < kv->n; i++)
        if (json_array_append_new(list, json_stringn(s[i].p, s[i].n)) && !e->id)
            err_set(e, E_TOKENIZER, "%s: merge %llu is not UTF-8", v->g->path, (unsigned long long)i);
    free(s);
    return list;
}

/* ---- tokenizer.json ------------------------------------------------------------------------ */

#define WORDS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define REST  "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static json_t *byte_level(bool regex)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex",
                     regex);
}

static json_t *split_then_bytes(const char *regex)
{
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence", "pretokenizers", "type", "Split",
                     "pattern", "Regex", regex, "behavior", "Isolated", "invert", 0, byte_level(false));
}

static const struct {
    const char *name;
    enum { BYTES, DIGITS, LLAMA3, QWEN2 } kind;
} pre_tokenizers[] = {{"gpt-2", BYTES},      {"mpt", BYTES},        {"olmo", BYTES},      {"phi-2", BYTES},
                      {"smollm", DIGITS},    {"starcoder", DIGITS}, {"refact", DIGITS},   {"command-r", DIGITS},
                      {"llama-bpe", LLAMA3}, {"llama3", LLAMA3},    {"llama-v3", LLAMA3}, {"qwen2", QWEN2}};

static int pre_tokenizer(const struct vocab *v, json_t *tok, json_t *model, struct err *e)
{
    struct str pre = {0};
    int rc = gguf_get_str(v->g, T "pre", &pre, e), kind = -1;
    if (rc < 0) return rc;
    for (size_t i = 0; i < sizeof pre_tokenizers / sizeof *pre_tokenizers; i++)
        if (strlen(pre_tokenizers[i].name) == pre.n && !memcmp(pre_tokenizers[i].name, pre.p, pre.n))
            kind = pre_tokenizers[i].kind;
    json_t *p = NULL;
    switch (kind) {
    case BYTES:
        p = byte_level(true);
        break;
    case DIGITS:
        p = json_pack("{s:s, s:[{s:s, s:b}, o]}", "type", "Sequence", "pretokenizers", "type", "Digits",
                      "individual_digits", 1, byte_level(true));
        break;
    case LLAMA3:
        p = split_then_bytes(WORDS "\\p{N}{1,3}" REST);
        break;
    case QWEN2:
        p = split_then_bytes(WORDS "\\p{N}" REST);
        break;
    default:
        return err_set(e, E_TOKEN_UNSUPPORTED, "%s: " T "pre is %s, which cannot be written as tokenizer.json yet",
                       v->g->path, pre.p ? err_quote(pre.p, pre.n) : "missing");
    }
    json_object_set_new(tok, "normalizer", kind == QWEN2 ? json_pack("{s:s}", "type", "NFC") : json_null());
    json_object_set_new(tok, "pre_tokenizer", p);
    json_object_set_new(tok, "decoder", byte_level(true));
    json_object_set_new(model, "ignore_merges", json_boolean(kind == LLAMA3));
    return 0;
}

static void spm_parts(const struct vocab *v, json_t *tok, json_t *model)
{
    json_t *replace = json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ", "content",
                                UNDERSCORE);
    json_t *back = json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", UNDERSCORE, "content", " ");
    json_t *normal = json_array(), *decode = json_array();
    if (v->space_prefix)
        json_array_append_new(normal, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", UNDERSCORE));
    json_array_append_new(normal, replace);
    json_array_append_new(decode, back);
    json_array_append_new(decode, json_pack("{s:s}", "type", "ByteFallback"));
    json_array_append_new(decode, json_pack("{s:s}", "type", "Fuse"));
    if (v->space_prefix)
        json_array_append_new(
            decode, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
    json_object_set_new(tok, "normalizer", json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", normal));
    json_object_set_new(tok, "pre_tokenizer", json_null());
    json_object_set_new(tok, "decoder", json_pack("{s:s, s:o}", "type", "Sequence", "decoders", decode));
    json_object_set_new(model, "ignore_merges", json_false());
}

static json_t *post_processor(const struct vocab *v)
{
    if (!v->add_bos || v->bos < 0) return json_null();
    json_t *bos = token_json(v, v->bos);
    const char *s = json_string_value(bos);
    json_t *j = json_pack("{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:[{s:{s:s, s:i}}, {s:{s:s, "
                          "s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}],"
                          " s:{s:{s:s, s:[I], s:[s]}}}",
                          "type", "TemplateProcessing", "single", "SpecialToken", "id", s, "type_id", 0, "Sequence",
                          "id", "A", "type_id", 0, "pair", "SpecialToken", "id", s, "type_id", 0, "Sequence", "id", "A",
                          "type_id", 0, "SpecialToken", "id", s, "type_id", 1, "Sequence", "id", "B", "type_id", 1,
                          "special_tokens", s, "id", s, "ids", (json_int_t)v->bos, "tokens", s);
    json_decref(bos);
    return j;
}

static json_t *added_tokens(const struct vocab *v)
{
    json_t *list = json_array();
    for (uint64_t i = 0; i < v->n; i++) {
        int type = type_of(v, i);
        if (type != CONTROL && type != USER && type != UNKNOWN) continue;
        json_array_append_new(list, json_pack("{s:I, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)i, "content",
                                              token_json(v, (int64_t)i), "single_word", 0, "lstrip", 0, "rstrip", 0,
                                              "normalized", 0, "special", type != USER));
    }
    return list;
}

static json_t *tokenizer_json(const struct vocab *v, struct err *e)
{
    json_t *tok = json_pack("{s:s, s:n, s:n, s:o}", "version", "1.0", "truncation", "padding", "added_tokens",
                            added_tokens(v));
    json_t *model = json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b}", "type", "BPE", "dropout", "unk_token",
                              v->spm && v->unk >= 0 ? token_json(v, v->unk) : json_null(), "continuing_subword_prefix",
                              "end_of_word_suffix", "fuse_unk", v->spm, "byte_fallback", v->spm);
    if (v->spm)
        spm_parts(v, tok, model);
    else
        pre_tokenizer(v, tok, model, e);
    json_t *merges = merges_of(v, e);
    json_object_set_new(tok, "post_processor", post_processor(v));
    json_object_set(model, "vocab", v->id);
    json_object_set_new(model, "merges", merges ? merges : json_null());
    json_object_set_new(tok, "model", model);
    return tok;
}

/* ---- the other two files ------------------------------------------------------------------- */

static int tokenizer_config(const struct vocab *v, json_t *config, json_t *map, struct err *e)
{
    const struct {
        const char *name;
        int64_t id;
    } special[] = {{"bos_token", v->bos}, {"eos_token", v->eos}, {"unk_token", v->unk}, {"pad_token", v->pad}};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (special[i].id >= 0) {
            json_object_set_new(config, special[i].name, token_json(v, special[i].id));
            json_object_set_new(map, special[i].name, token_json(v, special[i].id));
        }
    json_object_set_new(config, "clean_up_tokenization_spaces", json_false());
    json_object_set_new(config, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
    struct str s = {0};
    int rc = gguf_get_str(v->g, "general.architecture", &s, e);
    int64_t context = 0;
    if (rc > 0) {
        char *key = mem_printf("%.*s.context_length", (int)s.n, s.p);
        rc = gguf_get_i64(v->g, key, &context, e);
        free(key);
    }
    if (rc >= 0 && context > 0) json_object_set_new(config, "model_max_length", json_integer(context));
    if (rc >= 0) rc = gguf_get_str(v->g, "tokenizer.chat_template", &s, e);
    if (rc > 0 && json_object_set_new(config, "chat_template", json_stringn(s.p, s.n)))
        rc = err_set(e, E_TOKENIZER, "%s: the chat template is not UTF-8", v->g->path);
    return rc < 0 ? rc : 0;
}

static int put(struct outdir *d, const char *name, const json_t *j, size_t flags, struct err *e)
{
    char *text = json_dumps(j, flags);
    if (!text) return err_set(e, E_TOKENIZER, "%s: the tokenizer is no valid JSON", name);
    int rc = outdir_put(d, name, text, strlen(text), e);
    free(text);
    return rc;
}

int hf_tokenizer_put(const struct gguf *g, struct outdir *d, struct err *e)
{
    struct vocab v;
    int rc = vocab_read(&v, g, e);
    if (!rc) {
        json_t *tok = tokenizer_json(&v, e), *config = json_object(), *map = json_object();
        rc = -e->id;
        if (!rc) rc = tokenizer_config(&v, config, map, e);
        if (!rc) rc = put(d, "tokenizer.json", tok, JSON_INDENT(1), e);
        if (!rc) rc = put(d, "tokenizer_config.json", config, JSON_INDENT(2) | JSON_SORT_KEYS, e);
        if (!rc) rc = put(d, "special_tokens_map.json", map, JSON_INDENT(2), e);
        json_decref(tok);
        json_decref(config);
        json_decref(map);
    }
    json_decref(v.id);
    free(v.token);
    return rc;
}
