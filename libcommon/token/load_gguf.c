/* load_gguf: the vocabulary inside a GGUF file (keys tokenizer.ggml.*). Model "gpt2" is byte-level BPE with the
 * pre-tokenizer that tokenizer.ggml.pre names; model "llama" is SentencePiece BPE by score. A GGUF vocabulary has no
 * normaliser; where the model's own tokenizer has one (NFC of Qwen2), it is applied, so that training sees the ids that
 * the model was trained on. Token types: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/msg.h"
#include "libcommon/format/gguf.h"
#include "libcommon/token/impl.h"

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };

static int get_id(const struct gguf *g, const char *key, int64_t size, int64_t *out, struct err *e)
{
    int64_t id = -1;
    int rc = gguf_get_i64(g, key, &id, e);
    if (rc <= 0) return rc;
    if (id == -1 || id == UINT32_MAX) return 0;
    if (id < 0 || id >= size)
        return err_set(e, E_TOKENIZER, "%s is %lld, the vocabulary has %lld ids", key, (long long)id, (long long)size);
    *out = id;
    return 1;
}

static const struct gguf_kv *array(const struct gguf *g, const char *key, uint64_t n)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    return kv && kv->type == GGUF_ARRAY && kv->n == n ? kv : NULL;
}

/* Phi-3's converter loses that its special tokens take the white space behind them. */
static bool is_phi3(const struct gguf *g)
{
    struct str s = {0};
    struct err ignored = {0};
    if (gguf_get_str(g, "general.architecture", &s, &ignored) == 1 && str_is(s, "phi3")) return true;
    s = (struct str){0};
    if (gguf_get_str(g, "general.name", &s, &ignored) != 1 || s.n == 0) return false;
    return memmem(s.p, s.n, "phi-3", 5) || memmem(s.p, s.n, "phi3", 4) || memmem(s.p, s.n, "Phi-3", 5) ||
           memmem(s.p, s.n, "Phi3", 4);
}

static int load_pieces(struct tokenizer *t, const struct gguf *g, const struct str *s, uint64_t n,
                       const struct gguf_kv *type, struct err *e)
{
    bool phi3 = is_phi3(g);
    for (uint64_t i = 0; i < n; i++) {
        if (s[i].n == 0) continue; /* a hole */
        int rc = vocab_add(&t->vocab, (uint32_t)i, s[i].p, s[i].n, e);
        if (rc < 0) return rc;
    }
    for (uint64_t i = 0; type && i < n; i++) {
        int64_t k = gguf_int_at(type, i);
        if (s[i].n == 0 || (k != TYPE_UNKNOWN && k != TYPE_CONTROL && k != TYPE_USER)) continue;
        if (s[i].n > 5 && !memcmp(s[i].p, "[PAD", 4)) continue; /* a converter's padding of the vocabulary */
        unsigned flags = k == TYPE_USER ? 0 : ADDED_SPECIAL;
        if (phi3 && !str_is(s[i], "<unk>") && !str_is(s[i], "<s>") && !str_is(s[i], "<|endoftext|>"))
            flags |= ADDED_RSTRIP;
        int rc = tokenizer_add_piece(t, (uint32_t)i, s[i].p, s[i].n, flags, e);
        if (rc < 0) return rc;
    }
    return 0;
}

static int load_merges(struct tokenizer *t, const struct str *m, uint64_t n, struct err *e)
{
    for (uint64_t i = 0; i < n; i++) {
        /* The space that parts the two is not the first byte: byte-level pieces hold no spaces, but a file may be odd.
         */
        const char *sp = m[i].n > 2 ? memchr(m[i].p + 1, ' ', m[i].n - 1) : NULL;
        if (!sp)
            return err_set(e, E_TOKENIZER, "merge %llu is %s, expected two pieces", (unsigned long long)i,
                           err_quote(m[i].p, m[i].n));
        int rc = tokenizer_merge(t, (uint32_t)i, (struct str){m[i].p, (size_t)(sp - m[i].p)},
                                 (struct str){sp + 1, (size_t)(m[i].p + m[i].n - sp - 1)}, e);
        if (rc < 0) return rc;
    }
    return 0;
}

struct scored {
    float score;
    uint32_t id;
};
static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

void tokenizer_merges_by_score(struct tokenizer *t, const float *score, const uint8_t *takes_part)
{
    size_t n = t->vocab.n, k = 0;
    uint32_t *rank = mem_alloc(n, sizeof *rank), r = 0;
    struct scored *s = mem_alloc(n, sizeof *s);
    memset(rank, 0xff, n * sizeof *rank);
    for (uint32_t id = 0; id < n; id++)
        if (takes_part[id]) s[k++] = (struct scored){score[id], id};
    if (k) qsort(s, k, sizeof *s, by_score);
    for (size_t i = 0; i < k; i++) {
        if (i && s[i].score != s[i - 1].score) r++;
        rank[s[i].id] = r;
    }
    merges_from_ranks(&t->merges, &t->vocab, rank, true);
    free(s);
    free(rank);
}

