/* version: what this build is. The Makefile passes the version and the revision, or why there is none. */
#include "libcommon/base/tool.h"

#ifndef PEFT_REVISION
#define PEFT_REVISION "no-git"
#endif
const char peft_version[] = PEFT_VERSION;
const char peft_revision[] = PEFT_REVISION;
