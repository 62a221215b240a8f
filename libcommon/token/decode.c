/* decode: ids -> bytes. Each id stands for the same bytes wherever it is, so that a text can be decoded token by token;
 * only the one space that SentencePiece puts before a text is dropped at its beginning. */
#include <string.h>

#include "libcommon/token/impl.h"

int tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t n, bool skip_special, bool first,
                     struct buf *text, struct err *e)
{
    bool strip = first && t->strip_first;
    for (size_t i = 0; i < n; i++) {
        uint32_t id = ids[i];
        if (id >= t->vocab.n)
            return err_set(e, E_TOKENIZER, "token id %u is not below the vocabulary's size, %zu", id, t->vocab.n);
        if (skip_special && (t->flags[id] & ADDED_SPECIAL)) continue;
        const char *p = t->decoded.p + t->decoded_off[id];
        size_t len = t->decoded_off[id + 1] - t->decoded_off[id];
        if (len && strip) {
            if (*p == ' ') {
                p++;
                len--;
            }
            strip = false;
        }
        buf_add(text, p, len);
    }
    return 0;
}
