/* fuzz_safetensors: any bytes as a safetensors file. A refusal is E_SAFETENSORS with a message; the tensors of an
 * accepted file cover its data exactly, in order. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/format/safetensors.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static volatile unsigned seen;
    struct err e = {0};
    struct safetensors *s = safetensors_parse(data, size, "f", &e);
    if (!s) {
        if (e.id != E_SAFETENSORS || !e.msg[0]) abort();
        return 0;
    }
    uint64_t n, at = 0;
    memcpy(&n, data, 8);
    for (int i = 0; i < s->n; i++) {
        const struct st_tensor *t = &s->t[i];
        if (t->begin != at || t->data != data + 8 + n + at || safetensors_find(s, t->name) != t) abort();
        if (t->end > t->begin) seen += t->data[0] + t->data[t->end - t->begin - 1];
        at = t->end;
    }
    if (8 + n + at != size) abort();
    safetensors_close(s);
    return 0;
}
