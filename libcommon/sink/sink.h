/* sink: a stream turned into text. Each sink is one file that exports one symbol, sink_NAME, and one line of sinks.def.
 */
#ifndef PEFT_SINK_SINK_H
#define PEFT_SINK_SINK_H
#include "libcommon/base/out.h"
#include "libcommon/stream/stream.h"

struct sink_job {
    struct stream_reader *in;
    struct out *out;
    const char *name; /* of the input, for messages */
    bool json;        /* verify, trace: JSON instead of text */
    bool terminal;    /* out is a terminal */
    bool quiet;       /* -q: verify says nothing of a stream that is whole */
    bool utf8;        /* and shows block characters */
};
struct sink {
    const char *name;
    bool each; /* of several files each for itself, not all as one stream */
    /* Read job->in to its end. What was read before an error is written nevertheless. */
    int (*run)(const struct sink_job *job, struct err *e);
};
#define SINK(name, help) extern const struct sink sink_##name;
#include "libcommon/sink/sinks.def"
#undef SINK
extern const struct sink *const sinks[]; /* ended by NULL */
const struct sink *sink_find(const char *name);
extern const char sinks_help[]; /* a line each, for --help */
#endif
