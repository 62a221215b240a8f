/* merge_rule: one line of a merge list, for the loaders of vocabularies that have one. */
#include <string.h>

#include "libcommon/token/impl.h"

enum { PIECE_MAX = 512 }; /* bytes of a piece that is merged */

int tokenizer_merge(struct tokenizer *t, uint32_t rank, struct str left, struct str right, struct err *e)
{
    char both[2 * PIECE_MAX];
    uint32_t l = vocab_find(&t->vocab, left.p, left.n), r = vocab_find(&t->vocab, right.p, right.n);
    if (l == VOCAB_NONE || r == VOCAB_NONE) {
        struct str s = l == VOCAB_NONE ? left : right;
        return err_set(e, E_TOKENIZER, "merge %u: piece %s is not in the vocabulary", rank, err_quote(s.p, s.n));
    }
    if (left.n > PIECE_MAX || right.n > PIECE_MAX)
        return err_set(e, E_TOKENIZER, "merge %u: piece of more than %d bytes", rank, PIECE_MAX);
    memcpy(both, left.p, left.n);
    memcpy(both + left.n, right.p, right.n);
    uint32_t id = vocab_find(&t->vocab, both, left.n + right.n);
    if (id == VOCAB_NONE)
        return err_set(e, E_TOKENIZER, "merge %u: its result %s is not in the vocabulary", rank,
                       err_quote(both, left.n + right.n));
    merges_add(&t->merges, l, r, rank, id);
    return 0;
}
