/* magic: binary formats that are often taken for text tables, by their first bytes. */
#ifndef PEFT_FORMAT_MAGIC_H
#define PEFT_FORMAT_MAGIC_H
#include "libcommon/base/err.h"
#include "libcommon/base/mem.h"

enum { MAGIC_BYTES = 64 }; /* that are looked at, if there are so many */
/* E_ENCODING with the format's name and how to make JSON lines of it, if the bytes begin as one of them do; else 0. */
int magic_refuse(struct str first, const char *name, struct err *e);
#endif
