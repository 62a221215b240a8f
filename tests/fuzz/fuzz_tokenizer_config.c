/* fuzz_tokenizer_config: any bytes as one of the files beside a tokenizer of a few pieces, which the first byte picks.
 * A refusal has a message; what is accepted encodes text, and its special tokens have pieces. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/token/impl.h"
#include "tests/fuzz/scratch.h"

static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json", "generation_config.json",
                                    "config.json"};
static const char vocab[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"<s>\":0,\"</s>\":1,\"a\":2,\"b\":3,\"ab\":4},"
                            "\"merges\":[\"a b\"]}}";

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct err e = {0};
    static const char *last;
    if (!size) return 0;
    scratch_make();
    if (last) unlink(scratch_path(last));
    last = names[data[0] & 3];
    scratch_put(last, data + 1, size - 1);
    struct tokenizer *t = tokenizer_new();
    if (tokenizer_load_json(t, vocab, sizeof vocab - 1, "t.json", &e)) abort();
    int rc = tokenizer_load_config(t, scratch, true, &e);
    if (!rc) rc = tokenizer_build(t, &e);
    if (rc < 0 ? !e.id || !e.msg[0] : e.id != 0) abort();
    struct u32vec ids = {0}, off = {0};
    if (!rc) {
        struct str s = {"ab b<s>a", 8};
        if (tokenizer_bos(t) >= tokenizer_size(t) || tokenizer_eos(t) >= tokenizer_size(t)) abort();
        if (tokenizer_encode(t, s, TOK_SPECIAL | TOK_BOS, &ids, &off, &e) < 0 || ids.n != off.n) abort();
        for (size_t i = 0; i < ids.n; i++)
            if (off.v[i] > s.n || ids.v[i] >= (uint32_t)tokenizer_size(t)) abort();
    }
    free(ids.v);
    free(off.v);
    tokenizer_free(t);
    return 0;
}
