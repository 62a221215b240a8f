/* load_tiktoken: lines of "base64(bytes) rank", as Llama-3 was published. The file has no special tokens, no
 * pre-tokenizer and no merges: the merges follow from the ranks, the rest is that of Llama-3, the one family published
 * so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/num.h"
#include "libcommon/token/impl.h"

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool base64(const char *s, size_t n, struct buf *out)
{
    uint32_t acc = 0;
    int bits = 0;
    if (n == 0 || n % 4 != 0) return false;
    while (n > 0 && s[n - 1] == '=') n--;
    for (size_t i = 0; i < n; i++) {
        int v = base64_value(s[i]);
        if (v < 0) return false;
        acc = (acc << 6 | (uint32_t)v) & 0xffffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            buf_addc(out, (char)(acc >> bits & 255));
        }
    }
    return true;
}

int tokenizer_load_tiktoken(struct tokenizer *t, const char *text, size_t n, const char *name, struct err *e)
{
    char spelling[256][3];
    uint8_t len[256];
    struct buf bytes = {0}, piece = {0};
    int rc = 0;
    size_t line = 0;
    vocab_byte_spelling(spelling, len);
    for (const char *p = text, *end = text + n; p < end && rc == 0;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p)), *stop = nl ? nl : end;
        size_t width = (size_t)(stop - p);
        if (width && p[width - 1] == '\r') width--;
        const char *sp = memchr(p, ' ', width);
        uint64_t rank = 0;
        line++;
        bytes.n = piece.n = 0;
        if (width == 0) {
            rc = 0;
        } else if (!sp || !base64(p, (size_t)(sp - p), &bytes) ||
                   !num_u64(sp + 1, (size_t)(p + width - sp - 1), &rank) || rank >= VOCAB_MAX_IDS) {
            rc = err_set(e, E_TOKENIZER, "%s:%zu: expected base64, a space and a rank, found %s", name, line,
                         err_quote(p, width));
        } else {
            for (size_t i = 0; i < bytes.n; i++) {
                unsigned char b = (unsigned char)bytes.p[i];
                buf_add(&piece, spelling[b], len[b]);
            }
            rc = vocab_add(&t->vocab, (uint32_t)rank, piece.p, piece.n, e);
        }
        p = nl ? nl + 1 : end;
    }
    buf_fini(&bytes);
    buf_fini(&piece);
    if (rc < 0) return rc;
    uint32_t *rank = mem_alloc(t->vocab.n, sizeof *rank);
    for (uint32_t i = 0; i < t->vocab.n; i++) rank[i] = t->vocab.piece[i].len ? i : UINT32_MAX;
    merges_from_ranks(&t->merges, &t->vocab, rank, false);
    free(rank);
    t->kind = TOK_BYTES;
    t->pre = (struct pretok){1, {PRETOK_LLAMA3}};
    t->ignore_merges = true;
    t->tiktoken = true;
    return 0;
}

enum { LLAMA3_RANKS = 128000 };

/* The 256 special tokens of Llama 3.1, numbered after the vocabulary. */
int tokenizer_tiktoken_specials(struct tokenizer *t, struct err *e)
{
    static const char *const named[] = {"<|begin_of_text|>",
                                        "<|end_of_text|>",
                                        NULL,
                                        NULL,
                                        "<|finetune_right_pad_id|>",
                                        NULL,
                                        "<|start_header_id|>",
                                        "<|end_header_id|>",
                                        "<|eom_id|>",
                                        "<|eot_id|>",
                                        "<|python_tag|>"};
    uint32_t base = (uint32_t)t->vocab.n;
    int reserved = 0, rc = 0;
    if (base != LLAMA3_RANKS) {
        err_set(e, E_TOKEN_UNSUPPORTED,
                "%u ranks and nothing that says what its special tokens are (Llama 3 has %d ranks)", base,
                LLAMA3_RANKS);
        return err_hint(e, "a tokenizer_config.json with added_tokens_decoder beside it says so");
    }
    for (uint32_t i = 0; i < 256 && rc == 0; i++) {
        char s[48];
        if (i < sizeof named / sizeof *named && named[i])
            strcpy(s, named[i]);
        else
            snprintf(s, sizeof s, "<|reserved_special_token_%d|>", reserved++);
        rc = tokenizer_add_piece(t, base + i, s, strlen(s), ADDED_SPECIAL, e);
    }
    if (rc < 0) return rc;
    t->bos = base;
    t->eos = base + 1;
    t->adds_bos = true;
    return 0;
}
