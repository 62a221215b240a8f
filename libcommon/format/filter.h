/* filter: lines through an external program, both ways at once, so that neither side can block the other. The command
 * comes from the command line and is run by /bin/sh; nothing of the data is ever a part of it. */
#ifndef PEFT_FORMAT_FILTER_H
#define PEFT_FORMAT_FILTER_H
#include "libcommon/base/err.h"
#include "libcommon/base/mem.h"

struct filter;
/* feed: append the next line, with its line feed, to b; returns 1, 0 at the end, < 0 with *e. */
typedef int (*filter_feed)(void *ctx, struct buf *b, struct err *e);
struct filter *filter_open(const char *command, filter_feed feed, void *ctx, struct err *e);
/* The next line that the program wrote, without its line feed: 1. 0: it has ended well and read all. E_FILTER: it
 * failed, or stopped reading. Valid until the next call. */
int filter_next(struct filter *f, struct str *line, struct err *e);
void filter_close(struct filter *f); /* ends a program that still runs */
#endif
