/* err: the error value that every fallible function of libcommon fills once, where place and detail are known.
 *
 * Convention: a function returns 0 (or a count >= 0) on success and -(enum err_id) on failure; a constructor returns
 * NULL on failure. Either way *e is filled. The first error wins: err_set on a filled err changes nothing, so a caller
 * may call it again on the way up without hiding the cause. Nothing here prints or exits; tool_main does that. */
#ifndef PEFT_BASE_ERR_H
#define PEFT_BASE_ERR_H

enum err_id {
    E_NONE = 0,
#define ERR(id, text, code, meaning) id,
#include "libcommon/base/errors.def"
#undef ERR
    E_COUNT
};

struct err {
    int id; /* enum err_id; 0: no error */
    /* place, found against expected; no trailing newline. One line, but one a mistake for a config file */
    char msg[4096];
    char hint[768]; /* what to do; "" for none; may hold several lines */
};

/* Fill *e (e may not be NULL) and return -id. fmt makes the message; it begins with the place: "data.csv:17:3: ...".
 * Untrusted text in it must go through err_quote. */
int err_set(struct err *e, enum err_id id, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Add a hint line to a filled *e. Returns -e->id. */
int err_hint(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* err_set with ": strerror(errno)" appended, the id chosen by errno: ENOSPC/EIO -> E_IO, ENOENT/EACCES -> id given. */
int err_sys(struct err *e, enum err_id id, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Put text before the message of a filled *e: "layer 3: " + msg. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const char *err_name(int id); /* "E-CSV-QUOTE" */
int err_exit_code(int id);    /* the documented exit code, 70 for an unknown id */

/* C-style quoted copy, quotes included, of n untrusted bytes, cut at 80 characters, in one of 4 rotating static buffers
 * (per thread). */
const char *err_quote(const char *s, unsigned long n);
const char *err_quotez(const char *s); /* of a C string; "(null)" for NULL */
/* The name of `names[0..n)` nearest to s (edit distance <= 1/3 of its length + 1, and half of it), or NULL. For "did
 * you mean". */
const char *err_nearest(const char *s, const char *const *names, int n);
#endif
