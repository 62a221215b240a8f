/* load_json: Hugging Face tokenizer.json with a BPE model. What it does is taken over or refused, never ignored, but
 * for two things that are the caller's: truncation and padding. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/format/json.h"
#include "libcommon/token/impl.h"

static struct str text_of(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_string(v) ? (struct str){json_string_value(v), json_string_length(v)} : (struct str){"", 0};
}

static bool flag_of(const json_t *o, const char *key, bool def)
{
    const json_t *v = json_object_get(o, key);
    return json_is_boolean(v) ? json_is_true(v) : def;
}

static int unsupported(struct err *e, const char *what, struct str s)
{
    return err_set(e, E_TOKEN_UNSUPPORTED, "%s %s is not supported", what, err_quote(s.p, s.n));
}

/* {"String": x} or {"Regex": x}; *regex tells which. */
static struct str pattern_of(const json_t *o, bool *regex)
{
    const json_t *p = json_object_get(o, "pattern");
    *regex = json_is_string(json_object_get(p, "Regex"));
    return text_of(p, *regex ? "Regex" : "String");
}

static int normalizer(struct tokenizer *t, const json_t *o, struct err *e)
{
    struct str type = text_of(o, "type");
    int rc = 0;
    if (json_is_null(o) || !o) return 0;
    if (str_is(type, "Sequence")) {
        const json_t *list = json_object_get(o, "normalizers");
        for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) rc = normalizer(t, json_array_get(list, i), e);
        return rc;
    }
    if (str_is(type, "NFC")) return tokenizer_norm(t, NORM_NFC, NULL, 0, NULL, 0, e);
    if (str_is(type, "Prepend")) {
        struct str s = text_of(o, "prepend");
        return tokenizer_norm(t, NORM_PREPEND, NULL, 0, s.p, s.n, e);
    }
    if (str_is(type, "Replace")) {
        bool regex;
        struct str from = pattern_of(o, &regex), to = text_of(o, "content");
        if (regex) return unsupported(e, "normaliser Replace with the pattern", from);
        return tokenizer_norm(t, NORM_REPLACE, from.p, from.n, to.p, to.n, e);
    }
    return unsupported(e, "normaliser", type);
}

static int rule(struct tokenizer *t, enum pretok_rule r, struct err *e)
{
    if (t->pre.n == PRETOK_LEVELS) return err_set(e, E_TOKEN_UNSUPPORTED, "more than %d pre-tokenizers", PRETOK_LEVELS);
    t->pre.rule[t->pre.n++] = r;
    return 0;
}

static int split(struct tokenizer *t, const json_t *o, struct err *e)
{
    bool regex;
    struct str pattern = pattern_of(o, &regex), behavior = text_of(o, "behavior");
    bool invert = flag_of(o, "invert", false);
    if (!regex && str_is(pattern, " ") && str_is(behavior, "MergedWithPrevious") && !invert)
        return rule(t, PRETOK_SPACE_AFTER, e);
    int r = regex ? pretok_of_regex(pattern.p, pattern.n) : -1;
    /* For patterns that match all of a text, Removed with invert is the same as Isolated. */
    bool isolated = str_is(behavior, "Isolated") && !invert;
    bool removed = str_is(behavior, "Removed") && invert && r >= 0 && r <= PRETOK_QWEN2;
    if (r >= 0 && (isolated || removed)) return rule(t, (enum pretok_rule)r, e);
    err_set(e, E_TOKEN_UNSUPPORTED, "pre-tokenizer Split (%.*s%s) with the pattern %s is not supported",
            (int)behavior.n, behavior.p, invert ? ", inverted" : "", err_quote(pattern.p, pattern.n));
    return err_hint(e, "patterns are matched against a list of known ones; please report the model");
}

static int metaspace(struct tokenizer *t, const json_t *o, struct err *e)
{
    struct str scheme = text_of(o, "prepend_scheme"), rep = text_of(o, "replacement");
    if (!str_is(rep, SPM_SPACE)) return unsupported(e, "pre-tokenizer Metaspace with the replacement", rep);
    t->meta = true;
    memcpy(t->prefix_text, SPM_SPACE, 4);
    if (scheme.n == 0) scheme = flag_of(o, "add_prefix_space", true) ? STRZ("always") : STRZ("never");
    t->prefix = str_is(scheme, "always") ? PREFIX_ALWAYS : str_is(scheme, "first") ? PREFIX_FIRST : PREFIX_NONE;
    return flag_of(o, "split", true) ? rule(t, PRETOK_META, e) : 0;
}

