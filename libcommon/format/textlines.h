/* textlines: text lines of an input, checked and turned into UTF-8. A byte order mark is dropped; NUL, invalid bytes
 * and UTF-16 are errors with file:line:column (columns count bytes from 1). A line is at most 16 MiB and is held whole.
 */
#ifndef PEFT_FORMAT_TEXTLINES_H
#define PEFT_FORMAT_TEXTLINES_H
#include <stdbool.h>
#include "libcommon/base/mem.h"
#include "libcommon/format/input.h"

/* CP1252: Windows' Latin-1, with quotes, dashes and the euro at 0x80 to 0x9f. REPLACE: each invalid byte becomes
 * U+FFFD, and is counted. */
enum encoding { ENC_UTF8, ENC_LATIN1, ENC_CP1252, ENC_REPLACE };
enum { LINE_MAX_BYTES = 16 << 20 };

struct textlines {
    struct input *in; /* borrowed */
    enum encoding enc;
    uint64_t number;   /* of the last line given, from 1 */
    uint64_t replaced; /* bytes */
    uint64_t controls; /* bytes 0x80 to 0x9f of Latin-1, which no text has */
    struct buf raw, text;
    size_t pos;
    bool eof;
};
void textlines_init(struct textlines *l, struct input *in, enum encoding enc);
/* The next line with its line feed, if it has one (the last may not): 1; 0 at the end. Valid until the next call.
 * E_ENCODING, E_CSV_SIZE, E_IO, E_COMPRESSED. */
int textlines_next(struct textlines *l, struct str *line, struct err *e);
/* Look at the first bytes without taking them. */
int textlines_peek(struct textlines *l, struct str *first, struct err *e);
void textlines_fini(struct textlines *l);
#endif
