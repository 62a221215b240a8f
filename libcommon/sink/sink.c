/* sink: the registry. */
#include "libcommon/sink/sink.h"
#include <string.h>

const struct sink *const sinks[] = {
#define SINK(name, help) &sink_##name,
#include "libcommon/sink/sinks.def"
#undef SINK
    NULL};

const struct sink *sink_find(const char *name)
{
    for (int i = 0; sinks[i]; i++)
        if (!strcmp(sinks[i]->name, name)) return sinks[i];
    return NULL;
}

const char sinks_help[] =
#define SINK(name, help) "  " #name ": " help "\n"
#include "libcommon/sink/sinks.def"
#undef SINK
    ;
