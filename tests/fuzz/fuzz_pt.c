/* fuzz_pt: any bytes as a file of torch.save, and as the pickle of an archive that is whole otherwise (a CRC would keep
 * the mutations from it). A refusal is E_PT or E_POLICY with a message; tensors lie within the file. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/format/pt_read.h"
#include "tests/pt_build.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(const unsigned char *data, size_t size)
{
    static volatile unsigned seen;
    struct err e = {0};
    struct pt_file *p = pt_parse(data, size, "f", &e);
    if (!p) {
        if ((e.id != E_PT && e.id != E_POLICY) || !e.msg[0]) abort();
        return;
    }
    for (int i = 0; i < p->n; i++) {
        const struct pt_tensor *t = &p->t[i];
        uint64_t bytes = (uint64_t)t->size;
        for (int k = 0; k < t->ndim; k++) bytes *= (uint64_t)t->shape[k];
        if (bytes != t->bytes || t->data < data || bytes > size - (size_t)(t->data - data)) abort();
        if (pt_find(p, t->name) != t) abort();
        for (uint64_t k = 0; k < bytes; k++) seen += t->data[k];
    }
    if (pt_check(p, &e) < 0 && e.id != E_PT) abort();
    pt_close(p);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct pt_build a = {0};
    check(data, size);
    pt_build_whole(&a, data, size, size % 2);
    char *file = mem_dup(a.file.p, a.file.n); /* of its own, so that reading too far is seen */
    check((unsigned char *)file, a.file.n);
    free(file);
    pt_build_fini(&a);
    return 0;
}
