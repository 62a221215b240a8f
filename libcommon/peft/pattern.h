/* pattern: a regular expression as Python's re.fullmatch reads it, for ASCII text of one line (paths of modules). PCRE2
 * is the engine. An expression that Python refuses, or that PCRE2 reads otherwise than Python, is refused by name. */
#ifndef PEFT_PEFT_PATTERN_H
#define PEFT_PEFT_PATTERN_H
#include <stdbool.h>
#include "libcommon/base/err.h"

struct pattern;
struct pattern *pattern_new(const char *expression, struct err *e); /* E_TARGET: what is wrong, and where */
/* 1: it matches all of text, 0: it does not. E_TARGET: finding out takes too many steps. */
int pattern_matches(const struct pattern *p, const char *text, struct err *e);
void pattern_free(struct pattern *p);
#endif