static int load_spm(struct tokenizer *t, const struct gguf *g, uint64_t n, const struct gguf_kv *type, struct err *e)
{
    const struct gguf_kv *sc = array(g, "tokenizer.ggml.scores", n);
    bool prefix = true;
    int64_t unk = -1;
    if (!sc || !type)
        return err_set(e, E_TOKENIZER,
                       "tokenizer.ggml.model is llama, but scores or token_type is missing or not "
                       "of %llu elements",
                       (unsigned long long)n);
    if (gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", &prefix, e) < 0) return -e->id;
    if (get_id(g, "tokenizer.ggml.unknown_token_id", (int64_t)n, &unk, e) < 0) return -e->id;
    float *score = mem_alloc(t->vocab.n, sizeof *score);
    uint8_t *part = mem_alloc(t->vocab.n, 1);
    for (uint64_t i = 0; i < t->vocab.n; i++) {
        int64_t k = gguf_int_at(type, i);
        double x = gguf_float_at(sc, i);
        score[i] = x == x ? (float)x : -1e30f; /* NaN has no place in an order */
        part[i] = k == TYPE_NORMAL || k == TYPE_USER || k == TYPE_UNUSED;
    }
    tokenizer_merges_by_score(t, score, part);
    free(score);
    free(part);
    t->kind = TOK_SPM;
    t->byte_fallback = t->fuse_unk = true;
    t->unk = unk >= 0 ? (uint32_t)unk : VOCAB_NONE;
    t->strip_first = prefix;
    tokenizer_norm_spm(t, prefix);
    return 0;
}

static int load_bytes(struct tokenizer *t, const struct gguf *g, bool *adds_bos, struct err *e)
{
    struct str pre = {0};
    const struct gguf_kv *kv = gguf_find(g, "tokenizer.ggml.merges");
    int nfc = 0, llama3 = 0;
    t->kind = TOK_BYTES;
    int named = gguf_get_str(g, "tokenizer.ggml.pre", &pre, e);
    if (named < 0) return named;
    if (!named) { /* of the time before the key, when byte-level vocabularies were GPT-2's kind */
        pre = STRZ("gpt-2");
        msg_warn(
            "%s: tokenizer.ggml.pre is missing: words are taken apart as by GPT-2; if the model is of another kind, "
            "its ids are others: give its tokenizer.json with -t",
            g->path);
    }
    if (pretok_of_gguf(pre.p, pre.n, &t->pre, &nfc, &llama3) < 0) {
        err_set(e, E_TOKEN_UNSUPPORTED, "pre-tokenizer %s (tokenizer.ggml.pre) is not supported",
                err_quote(pre.p, pre.n));
        return err_hint(e, "use the model's Hugging Face directory, or its tokenizer.json with -t");
    }
    if (nfc && tokenizer_norm(t, NORM_NFC, NULL, 0, NULL, 0, e) < 0) return -e->id;
    t->ignore_merges = *adds_bos = llama3 != 0;
    struct str *m = kv ? gguf_strings(kv) : NULL;
    if (!m) return err_set(e, E_TOKENIZER, "tokenizer.ggml.merges is missing or no array of strings");
    int rc = load_merges(t, m, kv->n, e);
    free(m);
    return rc;
}

/* What else ends a text: the ends of a turn and of a message, by their keys or the usual names, as llama.cpp has it. */
static int load_ends(struct tokenizer *t, const struct gguf *g, int64_t size, struct err *e)
{
    static const char *const keys[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
    static const char *const turn[] = {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", NULL};
    static const char *const message[] = {"<|eom_id|>", NULL};
    static const char *const *const names[] = {turn, message};
    for (int i = 0; i < 2; i++) {
        int64_t id = -1;
        int rc = get_id(g, keys[i], size, &id, e);
        if (rc < 0) return rc;
        if (id < 0) id = tokenizer_named(t, names[i]);
        if (id >= 0) u32vec_add(&t->ends, (uint32_t)id);
    }
    return 0;
}

int tokenizer_load_gguf(struct tokenizer *t, const struct gguf *g, struct err *e)
{
    struct str model = {0}, chat = {0};
    int rc = gguf_get_str(g, "tokenizer.ggml.model", &model, e);
    if (rc < 0) return rc;
    if (rc == 0) return err_set(e, E_TOKENIZER, "%s: no tokenizer inside (tokenizer.ggml.model is missing)", g->path);
    bool spm = str_is(model, "llama");
    if (!spm && !str_is(model, "gpt2"))
        return err_set(e, E_TOKEN_UNSUPPORTED, "tokenizer model %s is not supported (gpt2 and llama are)",
                       err_quote(model.p, model.n));
    const struct gguf_kv *kv = gguf_find(g, "tokenizer.ggml.tokens");
    struct str *s = kv ? gguf_strings(kv) : NULL;
    if (!s || kv->n > VOCAB_MAX_IDS) {
        free(s);
        return err_set(e, E_TOKENIZER, "tokenizer.ggml.tokens is missing, too large, or no array of strings");
    }
    int64_t size = (int64_t)kv->n;
    const struct gguf_kv *type = array(g, "tokenizer.ggml.token_type", kv->n);
    bool adds_bos = spm;
    rc = load_pieces(t, g, s, kv->n, type, e);
    free(s);
    if (rc == 0) rc = spm ? load_spm(t, g, kv->n, type, e) : load_bytes(t, g, &adds_bos, e);
    if (rc == 0) rc = get_id(g, "tokenizer.ggml.bos_token_id", size, &t->bos, e);
    if (rc >= 0) rc = get_id(g, "tokenizer.ggml.eos_token_id", size, &t->eos, e);
    if (rc >= 0) rc = load_ends(t, g, size, e);
    if (rc >= 0) rc = gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &adds_bos, e);
    if (rc >= 0) rc = gguf_get_str(g, "tokenizer.chat_template", &chat, e);
    if (rc < 0) return rc;
    t->adds_bos = adds_bos;
    if (chat.n) t->chat_template = mem_dup(chat.p, chat.n);
    return 0;
}
