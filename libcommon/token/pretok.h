/* pretok: cut text into the words that BPE works on, as the regular expressions of known tokenizers do, by hand-written
 * scanners that look at each byte a bounded number of times. There is no regex engine here: an unknown pattern is
 * refused by the loader. */
#ifndef PEFT_TOKEN_PRETOK_H
#define PEFT_TOKEN_PRETOK_H
#include <stddef.h>
#include <stdint.h>

enum pretok_rule {
    PRETOK_GPT2,        /* ByteLevel's own pattern */
    PRETOK_LLAMA3,      /* cl100k family, numbers in threes */
    PRETOK_QWEN2,       /* cl100k family, single digits */
    PRETOK_DIGITS,      /* every number character alone */
    PRETOK_DIGIT_RUNS,  /* runs of number characters */
    PRETOK_DIGITS3,     /* runs of up to three number characters, from the left */
    PRETOK_ASCII3,      /* [0-9][0-9][0-9], rest untouched */
    PRETOK_PUNCT,       /* runs of [\p{P}$+<=>^~|] */
    PRETOK_SPACE_AFTER, /* cut after each " " */
    PRETOK_META,        /* cut before each U+2581 */
    PRETOK_META_WORDS,  /* cut before each run of U+2581 */
    PRETOK_RULES
};
#define PRETOK_LEVELS 6

struct pretok { /* rules applied one inside the other; n == 0: the whole text is one word */
    int n;
    enum pretok_rule rule[PRETOK_LEVELS];
};

/* Rule of a Hugging Face "Split" pattern (behaviour Isolated); -1: unknown. */
int pretok_of_regex(const char *regex, size_t n);
/* Rules of a tokenizer.ggml.pre name; 0, or -1: unknown. *nfc: the model's own tokenizer normalises to NFC. *llama3:
 * the family in which whole words of the vocabulary win over merges and a BOS is put first. */
int pretok_of_gguf(const char *pre, size_t n, struct pretok *out, int *nfc, int *llama3);

/* The other way; NULL: no such name is known. */
const char *pretok_gguf_name(const struct pretok *p, int nfc, int llama3);

/* Length of the first piece of p[0..n), n > 0, valid UTF-8; unicode_init has been called. */
size_t pretok_next(enum pretok_rule rule, const uint8_t *p, size_t n);
#endif
