/* load_gpt2: the older pair of files, vocab.json and merges.txt. The merges may have been committed with CRLF line
 * ends. */
#include <jansson.h>
#include <string.h>

#include "libcommon/format/json.h"
#include "libcommon/token/impl.h"

int tokenizer_load_gpt2(struct tokenizer *t, const char *vocab, size_t n_vocab, const char *merges, size_t n_merges,
                        const char *name, struct err *e)
{
    json_t *j = json_parse(vocab, n_vocab, name, E_TOKENIZER, e), *v;
    const char *key;
    size_t n;
    int rc = 0;
    if (!j) return -e->id;
    json_object_keylen_foreach(j, key, n, v)
    {
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id >= VOCAB_MAX_IDS)
            rc = err_set(e, E_TOKENIZER, "%s: %s has no id from 0 to %u", name, err_quote(key, n), VOCAB_MAX_IDS - 1);
        else
            rc = n ? vocab_add(&t->vocab, (uint32_t)id, key, n, e) : 0; /* an empty piece is met in no text */
        if (rc < 0) break;
    }
    json_decref(j);
    uint32_t rank = 0;
    size_t line = 0;
    for (const char *p = merges, *end = merges + n_merges; p < end && rc == 0;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p)), *stop = nl ? nl : end;
        size_t width = (size_t)(stop - p);
        if (width && p[width - 1] == '\r') width--;
        const char *sp = memchr(p, ' ', width);
        if (width > 0 && !(++line == 1 && width >= 8 && !memcmp(p, "#version", 8))) {
            if (!sp)
                rc = err_set(e, E_TOKENIZER, "merge %u is %s, expected two pieces", rank, err_quote(p, width));
            else
                rc = tokenizer_merge(t, rank, (struct str){p, (size_t)(sp - p)},
                                     (struct str){sp + 1, (size_t)(p + width - sp - 1)}, e);
            rank++;
        }
        p = nl ? nl + 1 : end;
    }
    t->kind = TOK_BYTES;
    t->pre = (struct pretok){1, {PRETOK_GPT2}};
    return rc;
}
