/* sums: SHA-256 of the files of a directory. A directory that a tool makes as a whole has them in a file MANIFEST, in
 * the format of sha256sum(1), which can check it too. It is what -f knows such a directory by. */
#ifndef PEFT_BASE_SUMS_H
#define PEFT_BASE_SUMS_H
#include <stdbool.h>
#include <stddef.h>
#include "libcommon/base/err.h"
#include "libcommon/base/mem.h"

#define SUMS_FILE "MANIFEST"

struct sums {
    struct sum {
        char *name; /* relative to the directory, "adapter/adapter_config.json" */
        unsigned char sha256[32];
    } * v;
    size_t n, cap;
};

int sums_add(struct sums *s, const char *dir, const char *name, struct err *e); /* one file */
/* Every file at and below dir/below ("" for dir itself) but for MANIFEST, in the order of their names. */
int sums_add_tree(struct sums *s, const char *dir, const char *below, struct err *e);
/* A name that stays in the directory: what a file says is to be asked that. */
bool sums_is_below(const char *name);
void sums_put(struct sums *s, const char *name, const unsigned char sha256[32]); /* one that is known */
void sums_text(const struct sums *s, struct buf *b);                             /* as sha256sum prints them */
/* What dir/MANIFEST says; id: of the error if it says something else than names and digests. E_NOINPUT. */
int sums_read(struct sums *s, const char *dir, enum err_id id, struct err *e);
/* Is each file there as it was? id: of the error that names the first that is not. */
int sums_check(const struct sums *s, const char *dir, enum err_id id, struct err *e);
/* An entry of dir that is neither listed nor MANIFEST, malloc'ed; NULL: there is none. */
char *sums_foreign(const struct sums *s, const char *dir);
void sums_fini(struct sums *s);
#endif
