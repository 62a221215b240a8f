/* idlines: --encode and --decode of peft-tok: lines of text to lines of ids and back. */
#ifndef PEFT_TOKEN_IDLINES_H
#define PEFT_TOKEN_IDLINES_H
#include <stdio.h>
#include "libcommon/base/out.h"
#include "libcommon/token/tokenizer.h"

/* json: a line of text is a JSON string, a line of ids a JSON array; so that texts may hold line breaks. name: in
 * messages. bos: put the tokenizer's BOS before each line. flags: of tokenizer_encode. Returns the number of lines.
 * E_ENCODING, E_JSON, E_TOKENIZER, E_IO. */
int64_t idlines_encode(const struct tokenizer *t, FILE *in, const char *name, bool bos, unsigned flags, bool json,
                       struct out *o, struct err *e);
int64_t idlines_decode(const struct tokenizer *t, FILE *in, const char *name, bool json, struct out *o, struct err *e);
#endif
