/* jsonl: one JSON object a line. A value keeps its text: a string decoded, a number or boolean as it is spelled in the
 * source (1.10 stays 1.10). Lists, objects and null have no text; who needs one gets an error. At most 64 levels, no
 * duplicate keys. */
#ifndef PEFT_FORMAT_JSONL_H
#define PEFT_FORMAT_JSONL_H
#include <jansson.h>
#include "libcommon/format/textlines.h"

struct jsonl;
struct jsonl_row {
    uint64_t line;
    int n;
    const struct str *key,
        *value; /* [n] in the line's order; a value without text has p == NULL; valid until the next call */
    const char *const *type; /* [n] "string", "number", "boolean", "null", "list", "object" */
    struct str source;       /* the line, without its end */
    const json_t *object;    /* the whole of it, valid until the next call */
};
struct jsonl *jsonl_open(struct input *in, enum encoding enc); /* in is borrowed; NULL: lines come by jsonl_parse */
int jsonl_next(struct jsonl *j, struct jsonl_row *row,
               struct err *e); /* 1, 0 at the end; E_JSON, those of textlines.h. Blank lines are skipped */
/* A line from elsewhere. name, number: for messages. */
int jsonl_parse(struct jsonl *j, struct str line, const char *name, uint64_t number, struct jsonl_row *row,
                struct err *e);
const char *jsonl_type(const json_t *v); /* as in jsonl_row.type */
struct textlines *jsonl_lines(struct jsonl *j);
void jsonl_close(struct jsonl *j);
#endif
