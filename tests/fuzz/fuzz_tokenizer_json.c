/* fuzz_tokenizer_json: any bytes as tokenizer.json. A refusal has a message; what is accepted encodes text, and decodes
 * what it encoded. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/token/impl.h"

static const char text[] = "Hello  world, it's 2024!\n <s>x</s> \xc3\xa9 e\xcc\x81 \xe2\x96\x81 "
                           "\xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80 aaaaaaaaab\r\n\t'LL";

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct err e = {0};
    struct tokenizer *t = tokenizer_new();
    int rc = tokenizer_load_json(t, (const char *)data, size, "t.json", &e);
    if (rc == 0) rc = tokenizer_build(t, &e);
    if (rc < 0 && (e.id == 0 || !e.msg[0])) abort();
    struct u32vec ids = {0}, off = {0};
    struct buf back = {0};
    if (rc == 0) {
        struct str s = {text, sizeof text - 1};
        if (tokenizer_encode(t, s, TOK_SPECIAL | TOK_BOS, &ids, &off, &e) < 0 || ids.n != off.n) abort();
        for (size_t i = 0; i < ids.n; i++)
            if (off.v[i] > s.n || ids.v[i] >= (uint32_t)tokenizer_size(t)) abort();
        if (tokenizer_decode(t, ids.v, ids.n, true, true, &back, &e) < 0) abort();
    }
    free(ids.v);
    free(off.v);
    buf_fini(&back);
    tokenizer_free(t);
    return 0;
}
