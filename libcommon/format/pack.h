/* pack: JSON lines, as peft-log cat prints them, become a stream again. */
#ifndef PEFT_FORMAT_PACK_H
#define PEFT_FORMAT_PACK_H
#include "libcommon/base/tool.h"

struct pack {
    struct strlist paths; /* one after the other; none: stdin */
    int kind;             /* enum stream_kind, or -1: as the first line's fields say */
    const char *like;     /* a stream whose tokenizer, vocabulary and base model these records are of, or NULL */
    const char *output;
    bool force;
};
/* Prints the accounting line. E_JSON names file and line. */
int pack_run(const struct pack *o, const struct tool_run *run, struct err *e);
#endif
