/* config: settings that stand beside a tokenizer's file in a model directory.
 *   EOS: eos_token of tokenizer_config.json, of special_tokens_map.json; eos_token_id (the first of a list) of
 *        generation_config.json, of config.json; else the usual names among the added tokens.
 *   What ends a text that is generated: EOS, and all of eos_token_id of generation_config.json, else of config.json.
 *   BOS: bos_token of tokenizer_config.json, of special_tokens_map.json. Whether a text gets it: add_bos_token of
 *        tokenizer_config.json, else the post-processor of tokenizer.json.
 *   Chat template: chat_template.jinja, else that of tokenizer_config.json.
 * Where the tokenizer's own file lists no added tokens, added_tokens_decoder of tokenizer_config.json is taken, and
 * tokenizer_class says which pre-tokenizer vocab.json and merges.txt go with. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/num.h"
#include "libcommon/base/out.h"
#include "libcommon/format/json.h"
#include "libcommon/token/impl.h"

#define CONFIG_MAX ((size_t)16 << 20)

/* The object in dir/name; NULL with e->id == 0: no such file. */
static json_t *load(const char *dir, const char *name, struct err *e)
{
    char *p = path_join(dir, name);
    json_t *j = file_exists(p) ? json_parse_file(p, CONFIG_MAX, E_TOKENIZER, e) : NULL;
    free(p);
    return j;
}

/* The member is not of the type that it has to be. */
static int malformed(const char *file, const char *key, const json_t *v, const char *want, struct err *e)
{
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    err_set(e, E_TOKENIZER, "%s: %s is %s, expected %s", file, key, text ? err_quotez(text) : "?", want);
    free(text);
    return -e->id;
}

/* A token given as "text" or {"content": "text"}: its id, -1 if it is none of the vocabulary or not given, or an error
 * below that. */
static int64_t token_id(const struct tokenizer *t, const json_t *o, const char *file, const char *key, struct err *e)
{
    const json_t *given = json_object_get(o, key), *v = given;
    if (json_is_object(v)) v = json_object_get(v, "content");
    if (!given || json_is_null(given)) return -1;
    if (!json_is_string(v)) return malformed(file, key, given, "a token", e);
    uint32_t id = vocab_find(&t->vocab, json_string_value(v), json_string_length(v));
    return id == VOCAB_NONE ? -1 : (int64_t)id;
}

/* The ids of eos_token_id, a number or a list of them, into ids. -1 stands for none in some files. */
static int end_ids(const json_t *o, const char *file, struct u32vec *ids, struct err *e)
{
    static const char key[] = "eos_token_id";
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) return 0;
    const size_t n = json_is_array(v) ? json_array_size(v) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(v) ? json_array_get(v, i) : v;
        const json_int_t x = json_integer_value(id);
        if (!json_is_integer(id) || x < -1 || x >= VOCAB_MAX_IDS) return malformed(file, key, v, "ids of tokens", e);
        if (x >= 0) u32vec_add(ids, (uint32_t)x);
    }
    return 0;
}

static int added_tokens(struct tokenizer *t, json_t *o, struct err *e)
{
    const char *key;
    json_t *v;
    json_object_foreach(o, key, v)
    {
        uint64_t id;
        if (!num_u64(key, strlen(key), &id) || id >= VOCAB_MAX_IDS)
            return err_set(e, E_TOKENIZER, "added_tokens_decoder: %s is no id", err_quotez(key));
        int rc = tokenizer_add_json(t, (uint32_t)id, v, e);
        if (rc < 0) return rc;
    }
    return 0;
}

static int set_class(struct tokenizer *t, const json_t *config, struct err *e)
{
    const char *name = json_string_value(json_object_get(config, "tokenizer_class"));
    if (!name || !strncmp(name, "GPT2Tokenizer", 13)) return 0;
    if (!strncmp(name, "Qwen2Tokenizer", 14)) {
        t->pre = (struct pretok){1, {PRETOK_QWEN2}};
        return tokenizer_norm(t, NORM_NFC, NULL, 0, NULL, 0, e);
    }
    err_set(e, E_TOKEN_UNSUPPORTED, "vocab.json and merges.txt of the class %s are not supported", err_quotez(name));
    return err_hint(e, "save the tokenizer with transformers (a fast one): that writes tokenizer.json");
}

