/* save_gguf: a tokenizer as the keys of a GGUF file, as llama.cpp's converter writes them. What those keys cannot say
 * is refused. Source: llama.cpp, gguf-py/gguf/vocab.py and convert_hf_to_gguf.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/format/gguf_write.h"
#include "libcommon/token/impl.h"

#define T "tokenizer.ggml."
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER = 4, UNUSED = 5, BYTE = 6 }; /* tokenizer.ggml.token_type */

static bool is_byte(struct str s)
{
    unsigned x;
    char end;
    char text[8] = "";
    if (s.n != 6) return false;
    memcpy(text, s.p, 6);
    return sscanf(text, "<0x%2X%c", &x, &end) == 2 && end == '>';
}

static int type_of(const struct tokenizer *t, uint32_t id)
{
    const struct str s = vocab_piece(&t->vocab, id);
    if (t->kind == TOK_SPM && id == t->unk) return UNKNOWN;
    if (t->flags[id]) return t->flags[id] & ADDED_SPECIAL ? CONTROL : USER;
    return t->kind == TOK_SPM && is_byte(s) ? BYTE : NORMAL;
}

/* Rows of the embedding without a token get names that no text has. */
static void put_tokens(const struct tokenizer *t, uint32_t rows, struct gguf_writer *w)
{
    struct str *s = mem_alloc(rows, sizeof *s);
    int32_t *type = mem_alloc(rows, sizeof *type);
    char(*pad)[20] = mem_alloc(rows, sizeof *pad);
    for (uint32_t i = 0; i < rows; i++) {
        s[i] = vocab_piece(&t->vocab, i);
        type[i] = s[i].n ? type_of(t, i) : UNUSED;
        if (s[i].n) continue;
        snprintf(pad[i], sizeof pad[i], "[PAD%u]", i);
        s[i] = STRZ(pad[i]);
    }
    gguf_put_strs(w, T "tokens", s, rows);
    gguf_put_i32s(w, T "token_type", type, rows);
    free(pad);
    free(type);
    free(s);
}

static void put_merges(const struct tokenizer *t, struct gguf_writer *w)
{
    const struct u32vec *list = &t->merges.list;
    const size_t n = list->n / 2;
    struct str *s = mem_alloc(n, sizeof *s);
    struct buf text = {0};
    size_t *at = mem_alloc(n + 1, sizeof *at);
    for (size_t i = 0; i < n; i++) {
        const struct str l = vocab_piece(&t->vocab, list->v[2 * i]), r = vocab_piece(&t->vocab, list->v[2 * i + 1]);
        buf_add(&text, l.p, l.n);
        buf_addc(&text, ' ');
        buf_add(&text, r.p, r.n);
        at[i + 1] = text.n;
    }
    for (size_t i = 0; i < n; i++) s[i] = (struct str){text.p + at[i], at[i + 1] - at[i]};
    gguf_put_strs(w, T "merges", s, n);
    buf_fini(&text);
    free(at);
    free(s);
}

/* SentencePiece's readers know scores, not merges: the earlier two pieces make a third, the better its score. */
static void put_scores(const struct tokenizer *t, uint32_t rows, struct gguf_writer *w)
{
    float *score = mem_alloc(rows, sizeof *score);
    const struct u32vec *list = &t->merges.list;
    for (size_t i = list->n / 2; i-- > 0;) {
        const struct merge *m = merges_find(&t->merges, list->v[2 * i], list->v[2 * i + 1]);
        if (m && m->id < rows) score[m->id] = -(float)i;
    }
    gguf_put_f32s(w, T "scores", score, rows);
    free(score);
}

static int normalises_to_nfc(const struct tokenizer *t, struct err *e)
{
    int nfc = 0;
    for (int i = 0; i < t->n_norm; i++)
        if (t->norm[i].type == NORM_NFC) nfc = 1;
    if (t->n_norm > nfc) return err_set(e, E_TOKEN_UNSUPPORTED, "its normaliser cannot be said in a GGUF file");
    return nfc;
}

static int put_bytes(const struct tokenizer *t, struct gguf_writer *w, struct err *e)
{
    const int nfc = normalises_to_nfc(t, e);
    const char *pre = nfc < 0 ? NULL : pretok_gguf_name(&t->pre, nfc, t->ignore_merges);
    if (!e->id && (!pre || t->prefix != PREFIX_NONE))
        err_set(e, E_TOKEN_UNSUPPORTED, "its way to cut words has no name in GGUF files (tokenizer.ggml.pre)");
    if (e->id) return -e->id;
    gguf_put_str(w, T "model", STRZ("gpt2"));
    gguf_put_str(w, T "pre", STRZ(pre));
    put_merges(t, w);
    return 0;
}

/* Prepend and Replace of Llama-2, or Metaspace: a space before a text, or none. */
static void put_spm(const struct tokenizer *t, uint32_t rows, struct gguf_writer *w)
{
    bool prefix = t->prefix != PREFIX_NONE;
    for (int i = 0; i < t->n_norm; i++) prefix |= t->norm[i].type == NORM_PREPEND;
    gguf_put_str(w, T "model", STRZ("llama"));
    gguf_put_str(w, T "pre", STRZ("default"));
    gguf_put_bool(w, T "add_space_prefix", prefix);
    put_scores(t, rows, w);
}

static void put_id(struct gguf_writer *w, const char *key, int64_t id)
{
    if (id >= 0) gguf_put_u32(w, key, (uint32_t)id);
}

int tokenizer_put_gguf(const struct tokenizer *t, uint32_t rows, struct gguf_writer *w, struct err *e)
{
    if (t->vocab.n > rows)
        return err_set(e, E_MISMATCH, "the tokenizer has %zu tokens, the model's embedding %u rows", t->vocab.n, rows);
    if (t->kind == TOK_BYTES ? put_bytes(t, w, e) : (put_spm(t, rows, w), 0)) return -e->id;
    put_tokens(t, rows, w);
    put_id(w, T "bos_token_id", t->bos);
    put_id(w, T "eos_token_id", t->eos);
    if (t->unk != VOCAB_NONE) put_id(w, T "unknown_token_id", t->unk);
    for (size_t i = 0; i < t->ends.n; i++)
        if (t->ends.v[i] != t->eos && t->ends.v[i] < rows) {
            put_id(w, T "eot_token_id", t->ends.v[i]); /* the key has one */
            break;
        }
    gguf_put_bool(w, T "add_bos_token", tokenizer_adds_bos(t));
    if (t->chat_template) gguf_put_str(w, "tokenizer.chat_template", STRZ(t->chat_template));
    return 0;
}
