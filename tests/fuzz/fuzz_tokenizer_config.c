/* fuzz_tokenizer_config: any bytes as tokenizer_config.json beside a vocabulary of a few pieces. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/out.h"
#include "libcommon/token/impl.h"

static char dir[] = "/tmp/fuzz-tokenizer-XXXXXX", file[64];

static void put(const unsigned char *data, size_t size)
{
    if (!file[0]) {
        if (!mkdtemp(dir)) abort();
        snprintf(file, sizeof file, "%s/tokenizer_config.json", dir);
    }
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    close(fd);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const char vocab[] =
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"<s>\":0,\"</s>\":1,\"a\":2,\"b\":3,\"ab\":4},"
        "\"merges\":[\"a b\"]}}";
    struct err e = {0};
    struct tokenizer *t = tokenizer_new();
    put(data, size);
    if (tokenizer_load_json(t, vocab, sizeof vocab - 1, "t.json", &e)) abort();
    int rc = tokenizer_load_config(t, dir, true, &e);
    if (!rc) rc = tokenizer_build(t, &e);
    if (rc < 0 && (!e.id || !e.msg[0])) abort();
    if (!rc && (tokenizer_bos(t) >= tokenizer_size(t) || tokenizer_eos(t) >= tokenizer_size(t))) abort();
    tokenizer_free(t);
    return 0;
}
