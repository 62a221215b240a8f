/* digest_cache: SHA-256 over the bytes of one or more files in the given order, remembered between runs.
 *
 * A result is kept under $XDG_CACHE_HOME/peft/digests (or ~/.cache/peft/digests) by the device, inode, size, mtime and
 * ctime that the mapped files had when they were mapped, unless one was written to by the time it was hashed. ctime
 * cannot be set by a user, so a file that was changed and given its old mtime is hashed anew. A cache that cannot be
 * read or written only costs time. */
#ifndef PEFT_FORMAT_DIGEST_CACHE_H
#define PEFT_FORMAT_DIGEST_CACHE_H
#include <stddef.h>
#include "libcommon/base/err.h"
struct filemap;
void digest_files(const struct filemap *const *part, int n, unsigned char out[32]);
#endif