static int pre_tokenizer(struct tokenizer *t, const json_t *o, struct err *e)
{
    struct str type = text_of(o, "type");
    int rc = 0;
    if (json_is_null(o) || !o) return 0;
    if (t->kind == TOK_BYTES) return unsupported(e, "after ByteLevel, the pre-tokenizer", type);
    if (t->meta) return unsupported(e, "after Metaspace, the pre-tokenizer", type);
    if (str_is(type, "Sequence")) {
        const json_t *list = json_object_get(o, "pretokenizers");
        for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) rc = pre_tokenizer(t, json_array_get(list, i), e);
        return rc;
    }
    if (str_is(type, "Split")) return split(t, o, e);
    if (str_is(type, "Metaspace"))
        return t->pre.n ? unsupported(e, "after others, the pre-tokenizer", type) : metaspace(t, o, e);
    if (str_is(type, "Digits"))
        return rule(t, flag_of(o, "individual_digits", false) ? PRETOK_DIGITS : PRETOK_DIGIT_RUNS, e);
    if (!str_is(type, "ByteLevel")) return unsupported(e, "pre-tokenizer", type);
    t->kind = TOK_BYTES;
    if (flag_of(o, "add_prefix_space", true)) {
        if (t->pre.n) return unsupported(e, "after others, add_prefix_space of the pre-tokenizer", type);
        t->prefix = PREFIX_ALWAYS;
        memcpy(t->prefix_text, " ", 2);
    }
    return flag_of(o, "use_regex", true) ? rule(t, PRETOK_GPT2, e) : 0;
}

static int decoder(struct tokenizer *t, const json_t *o, struct err *e)
{
    struct str type = text_of(o, "type");
    int rc = 0;
    if (json_is_null(o) || !o) return 0;
    if (str_is(type, "Sequence")) {
        const json_t *list = json_object_get(o, "decoders");
        for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) rc = decoder(t, json_array_get(list, i), e);
        return rc;
    }
    if (str_is(type, "Metaspace")) {
        struct str scheme = text_of(o, "prepend_scheme");
        t->strip_first = scheme.n ? !str_is(scheme, "never") : flag_of(o, "add_prefix_space", true);
        return 0;
    }
    if (str_is(type, "Strip")) {
        json_int_t start = json_integer_value(json_object_get(o, "start"));
        if (start == 1 && str_is(text_of(o, "content"), " ")) t->strip_first = true;
        return 0;
    }
    if (str_is(type, "Replace")) {
        bool regex;
        struct str from = pattern_of(o, &regex);
        if (!regex && str_is(from, SPM_SPACE) && str_is(text_of(o, "content"), " ")) return 0;
        return unsupported(e, "decoder Replace with the pattern", from);
    }
    if (str_is(type, "ByteFallback") || str_is(type, "Fuse") || str_is(type, "ByteLevel")) return 0;
    return unsupported(e, "decoder", type);
}

/* What stands before the sequence in the post-processor: nothing or BOS. Tokens behind it are the business of --eos. */
static int post_processor(struct tokenizer *t, const json_t *o, struct err *e)
{
    struct str type = text_of(o, "type");
    int rc = 0;
    if (json_is_null(o) || !o || str_is(type, "ByteLevel")) return 0;
    if (str_is(type, "Sequence")) {
        const json_t *list = json_object_get(o, "processors");
        for (size_t i = 0; i < json_array_size(list) && rc == 0; i++)
            rc = post_processor(t, json_array_get(list, i), e);
        return rc;
    }
    const json_t *id = NULL;
    if (str_is(type, "RobertaProcessing") || str_is(type, "BertProcessing")) {
        id = json_array_get(json_object_get(o, "cls"), 1);
    } else if (str_is(type, "TemplateProcessing")) {
        const json_t *list = json_object_get(o, "single");
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *x = json_array_get(list, i);
            if (json_object_get(x, "Sequence")) break;
            struct str name = text_of(json_object_get(x, "SpecialToken"), "id");
            char *z = mem_dup(name.p, name.n);
            const json_t *ids = json_object_get(json_object_get(json_object_get(o, "special_tokens"), z), "ids");
            free(z);
            if (i > 0 || json_array_size(ids) != 1)
                return unsupported(e, "more than one token put before a text:", name);
            id = json_array_get(ids, 0);
        }
    } else {
        return unsupported(e, "post-processor", type);
    }
    if (!id) return 0;
    t->bos = json_integer_value(id);
    t->adds_bos = true;
    return t->bos < 0 ? err_set(e, E_TOKENIZER, "post-processor: id %lld", (long long)t->bos) : 0;
}

static int vocab(struct tokenizer *t, json_t *o, struct err *e)
{
    const char *key;
    size_t n;
    json_t *v;
    if (!json_is_object(o)) return err_set(e, E_TOKENIZER, "model.vocab is missing or no object");
    json_object_keylen_foreach(o, key, n, v)
    {
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id >= VOCAB_MAX_IDS)
            return err_set(e, E_TOKENIZER, "model.vocab: %s has no id from 0 to %u", err_quote(key, n),
                           VOCAB_MAX_IDS - 1);
        int rc = n ? vocab_add(&t->vocab, (uint32_t)id, key, n, e) : 0; /* an empty piece is met in no text */
        if (rc < 0) return rc;
    }
    return 0;
}

