/* input: the bytes of a text file, a pipe or stdin, decompressed if they begin as gzip or zstd do (by content, not by
 * name). */
#ifndef PEFT_FORMAT_INPUT_H
#define PEFT_FORMAT_INPUT_H
#include <stddef.h>
#include <sys/types.h>
#include "libcommon/base/err.h"

struct input;
/* path NULL or "-": stdin, E_NOINPUT if it is a terminal. E_NOINPUT, E_COMPRESSED. */
struct input *input_open(const char *path, struct err *e);
struct input *input_open_mem(const void *data, size_t n, const char *name); /* data must outlive it */
ssize_t input_read(struct input *in, void *to, size_t n,
                   struct err *e);              /* at least 1 byte, 0 at the end; E_IO, E_COMPRESSED */
const char *input_name(const struct input *in); /* for messages: "<stdin>" */
void input_close(struct input *in);
#endif
