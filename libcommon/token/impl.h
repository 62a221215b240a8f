/* impl: what the files of token/ share of a tokenizer. Loaders fill it, tokenizer_build derives the rest, and from then
 * on it is never changed, but for the pool of work spaces, which has a lock. */
#ifndef PEFT_TOKEN_IMPL_H
#define PEFT_TOKEN_IMPL_H
#include <stdbool.h>
#include <stdint.h>
#include "libcommon/token/added.h"
#include "libcommon/token/pretok.h"
#include "libcommon/token/tokenizer.h"
#include "libcommon/token/vocab.h"

enum tok_kind {
    TOK_BYTES, /* byte-level BPE: pieces spell bytes */
    TOK_SPM,   /* SentencePiece-style: pieces are text, U+2581 for a space, bytes as <0xHH> */
};
#define SPM_SPACE "\xe2\x96\x81"

enum norm_type { NORM_NFC, NORM_PREPEND, NORM_REPLACE };
struct norm {
    enum norm_type type;
    char *from, *to; /* to: PREPEND and REPLACE */
    size_t n_from, n_to;
};
#define NORM_MAX 8

/* What is put before a piece of text between added tokens, after normalisation. */
enum prefix { PREFIX_NONE, PREFIX_ALWAYS, PREFIX_FIRST }; /* FIRST: only at the beginning of the whole text */

struct work;
struct pool;
struct json_t;

struct tokenizer {
    enum tok_kind kind;
    struct vocab vocab;
    struct merges merges;
    struct norm norm[NORM_MAX];
    int n_norm;
    struct pretok pre;
    enum prefix prefix;  /* unless the text begins with it already */
    char prefix_text[4]; /* " " or U+2581 */
    bool meta;           /* Metaspace: " " becomes U+2581 after the search for normalized added tokens */
    bool ignore_merges, byte_fallback, fuse_unk;
    bool tiktoken;            /* the file has no special tokens */
    bool strip_first;         /* decoding drops one leading space */
    uint32_t unk;             /* or VOCAB_NONE */
    struct u32vec added_list; /* id, ADDED_* flags of each added token, in the order of the file */
    int64_t bos, eos;         /* or -1 */
    struct u32vec ends;       /* that end a text, besides eos; any number, also of no token */
    bool adds_bos;
    char *chat_template;
    unsigned char digest[32];

    /* derived by tokenizer_build */
    uint8_t *flags;               /* [vocab.n] ADDED_* and 0x80 of added tokens, 0 of others */
    struct added raw, normalized; /* searched before and after normalisation */
    uint32_t byte_id[256];        /* id of a single byte: its spelling, or <0xHH>; VOCAB_NONE: none */
    struct buf decoded;           /* bytes that each id stands for */
    uint32_t *decoded_off;        /* [vocab.n + 1] */
    struct pool *pool;
};

struct tokenizer *tokenizer_new(void);
/* Note that id is an added token, s its text; E_TOKENIZER if the vocabulary has another text there. */
int tokenizer_add_piece(struct tokenizer *t, uint32_t id, const char *s, size_t n, unsigned flags, struct err *e);
int tokenizer_norm(struct tokenizer *t, enum norm_type type, const char *from, size_t n_from, const char *to,
                   size_t n_to, struct err *e);
void tokenizer_norm_spm(struct tokenizer *t, bool prefix); /* Prepend, Replace as in Llama-2 */
int tokenizer_build(struct tokenizer *t, struct err *e);   /* call once, when all is loaded */
/* Id of the first of the names that is an added token, or -1. */
int64_t tokenizer_named(const struct tokenizer *t, const char *const *names);

/* The next line of a merge list. E_TOKENIZER: a piece that is not in the vocabulary. */
int tokenizer_merge(struct tokenizer *t, uint32_t rank, struct str left, struct str right, struct err *e);
/* Merges of a SentencePiece vocabulary: whichever two pieces make a third, the best score first. takes_part: [vocab.n].
 */
void tokenizer_merges_by_score(struct tokenizer *t, const float *score, const uint8_t *takes_part);

/* An added token as tokenizer.json and tokenizer_config.json describe it. */
int tokenizer_add_json(struct tokenizer *t, uint32_t id, const struct json_t *o, struct err *e);
int tokenizer_tiktoken_specials(struct tokenizer *t, struct err *e);

/* Loaders: fill t. name is for messages. */
int tokenizer_load_json(struct tokenizer *t, const char *text, size_t n, const char *name, struct err *e);
int tokenizer_load_spm(struct tokenizer *t, const unsigned char *data, size_t n, const char *name, struct err *e);
int tokenizer_load_tiktoken(struct tokenizer *t, const char *text, size_t n, const char *name, struct err *e);
int tokenizer_load_gpt2(struct tokenizer *t, const char *vocab, size_t n_vocab, const char *merges, size_t n_merges,
                        const char *name, struct err *e);
struct gguf;
int tokenizer_load_gguf(struct tokenizer *t, const struct gguf *g, struct err *e);
/* Apply tokenizer_config.json, special_tokens_map.json, generation_config.json and config.json of dir. added: take the
 * added tokens of tokenizer_config.json too (where no tokenizer.json lists them). */
int tokenizer_load_config(struct tokenizer *t, const char *dir, bool added, struct err *e);

/* Work space of one encoding thread. */
struct work *work_take(const struct tokenizer *t);
void work_give(const struct tokenizer *t, struct work *w);
struct pool *pool_new(void);
void pool_free(struct pool *p);

/* Normalise s into a or b; *result tells which. False: s is its own normal form. With NORM_MAP also the offset that
 * each byte came from, base + its place in s; with NORM_BARE nothing is prepended. */
enum { NORM_MAP = 1, NORM_BARE = 2 };
struct norm_buf {
    struct buf text;
    struct u32vec map;
};
bool tokenizer_normalize(const struct tokenizer *t, const char *s, size_t n, uint32_t base, unsigned flags,
                         struct norm_buf *a, struct norm_buf *b, struct norm_buf **result);

/* Ids of one word; start (may be NULL) gets the offset in the word of each. */
void bpe_word(const struct tokenizer *t, struct work *w, const char *s, size_t n, struct u32vec *ids,
              struct u32vec *start);

struct bpe_cache;
struct bpe_symbol {
    uint32_t id, start;  /* start: offset in the word */
    uint32_t rank, to;   /* of the merge with the next symbol; rank UINT32_MAX: none */
    uint32_t prev, next; /* long words */
};
struct bpe_heap {
    uint32_t rank, at, to;
};
struct work {
    struct work *next;
    struct norm_buf a, b, c;
    struct u32vec words; /* scratch of the caller */
    struct bpe_symbol *sym;
    size_t sym_cap;
    struct bpe_heap *heap;
    size_t n_heap, heap_cap;
    struct bpe_cache *cache;
    struct buf spell;
};
struct bpe_cache *bpe_cache_new(void);
void bpe_cache_free(struct bpe_cache *c);
#endif
