/* tmpname: temporary names of unfinished outputs, locked while their process lives. Private to out.c and outdir.c. */
#ifndef PEFT_BASE_TMPNAME_H
#define PEFT_BASE_TMPNAME_H
#include <stdbool.h>
#include "libcommon/base/err.h"

/* Create and lock PREFIX<pid>, a file or a directory, after removing those of the same prefix whose process is gone.
 * prefix is a path: "dir/.name.tmp-". Returns the descriptor, -1 with errno set; *name (malloc'ed) is registered as
 * unfinished. */
int tmp_create(const char *prefix, bool dir, char **name);
/* rename, refusing to replace unless force (errno EEXIST). */
int tmp_rename(const char *from, const char *to, bool force);
/* After it: the directory that the name is in reaches the disk, or E_IO says that path is complete all the same. */
int tmp_sync_name(const char *path, struct err *e);
#endif
