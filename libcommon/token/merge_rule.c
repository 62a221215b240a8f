/* merge_rule: one line of a merge list, for the loaders of vocabularies that have one. */
#include <string.h>

#include "libcommon/token/impl.h"

int tokenizer_merge(struct tokenizer *t, uint32_t rank, struct str left, struct str right, struct err *e)
{
    char both[2 * 512];
    uint32_t l = vocab_find(&t->vocab, left.p, left.n), r = vocab_find(&t->vocab, right.p, right.n);
    if (l == VOCAB_NONE || r == VOCAB_NONE) {
        struct str s = l == VOCAB_NONE ? left : right;
        return err_set(e, E_TOKENIZER, "merge %u: piece %s is not in the vocabulary", rank, err_quote(s.p, s.n));
    }
    if (left.n > 512 || right.n > 512) return err_set(e, E_TOKENIZER, "merge %u: piece of more than 512 bytes", rank);
    memcpy(both, left.p, left.n);
    memcpy(both + left.n, right.p, right.n);
    uint32_t id = vocab_find(&t->vocab, both, left.n + right.n);
    if (id == VOCAB_NONE)
        return err_set(e, E_TOKENIZER, "merge %u: its result %s is not in the vocabulary", rank,
                       err_quote(both, left.n + right.n));
    merges_add(&t->merges, l, r, rank, id);
    return 0;
}
