/* added: added tokens of a tokenizer, found in text before BPE sees it: at each place the longest one that begins there
 * (leftmost-longest), by a trie over bytes. The rules for neighbours follow Hugging Face's AddedVocabulary. */
#ifndef PEFT_TOKEN_ADDED_H
#define PEFT_TOKEN_ADDED_H
#include <stdbool.h>
#include <stdint.h>
#include "libcommon/base/mem.h"

enum { ADDED_SPECIAL = 1, ADDED_LSTRIP = 2, ADDED_RSTRIP = 4, ADDED_SINGLE_WORD = 8, ADDED_NORMALIZED = 16 };

struct added_token {
    uint32_t id;
    uint8_t flags;
};
struct added {
    struct added_token *tok;
    size_t n_tok, tok_cap;
    struct added_edge {
        uint64_t key;
        uint32_t node;
    } * edge; /* key: node << 8 | byte; UINT64_MAX: free */
    uint64_t mask, n_edge;
    uint32_t *at; /* [n_node] 1 + index in tok of the token that ends here, or 0 */
    size_t n_node, node_cap;
    bool first[256]; /* can a token begin with this byte? */
    int n_first, only;
};

void added_put(struct added *a, const char *s, size_t n, uint32_t id,
               unsigned flags); /* n > 0; the first of a text wins */
void added_fini(struct added *a);

struct added_match {
    size_t start, end; /* with the white space that lstrip and rstrip take */
    uint32_t id;
};
/* The next match in s at or after *pos; text before `done` belongs to an earlier match. False: none. special: recognise
 * special tokens too. Call with *pos == done == 0 first, then pass the previous end as done. */
bool added_next(const struct added *a, const char *s, size_t n, size_t *pos, size_t done, bool special,
                struct added_match *m);
#endif
