/* magic: see magic.h. */
#include "libcommon/format/magic.h"

#include <string.h>

#define PANDAS(read) \
    "python3 -c 'import pandas; pandas." read ".to_json(\"rows.jsonl\", orient=\"records\", lines=True)'"

static const struct {
    struct str begin;
    const char *is, *how;
} magics[] = {
#define MAGIC(bytes, is, how)              \
    {                                      \
        {bytes, sizeof bytes - 1}, is, how \
    }
    MAGIC("PAR1", "Parquet", PANDAS("read_parquet(\"FILE\")")),
    MAGIC("ARROW1\0\0", "an Arrow file (Feather)", PANDAS("read_feather(\"FILE\")")),
    MAGIC("\xff\xff\xff\xff", "an Arrow stream",
          "python3 -c 'import datasets; datasets.Dataset.from_file(\"FILE\").to_json(\"rows.jsonl\")'"),
    MAGIC("\xd0\xcf\x11\xe0", "an old Excel or Office document", "save it as CSV (UTF-8)"),
    MAGIC("BZh", "compressed with bzip2", "bzip2 -dc FILE | peft-prep"),
    MAGIC("\xfd"
          "7zXZ",
          "compressed with xz", "xz -dc FILE | peft-prep"),
    MAGIC("7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "7z e -so FILE | peft-prep"),
    MAGIC("SQLite format 3", "an SQLite database", "sqlite3 -csv -header FILE 'select * from TABLE' | peft-prep"),
    MAGIC("\x89HDF", "HDF5", PANDAS("read_hdf(\"FILE\")")),
    MAGIC("Obj\x01", "Avro", "convert it to JSON lines: avro cat FILE"),
    MAGIC("%PDF-", "a PDF", "rows of text are needed: CSV, TSV or JSON lines"),
    MAGIC("GGUF", "a GGUF model", "models are given with -m"),
    MAGIC("\x80\x02", "a Python pickle", PANDAS("read_pickle(\"FILE\")")),
    MAGIC("\x80\x03", "a Python pickle", PANDAS("read_pickle(\"FILE\")")),
    MAGIC("\x80\x04", "a Python pickle", PANDAS("read_pickle(\"FILE\")")),
    MAGIC("\x80\x05", "a Python pickle", PANDAS("read_pickle(\"FILE\")")),
#undef MAGIC
};

static int refuse(const char *name, const char *is, const char *how, struct err *e)
{
    err_set(e, E_ENCODING, "%s: is %s, expected CSV, TSV or JSON lines", name, is);
    return err_hint(e, "%s", how);
}

/* A zip archive whose first member is called so is an Office document. */
static int refuse_zip(struct str first, const char *name, struct err *e)
{
    enum { NAME_AT = 30 }; /* of the first member, in its header */
    static const char *const office[] = {"[Content_Types].xml", "_rels/", "xl/", "docProps/"};
    for (size_t i = 0; i < sizeof office / sizeof *office; i++) {
        size_t n = strlen(office[i]);
        if (first.n >= NAME_AT + n && !memcmp(first.p + NAME_AT, office[i], n))
            return refuse(name, "an Excel workbook or another Office document",
                          "save it as CSV (UTF-8), or: " PANDAS("read_excel(\"FILE\")"), e);
    }
    return refuse(name, "a zip archive", "unzip -p FILE | peft-prep", e);
}

int magic_refuse(struct str first, const char *name, struct err *e)
{
    if (first.n >= 4 && !memcmp(first.p, "PK\x03\x04", 4)) return refuse_zip(first, name, e);
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        struct str m = magics[i].begin;
        if (first.n >= m.n && !memcmp(first.p, m.p, m.n)) return refuse(name, magics[i].is, magics[i].how, e);
    }
    return 0;
}
