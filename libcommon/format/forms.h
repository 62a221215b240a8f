/* forms: shapes of rows that other trainers read, by their columns, and what gives peft-prep the same. */
#ifndef PEFT_FORMAT_FORMS_H
#define PEFT_FORMAT_FORMS_H
#include "libcommon/format/table.h"

/* The hint for a row of a known shape, or NULL. */
const char *form_hint(const struct row *row);
#endif
