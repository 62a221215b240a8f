/* fuzz_spm: any bytes as a SentencePiece model, or as tiktoken's lines when the first byte is odd. A refusal has a
 * message; what is accepted encodes and decodes. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/token/impl.h"

static const char text[] = "Hello  world, it's 2024!\n <s>x</s> \xc3\xa9 \xe2\x96\x81 "
                           "\xe4\xbd\xa0\xe5\xa5\xbd aaaaaaaaab\r\n\t'LL";

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct err e = {0};
    struct tokenizer *t = tokenizer_new();
    int rc;
    if (size && (data[0] & 1))
        rc = tokenizer_load_tiktoken(t, (const char *)data + 1, size - 1, "t.model", &e);
    else
        rc = tokenizer_load_spm(t, data, size, "t.model", &e);
    if (rc == 0) rc = tokenizer_build(t, &e);
    if (rc < 0 && (e.id == 0 || !e.msg[0])) abort();
    struct u32vec ids = {0}, off = {0};
    struct buf back = {0};
    if (rc == 0) {
        struct str s = {text, sizeof text - 1};
        if (tokenizer_encode(t, s, TOK_SPECIAL | TOK_BOS, &ids, &off, &e) < 0 || ids.n != off.n) abort();
        if (tokenizer_decode(t, ids.v, ids.n, true, true, &back, &e) < 0) abort();
    }
    free(ids.v);
    free(off.v);
    buf_fini(&back);
    tokenizer_free(t);
    return 0;
}
