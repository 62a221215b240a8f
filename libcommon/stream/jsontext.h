/* jsontext: JSON as text, written piece by piece: strings safe for a terminal, numbers that read back as the same
 * value. */
#ifndef PEFT_STREAM_JSONTEXT_H
#define PEFT_STREAM_JSONTEXT_H
#include "libcommon/base/mem.h"
#include "libcommon/stream/stream.h"

/* Append s (valid UTF-8) as a JSON string with its quotes; control characters, C1 too, become \uXXXX. */
void json_text(struct buf *b, struct str s);
/* Append a number; NaN and the infinities, which JSON lacks, as the strings "NaN", "Infinity", "-Infinity". */
void json_number(struct buf *b, double x);
/* Append a record as one JSON object: the fields of records.def, ids and masks as lists. */
void json_record(struct buf *b, const struct record *r);
/* Append s for a person: control characters (C1 too) as in C, so that no text can steer a terminal. */
void plain_text(struct buf *b, struct str s);
/* Append parts as peft-prep reads them: [{"text":"...","train":false},...]. */
void json_parts(struct buf *b, const struct part *p, uint32_t n);
#endif
