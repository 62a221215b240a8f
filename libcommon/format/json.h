/* json: jansson with our rules: a size limit, at most 64 levels, at most a million values and one more for 16 bytes, no
 * duplicate keys, integers too big for 64 bits become reals (tokenizer_config.json of many models has one), and
 * messages with file:line:column. */
#ifndef PEFT_FORMAT_JSON_H
#define PEFT_FORMAT_JSON_H
#include <jansson.h>
#include <stddef.h>
#include "libcommon/base/err.h"

/* The document is an object, anything else is an error. id: of the error (E_JSON, E_MODEL, ...). name: in messages. */
json_t *json_parse(const char *text, size_t n, const char *name, enum err_id id, struct err *e);
/* Read and parse a file of at most max bytes. E_NOINPUT, E_IO, id. */
json_t *json_parse_file(const char *path, size_t max, enum err_id id, struct err *e);
/* null for what JSON has no number for. */
json_t *json_real_or_null(double x);
#endif
