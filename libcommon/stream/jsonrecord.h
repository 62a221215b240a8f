/* jsonrecord: a record from its JSON object, the reverse of json_record. */
#ifndef PEFT_STREAM_JSONRECORD_H
#define PEFT_STREAM_JSONRECORD_H
#include <jansson.h>
#include "libcommon/stream/stream.h"

struct json_room { /* what a record points to besides the JSON; {0} is valid */
    uint32_t *ids;
    uint8_t *mask;
    struct part *part;
    struct named_value *value;
    size_t ids_cap, mask_cap, part_cap, value_cap;
};
/* The kind whose record has all these fields, or -1. */
int json_record_kind(const json_t *o);
/* Fill *r, whose kind is set. Of tokens n_prompt, prompt and target may be missing (then: the leading tokens that are
 * not trained on, and nothing), and of all kinds the row, which is `row` then. 0, or -1 with *why in text that the room
 * or this function owns. Bytes of *r are borrowed from o and m. */
int json_record_get(struct record *r, const json_t *o, uint64_t row, struct json_room *m, const char **why);
void json_room_fini(struct json_room *m);
#endif
