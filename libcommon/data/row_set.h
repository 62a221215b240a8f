/* row_set: which rows an adapter was trained on: 8 bytes a row, of the texts of prompt and target, so that who scores
 * it can tell rows that it has seen. A file in the adapter's directory: "PEFTROWS", a u32 version (1), a u32 zero, a
 * u64 count, and the digests as u64, ascending; all little-endian. */
#ifndef PEFT_DATA_ROW_SET_H
#define PEFT_DATA_ROW_SET_H
#include "libcommon/base/err.h"
#include "libcommon/base/mem.h"

#define ROW_SET_FILE "trained_rows.bin"

struct dataset;
struct row_set { /* {0} is empty and valid */
    uint64_t *v; /* [n] ascending, none twice */
    size_t n, cap;
};
/* Add the rows of d: what they are is prompt and target without the white space around them, or, of rows without texts,
 * their ids. */
void row_set_add(struct row_set *s, const struct dataset *d);
bool row_set_has(const struct row_set *s, const struct dataset *d, size_t i); /* row[i] of d */
void row_set_join(struct row_set *s, const struct row_set *t);                /* add those of t */
/* How many rows of d are in s. */
size_t row_set_count(const struct row_set *s, const struct dataset *d);
void row_set_put(const struct row_set *s, struct buf *b); /* the file's bytes */
/* Take in the file of this directory, if there is one. E_ADAPTER: it is damaged. */
int row_set_read(struct row_set *s, const char *dir, struct err *e);
void row_set_fini(struct row_set *s);
#endif
