/* digest_cache: SHA-256 over the bytes of one or more files in the given order, remembered between runs, and with it
 * that the files passed a check of their contents.
 *
 * A result is kept under $XDG_CACHE_HOME/peft/checked (or ~/.cache/peft/checked) by the device, inode, size, mtime and
 * ctime that the mapped files had when they were mapped, unless one was written to by the time it was hashed. ctime
 * cannot be set by a user, so a file that was changed and given its old mtime is read anew. A cache that cannot be read
 * or written only costs time. */
#ifndef PEFT_FORMAT_DIGEST_CACHE_H
#define PEFT_FORMAT_DIGEST_CACHE_H
#include <stdbool.h>
#include <stddef.h>
#include "libcommon/base/err.h"
struct filemap;
/* check is called for all bytes in turn, while they are in the CPU's reach; not if the result was remembered. False:
 * the contents are refused; then digest_files is false too, at once, and nothing is remembered. */
typedef bool digest_check(void *ctx, const void *data, size_t n);
bool digest_files(const struct filemap *const *part, int n, digest_check *check, void *ctx, unsigned char out[32]);
#endif
