/* parts: what JSON lines can say that is no text of a column:
 *   "parts": [{"text": "Q: a\nA:", "train": false}, {"text": " b", "train": true}]    "adapter": "french"
 * Everything that is not exactly so is an error that names file, line and part. */
#ifndef PEFT_FORMAT_PARTS_H
#define PEFT_FORMAT_PARTS_H
#include "libcommon/format/table.h"
#include "libcommon/stream/stream.h"

struct part_list { /* {0} is valid; reused from row to row */
    struct part *v;
    size_t cap;
    uint32_t n;
};
bool row_has(const struct row *row, const char *field); /* of JSON lines; false for CSV */
/* The field "parts", which row_has: one part or more, one at least to be trained on. Texts are borrowed from the row.
 * E_JSON. */
int row_parts(const struct row *row, struct part_list *p, struct err *e);
/* The field "adapter": its name, borrowed, or NULL if it is null or not there. E_JSON. */
int row_adapter(const struct row *row, const char **name, struct err *e);
int row_adapter_wrong(const struct row *row, const char *column, struct str s, struct err *e); /* E_JSON */
#endif
