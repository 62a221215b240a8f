/* record: struct record <-> the msgpack map of its kind, driven by records.def. Keys stand in the table's order; an
 * unknown, doubled, missing or misplaced key is refused. Not the framing: see stream.h. */
#ifndef PEFT_STREAM_RECORD_H
#define PEFT_STREAM_RECORD_H
#include "libcommon/stream/mp.h"
#include "libcommon/stream/stream.h"

enum field_type {
    FIELD_U64,
    FIELD_U32,
    FIELD_I64,
    FIELD_F64,
    FIELD_TEXT,
    FIELD_LOSSY,
    FIELD_NAME,
    FIELD_IDS,
    FIELD_MASK,
    FIELD_SCORES,
    FIELD_PARTS
};
enum field_when {
    WHEN_ALWAYS,
    WHEN_ANY,     /* left out when empty */
    WHEN_PAIR,    /* left out when the record has parts */
    WHEN_PARTS,   /* the first of the features: left out when empty, */
    WHEN_ADAPTER, /* and listed in the header of a stream that has the feature */
};
extern const char *const field_type_names[]; /* as the header's field list has them: "u64" */
struct field {
    const char *key;
    enum field_type type;
    size_t off, n_off; /* in struct record: the member, and the count of IDS, MASK, SCORES and PARTS */
    enum field_when when;
};
/* The bit in stream_info.has that a field needs; 0: none. */
static inline unsigned field_feature(const struct field *f)
{
    return f->when >= WHEN_PARTS ? 1u << (f->when - WHEN_PARTS) : 0;
}
/* Does the header of such a stream list it? */
static inline bool field_listed(const struct field *f, const struct stream_info *info)
{
    return (field_feature(f) & ~info->has) == 0;
}
/* The fields of a kind; *n their number. */
const struct field *record_fields(enum stream_kind kind, int *n);

/* Members of a record by type. */
static inline const void *field_at(const struct record *r, const struct field *f) { return (const char *)r + f->off; }
static inline uint32_t field_count(const struct record *r, const struct field *f)
{
    return *(const uint32_t *)(const void *)((const char *)r + f->n_off);
}
bool field_absent(const struct record *r, const struct field *f); /* one that is left out of this record */
unsigned kind_features(enum stream_kind kind);                    /* those that its fields have */

/* Append the map of r to b. 0, or -1 with *why naming what cannot be stored. info: bounds of the ids. */
int record_put(struct buf *b, const struct record *r, const struct stream_info *info, const char **why);

/* Memory of decoded records: what must be aligned or NUL-terminated is copied here. */
struct record_room {
    uint32_t *ids;
    size_t ids_cap;
    struct named_value *metric;
    size_t metric_cap;
    struct part *part;
    size_t part_cap;
    struct buf names, prompt;
};
void record_room_fini(struct record_room *m);
uint64_t *record_row(struct record *r); /* its row number; NULL: a log, whose records have none */
/* Read a map; what *r points to lives in the map's bytes and in m. 0, or -1 with *why (borrowed, static or in m). */
int record_get(struct record *r, enum stream_kind kind, const struct mp_value *v, const struct stream_info *info,
               struct record_room *m, const char **why);
#endif
