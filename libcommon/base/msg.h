/* msg: what a person reads on stderr while a tool works: warnings, notes, and progress. Errors go by struct err
 * instead. One line each: "peft-tok: warning: ...". With --errors json one JSON object a line. Never on stdout. */
#ifndef PEFT_BASE_MSG_H
#define PEFT_BASE_MSG_H
#include <stdbool.h>
struct err;

void msg_init(const char *tool, bool quiet, bool verbose, bool json); /* tool is borrowed */
void msg_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void msg_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));  /* not with -q */
void msg_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* only with -v */
void msg_error(const struct err *e);                                        /* used by tool_main */
/* One error line, without allocating or stdio: for want of memory and for signal handlers. text is plain. */
void msg_last(int id, const char *text);

/* A progress line, not with -q: rewritten in place, at most ten times a second, if stderr is a terminal; a line every
 * 30 seconds if it is a file; nothing if it is a terminal and stdout a pipe, as the last stage of the pipe draws there.
 * msg_progress(NULL) clears it. Other messages clear and redraw it. */
void msg_progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
bool msg_is_terminal(void); /* would msg_progress rewrite a line? */
int msg_columns(int fd);    /* of the terminal; 0: it is none */

/* The accounting line of every stage: "peft-tok: in=100 out=98 dropped=2 reason=too_long:1,empty_target:1".
 * Printed even when it is all zero; not with -q. reasons may be "". */
void msg_account(unsigned long long in, unsigned long long out, unsigned long long dropped, const char *reasons);
#endif