/* "a b", as Hugging Face reads it: one space, between the two. Pieces that hold spaces are written as pairs. */
static bool cut_merge(struct str s, struct str *l, struct str *r)
{
    const char *sp = memchr(s.p, ' ', s.n);
    if (!sp || memchr(sp + 1, ' ', (size_t)(s.p + s.n - sp - 1))) return false;
    *l = (struct str){s.p, (size_t)(sp - s.p)};
    *r = (struct str){sp + 1, s.n - l->n - 1};
    return true;
}

static int merges(struct tokenizer *t, const json_t *list, struct err *e)
{
    if (!json_is_array(list)) return err_set(e, E_TOKENIZER, "model.merges is missing or no array");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i);
        struct str l, r;
        if (json_is_string(m)) {
            if (!cut_merge((struct str){json_string_value(m), json_string_length(m)}, &l, &r))
                return err_set(e, E_TOKENIZER, "merge %zu is %s, expected two pieces and one space", i,
                               err_quote(json_string_value(m), json_string_length(m)));
        } else {
            const json_t *a = json_array_get(m, 0), *b = json_array_get(m, 1);
            if (json_array_size(m) != 2 || !json_is_string(a) || !json_is_string(b))
                return err_set(e, E_TOKENIZER, "merge %zu is no pair of strings", i);
            l = (struct str){json_string_value(a), json_string_length(a)};
            r = (struct str){json_string_value(b), json_string_length(b)};
        }
        int rc = tokenizer_merge(t, (uint32_t)i, l, r, e);
        if (rc < 0) return rc;
    }
    return 0;
}

static int model(struct tokenizer *t, const json_t *o, struct err *e)
{
    struct str type = text_of(o, "type"), unk = text_of(o, "unk_token");
    if (type.n && !str_is(type, "BPE")) return unsupported(e, "model", type);
    if (json_number_value(json_object_get(o, "dropout")) > 0)
        return err_set(e, E_TOKEN_UNSUPPORTED, "model.dropout is not supported");
    if (text_of(o, "continuing_subword_prefix").n)
        return unsupported(e, "continuing_subword_prefix", text_of(o, "continuing_subword_prefix"));
    if (text_of(o, "end_of_word_suffix").n)
        return unsupported(e, "end_of_word_suffix", text_of(o, "end_of_word_suffix"));
    t->ignore_merges = flag_of(o, "ignore_merges", false);
    t->byte_fallback = flag_of(o, "byte_fallback", false);
    t->fuse_unk = flag_of(o, "fuse_unk", false);
    int rc = vocab(t, json_object_get(o, "vocab"), e);
    if (rc == 0) rc = merges(t, json_object_get(o, "merges"), e);
    if (rc == 0 && unk.n) t->unk = vocab_find(&t->vocab, unk.p, unk.n);
    return rc;
}

static int added(struct tokenizer *t, const json_t *list, struct err *e)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i), *id = json_object_get(o, "id");
        json_int_t k = json_integer_value(id);
        if (!json_is_integer(id) || k < 0 || k >= VOCAB_MAX_IDS)
            return err_set(e, E_TOKENIZER, "added_tokens[%zu] has no id from 0 to %u", i, VOCAB_MAX_IDS - 1);
        int rc = tokenizer_add_json(t, (uint32_t)k, o, e);
        if (rc < 0) return rc;
    }
    return 0;
}

int tokenizer_add_json(struct tokenizer *t, uint32_t id, const struct json_t *o, struct err *e)
{
    struct str s = text_of(o, "content");
    unsigned flags = 0;
    if (flag_of(o, "special", false)) flags |= ADDED_SPECIAL;
    if (flag_of(o, "lstrip", false)) flags |= ADDED_LSTRIP;
    if (flag_of(o, "rstrip", false)) flags |= ADDED_RSTRIP;
    if (flag_of(o, "single_word", false)) flags |= ADDED_SINGLE_WORD;
    if (flag_of(o, "normalized", !(flags & ADDED_SPECIAL))) flags |= ADDED_NORMALIZED;
    return tokenizer_add_piece(t, id, s.p, s.n, flags, e);
}

int tokenizer_load_json(struct tokenizer *t, const char *text, size_t n, const char *name, struct err *e)
{
    json_t *j = json_parse(text, n, name, E_TOKENIZER, e);
    if (!j) return -e->id;
    t->kind = TOK_SPM; /* unless a ByteLevel pre-tokenizer is met */
    int rc = normalizer(t, json_object_get(j, "normalizer"), e);
    if (rc == 0) rc = pre_tokenizer(t, json_object_get(j, "pre_tokenizer"), e);
    if (rc == 0) rc = decoder(t, json_object_get(j, "decoder"), e);
    if (rc == 0) rc = model(t, json_object_get(j, "model"), e);
    if (rc == 0) rc = added(t, json_object_get(j, "added_tokens"), e);
    if (rc == 0) rc = post_processor(t, json_object_get(j, "post_processor"), e);
    json_decref(j);
    return rc;
}
