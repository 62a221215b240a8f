/* method: the registry of methods.def. */
#include "libcommon/peft/method.h"

#include <string.h>

#define METHOD(name) extern const struct peft_method peft_##name;
#include "libcommon/peft/methods.def"
#undef METHOD
const struct peft_method *const peft_methods[] = {
#define METHOD(name) &peft_##name,
#include "libcommon/peft/methods.def"
#undef METHOD
    NULL};

const struct peft_method *peft_method_find(const char *name_or_type)
{
    for (int i = 0; peft_methods[i]; i++)
        if (!strcmp(peft_methods[i]->name, name_or_type) || !strcmp(peft_methods[i]->peft_type, name_or_type))
            return peft_methods[i];
    return NULL;
}
