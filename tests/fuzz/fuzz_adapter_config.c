/* fuzz_adapter_config: any bytes as JSON of a model or an adapter (config.json, adapter_config.json,
 * tokenizer_config.json): the one parser that all of them go through. A refusal carries the id that was asked for and a
 * place; an accepted text is an object that is written and read again as the same. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/format/json.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct err e = {0};
    json_t *j = json_parse((const char *)data, size, "f", E_ADAPTER, &e);
    if (!j) {
        if (e.id != E_ADAPTER || strncmp(e.msg, "f:", 2)) abort();
        return 0;
    }
    char *text = json_dumps(j, JSON_REAL_PRECISION(17));
    json_t *again = text ? json_parse(text, strlen(text), "g", E_ADAPTER, &e) : NULL;
    if (!json_is_object(j) || !again || !json_equal(j, again)) abort();
    free(text);
    json_decref(j);
    json_decref(again);
    return 0;
}
