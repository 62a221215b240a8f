/* tokenizer: text <-> ids. Byte-level BPE (GPT-2, SmolLM, Llama-3, Qwen2 pre-tokenizers) and SentencePiece-style BPE
 * with byte fallback (Llama-2, Mistral, Phi-3), from tokenizer.json, a GGUF vocabulary, SentencePiece .model, or a
 * directory that has one. */
#ifndef PEFT_TOKEN_TOKENIZER_H
#define PEFT_TOKEN_TOKENIZER_H
#include <stdbool.h>
#include <stdint.h>
#include "libcommon/base/err.h"
#include "libcommon/base/mem.h"

struct tokenizer;

/* path: model directory, .gguf, tokenizer.json, tokenizer.model. E_NOINPUT, E_TOKENIZER, E_TOKEN_UNSUPPORTED, E_GGUF.
 */
struct tokenizer *tokenizer_load(const char *path, struct err *e);
void tokenizer_free(struct tokenizer *t);

enum {
    TOK_SPECIAL = 1,  /* added and special tokens in the text are recognised (Hugging Face's default) */
    TOK_BOS = 2,      /* put what the post-processor puts (BOS), if the model has it */
    TOK_CONTINUE = 4, /* the text goes on where another ended: no prefix at its beginning, so that the ids of both, one
                                       behind the other, decode to both texts */
};
/* Append the ids of text to *ids; with off != NULL also the byte offset in text at which each token begins (BOS: 0).
 * Thread-safe on one tokenizer. Invalid UTF-8 is E_ENCODING. */
int tokenizer_encode(const struct tokenizer *t, struct str text, unsigned flags, struct u32vec *ids, struct u32vec *off,
                     struct err *e);
/* Append the text of ids to *text (bytes; may end inside a UTF-8 sequence). skip_special: leave out special tokens.
 * first: the ids begin the text (SentencePiece drops one leading space there). An id out of range is E_TOKENIZER. */
int tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t n, bool skip_special, bool first,
                     struct buf *text, struct err *e);

int tokenizer_size(const struct tokenizer *t); /* highest id + 1 */
int tokenizer_bos(const struct tokenizer *t);  /* id or -1 */
int tokenizer_eos(const struct tokenizer *t);  /* id or -1 */
/* Append the ids that end a text which a model writes: EOS first, then what else the model's files name. */
void tokenizer_ends(const struct tokenizer *t, struct u32vec *ids);
/* The token with this text, or else this number; -1: none. */
int tokenizer_find(const struct tokenizer *t, const char *text);
bool tokenizer_adds_bos(const struct tokenizer *t); /* does the model want a leading BOS? */
bool tokenizer_is_special(const struct tokenizer *t, uint32_t id);
struct str tokenizer_piece(const struct tokenizer *t,
                           uint32_t id);                        /* raw piece as in the vocabulary; n == 0: no such id */
const char *tokenizer_chat_template(const struct tokenizer *t); /* NULL: none */
struct gguf_writer;
/* As keys of a GGUF file, for an embedding of so many rows. E_TOKEN_UNSUPPORTED: it has something that they cannot say;
 * E_MISMATCH: more tokens than rows. */
int tokenizer_put_gguf(const struct tokenizer *t, uint32_t rows, struct gguf_writer *w, struct err *e);
const unsigned char *tokenizer_digest(
    const struct tokenizer *t); /* [32]: SHA-256 over vocabulary, merges, added tokens, kind */
#endif
