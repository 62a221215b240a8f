/* version: what this build is. The Makefile passes the version; the revision comes with it where git knows one. */
#include "libcommon/base/tool.h"

#ifndef PEFT_REVISION
#define PEFT_REVISION ""
#endif
const char peft_version[] = PEFT_VERSION;
const char peft_revision[] = PEFT_REVISION;
