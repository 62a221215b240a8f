/* input: the bytes of a text file, a pipe or stdin, decompressed if they begin as gzip or zstd do (by content, not by
 * name). */
#ifndef PEFT_FORMAT_INPUT_H
#define PEFT_FORMAT_INPUT_H
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "libcommon/base/err.h"

struct input;
/* path NULL or "-": stdin, E_NOINPUT if it is a terminal. E_NOINPUT, E_COMPRESSED. */
struct input *input_open(const char *path, struct err *e);
struct input *input_open_mem(const void *data, size_t n, const char *name); /* data must outlive it */
ssize_t input_read(struct input *in, void *to, size_t n,
                   struct err *e); /* at least 1 byte, 0 at the end; E_IO, E_COMPRESSED */
/* Is it a stream of these tools? Then input_stream alone reads it, and takes its descriptor over. */
bool input_is_stream(const struct input *in);
struct stream_reader;
struct stream_reader *input_stream(struct input *in, int kind, struct err *e);
bool input_digest(const struct input *in,
                  unsigned char sha256[32]);    /* of all bytes as they came; false: not at the end yet */
const char *input_name(const struct input *in); /* for messages: "<stdin>" */
void input_close(struct input *in);
#endif
