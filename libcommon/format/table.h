/* table: named columns, whichever text format the file has; a stream of examples has the columns that peft-log cat
 * shows. One file at a time; every value is text. */
#ifndef PEFT_FORMAT_TABLE_H
#define PEFT_FORMAT_TABLE_H
#include "libcommon/base/opt.h"
#include "libcommon/format/csv.h"

enum table_format {
    TABLE_AUTO,
    TABLE_CSV,
    TABLE_TSV,
    TABLE_JSONL
}; /* AUTO: by the name's ending, else by the first line */

struct table_opts {
    enum table_format format;
    enum encoding enc;
    enum csv_quoting quoting;      /* of CSV */
    char delimiter;                /* of CSV; 0: as the format has it, or a first line sep=; says */
    const struct strlist *columns; /* names; n == 0: the first row has them */
    bool unique;                   /* the names of CSV must differ, as rows become JSON */
};

struct row {
    const char *file; /* for messages */
    uint64_t line;    /* on which it begins */
    int n;
    const struct str *name, *value; /* [n]; value.p == NULL: of a type that has no text */
    const char *const *type;        /* [n] or NULL: all are strings */
    struct str source;              /* JSON lines: the line; else n == 0 */
    const struct json_t *object;    /* JSON lines: all of it (parts.h); else NULL */
};

struct table;
struct stream_reader;
struct table *table_open(const char *path, const struct table_opts *o, struct err *e);
int table_next(struct table *r, struct row *row,
               struct err *e); /* 1, 0 at the end; E_CSV_RAGGED and those of csv.h, jsonl.h */
/* The stream of examples whose rows these are, NULL: another kind of file. */
const struct stream_reader *table_stream(const struct table *r);
bool table_digest(const struct table *r, unsigned char sha256[32]); /* of the file, once it has been read to its end */
void table_close(struct table *r);                                  /* warns of tolerated quotes and replaced bytes */

/* The text of the column called so, exactly or else without regard to ASCII case, into *value. E_CSV_HEADER: there is
 * no such column (with those there are), or two; E_JSON: it has no text. */
int row_text(const struct row *row, struct str name, struct str *value, struct err *e);
/* The same, but *value is empty where the column is absent or null. 1: it was there, null or not. */
int row_optional(const struct row *row, struct str name, struct str *value, struct err *e);
/* Append the row as a JSON object, without line feed. Columns without a name are left out. */
void row_json(const struct row *row, struct buf *b);
#endif
