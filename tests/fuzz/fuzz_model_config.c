/* fuzz_model_config: any bytes as config.json of a model: its architecture and every key of it that counts. A refusal
 * has a message; what is accepted has dimensions that a model can have. */
#include <math.h>
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
    int rc = config_arch_hf(&w, family, &e) ? config_read_hf(&c, &w, family, &e) : -(int)e.id;
    if (rc ? (e.id != E_MODEL && e.id != E_ARCH) || !e.msg[0] : e.id != 0) abort();
    if (!rc) {
        if (c.C < 1 || c.F < 1 || c.L < 1 || c.L > LAYERS_MAX || c.H < 1 || c.K < 1 || c.H % c.K || c.V < 1) abort();
        if (c.D < 2 || c.D % 2 || c.max_pos < 1 || c.window < 0) abort();
        if (!(c.norm_eps > 0) || !isfinite(c.norm_eps)) abort();
    }
    free(text);
    return 0;
}
