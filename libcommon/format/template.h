/* template: "Q: {question}\nA:": text with columns in braces. {name?} is empty where the column is absent or null,
 * unless there is one called "name?". {{ and }} are braces; \n, \t, \r and \\ are read as in C, since a command line
 * has no other way to say them. */
#ifndef PEFT_FORMAT_TEMPLATE_H
#define PEFT_FORMAT_TEMPLATE_H
#include "libcommon/format/table.h"

struct template;
/* option: "--prompt", for messages. E_TEMPLATE. */
struct template *template_parse(const char *text, const char *option, struct err *e);
void template_free(struct template *t);
/* From now on {name} means the column `column`. */
void template_alias(struct template *t, const char *name, const char *column);
/* Append the row's text to b. *blank: every column in it is empty or white space (a template without columns never is).
 * E_CSV_HEADER, E_JSON: as row_text. */
int template_render(struct template *t, const struct row *row, struct buf *b, bool *blank, struct err *e);
/* A column that was asked for as {name?} and that no row rendered so far has: its name, or NULL. */
const char *template_unmet(struct template *t);
#endif