/* Tokens that the file itself does not tell. */
static int defaults(struct tokenizer *t, struct err *e)
{
    static const char end[] = "<|endoftext|>";
    if (t->added_list.n) return 0;
    if (t->tiktoken) return tokenizer_tiktoken_specials(t, e);
    uint32_t id = vocab_find(&t->vocab, end, sizeof end - 1);
    if (t->kind != TOK_BYTES || id == VOCAB_NONE) return 0;
    t->bos = t->eos = id; /* GPT-2 */
    return tokenizer_add_piece(t, id, end, sizeof end - 1, ADDED_SPECIAL, e);
}

static void chat_template(struct tokenizer *t, const char *dir, const json_t *config)
{
    char *p = path_join(dir, "chat_template.jinja");
    struct err ignored = {0};
    size_t n;
    if (file_exists(p)) t->chat_template = file_read(p, CONFIG_MAX, &n, &ignored);
    free(p);
    const json_t *v = json_object_get(config, "chat_template");
    for (size_t i = 0; json_is_array(v) && i < json_array_size(v); i++) {
        const json_t *x = json_array_get(v, i);
        const char *name = json_string_value(json_object_get(x, "name"));
        if (name && !strcmp(name, "default")) {
            v = json_object_get(x, "template");
            break;
        }
    }
    if (!t->chat_template && json_is_string(v)) t->chat_template = mem_dup(json_string_value(v), json_string_length(v));
}

static int special_ids(struct tokenizer *t, const json_t *config, const json_t *map, const json_t *generation,
                       const json_t *model, struct err *e)
{
    static const char *const ends[] = {"</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>", "<|im_end|>", "<|eot_id|>",
                                       NULL};
    int rc = end_ids(generation, "generation_config.json", &t->ends, e);
    if (!rc && !t->ends.n) rc = end_ids(model, "config.json", &t->ends, e);
    if (rc) return rc;
    int64_t id = token_id(t, config, "tokenizer_config.json", "eos_token", e);
    if (id == -1) id = token_id(t, map, "special_tokens_map.json", "eos_token", e);
    if (id == -1 && t->ends.n && t->ends.v[0] < t->vocab.n) id = t->ends.v[0];
    if (id < -1) return (int)id;
    if (id < 0) id = t->eos;
    t->eos = id >= 0 ? id : tokenizer_named(t, ends);

    id = token_id(t, config, "tokenizer_config.json", "bos_token", e);
    if (id == -1) id = token_id(t, map, "special_tokens_map.json", "bos_token", e);
    if (id < -1) return (int)id;
    if (id >= 0) t->bos = id;
    const json_t *adds = json_object_get(config, "add_bos_token");
    if (json_is_boolean(adds))
        t->adds_bos = json_is_true(adds);
    else if (adds && !json_is_null(adds))
        return malformed("tokenizer_config.json", "add_bos_token", adds, "true or false", e);
    return 0;
}

int tokenizer_load_config(struct tokenizer *t, const char *dir, bool added, struct err *e)
{
    json_t *config = load(dir, "tokenizer_config.json", e), *map = NULL, *generation = NULL, *model = NULL;
    int rc = 0;
    if (!e->id) map = load(dir, "special_tokens_map.json", e);
    if (!e->id) generation = load(dir, "generation_config.json", e);
    if (!e->id) model = load(dir, "config.json", e);
    if (e->id) rc = -e->id;
    if (rc == 0 && added && t->kind == TOK_BYTES && !t->tiktoken) rc = set_class(t, config, e);
    if (rc == 0 && added && t->kind == TOK_BYTES)
        rc = added_tokens(t, json_object_get(config, "added_tokens_decoder"), e);
    if (rc == 0 && added) rc = defaults(t, e);
    if (rc == 0) {
        chat_template(t, dir, config);
        rc = special_ids(t, config, map, generation, model, e);
    }
    json_decref(config);
    json_decref(map);
    json_decref(generation);
    json_decref(model);
    return rc;
}
