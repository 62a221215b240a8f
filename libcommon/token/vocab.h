/* vocab: the pieces of a vocabulary by id and by text, and the merges by pair of ids. Both look-ups are open-addressing
 * tables built once by the loaders. Ids may have holes; a text has one id. */
#ifndef PEFT_TOKEN_VOCAB_H
#define PEFT_TOKEN_VOCAB_H
#include <stdbool.h>
#include <stdint.h>
#include "libcommon/base/err.h"
#include "libcommon/base/mem.h"

#define VOCAB_MAX_IDS   (1u << 23) /* an id above is taken for damage: nothing is allocated on a file's say-so */
#define VOCAB_MAX_PIECE (1u << 16) /* bytes of a piece */
#define VOCAB_NONE      UINT32_MAX

struct piece {
    size_t off;
    uint32_t len; /* 0: no such id */
};
struct vocab {
    struct buf text;
    struct piece *piece; /* [n] */
    size_t n, cap;
    uint32_t *slot; /* [mask + 1] id or VOCAB_NONE */
    uint32_t mask, used;
};

/* E_TOKENIZER: id taken by another piece, too large, or piece empty or too long. A second id for the same text is kept
 * as a piece but not found by vocab_find. */
int vocab_add(struct vocab *v, uint32_t id, const char *s, size_t n, struct err *e);
uint32_t vocab_find(const struct vocab *v, const char *s, size_t n); /* VOCAB_NONE: absent */
static inline struct str vocab_piece(const struct vocab *v, uint32_t id)
{
    if (id >= v->n || v->piece[id].len == 0) return (struct str){"", 0};
    return (struct str){v->text.p + v->piece[id].off, v->piece[id].len};
}
void vocab_fini(struct vocab *v);

struct merge {
    uint64_t pair; /* left << 32 | right; UINT64_MAX: free */
    uint32_t rank, id;
};
struct merges {
    struct merge *slot;
    uint64_t mask;
    size_t n;
    struct u32vec list; /* left, right in the order given: input of the digest */
};
/* A pair given twice keeps its first rank. */
void merges_add(struct merges *m, uint32_t left, uint32_t right, uint32_t rank, uint32_t id);
static inline uint64_t merges_hash(uint64_t pair)
{
    pair *= 0x9e3779b97f4a7c15u;
    return pair ^ pair >> 32;
}
static inline const struct merge *merges_find(const struct merges *m, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    if (!m->slot) return NULL;
    for (uint64_t i = merges_hash(pair) & m->mask;; i = (i + 1) & m->mask) {
        if (m->slot[i].pair == pair) return &m->slot[i];
        if (m->slot[i].pair == UINT64_MAX) return NULL;
    }
}
void merges_fini(struct merges *m);

/* Every way to cut a piece of the vocabulary into two other pieces, as merges ranked by rank_of[id]; UINT32_MAX: the id
 * takes no part. tied: all cuts of a piece share its rank (SentencePiece); else they are ranked by (rank, left, right),
 * as Hugging Face's converters write them. Pieces must be shorter than 512 bytes to take part. */
void merges_from_ranks(struct merges *m, const struct vocab *v, const uint32_t *rank_of, bool tied);
/* Bytes <-> the printable characters that byte-level vocabularies spell them with. */
void vocab_byte_spelling(char spelling[256][3], uint8_t len[256]);
/* The bytes that a byte-level piece stands for, appended to out; false (nothing appended): some character is no such
 * spelling. */
bool vocab_byte_decode(const char *s, size_t n, struct buf *out);
#endif
