/* fuzz_json_index: any bytes as model.safetensors.index.json. A refusal is E_MODEL or E_POLICY with a message; every
 * name of an accepted one is a plain file name. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/format/hfdir.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct err e = {0};
    json_t *map = NULL, *v;
    const char *key;
    if (hfdir_index((const char *)data, size, "f", &map, &e)) {
        if ((e.id != E_MODEL && e.id != E_POLICY) || !e.msg[0] || map) abort();
        return 0;
    }
    json_object_foreach(map, key, v)
    {
        const char *name = json_string_value(v);
        if (!name || strchr(name, '/') || name[0] == '.' || name[0] == '-' || !strstr(name, ".safetensors")) abort();
    }
    json_decref(map);
    return 0;
}
