/* fuzz_model_config: any bytes as config.json of a model: its architecture and every key of it that counts. What is
 * accepted has dimensions that a model can have. */
#include <stdlib.h>

#include "libcommon/base/mem.h"
#include "libcommon/model/config_table.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct err e = {0};
    char family[FAMILY_MAX], *text = mem_dup((const char *)data, size);
    const struct weights w = {.kind = WEIGHTS_HF, .path = "f", .config_json = text};
    struct model_config c = {0};
    int rc = config_arch_hf(&w, family, &e) ? config_read_hf(&c, &w, family, &e) : -e.id;
    if (rc && (!e.id || !e.msg[0])) abort();
    if (!rc && (c.C < 1 || c.F < 1 || c.L < 1 || c.H < 1 || c.K < 1 || c.H % c.K || c.D < 1 || c.V < 1)) abort();
    free(text);
    return 0;
}
