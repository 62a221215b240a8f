/* reader: the inside of a stream_reader, for stream_read.c, which reads one file, and stream_join.c, which reads
 * several as one. */
#ifndef PEFT_STREAM_READER_H
#define PEFT_STREAM_READER_H
#include "libcommon/base/digest.h"
#include "libcommon/stream/body.h"
#include "libcommon/stream/record.h"
#include "libcommon/stream/source.h"
#include "libcommon/stream/zst.h"

enum reader_state { READING, ENDED, FAILED };

struct stream_reader {
    struct source src;
    char *name;        /* for messages */
    struct buf packed; /* the frame as it came */
    struct buf plain;  /* its content */
    size_t pos;        /* read so far in plain */
    uint64_t frame_at; /* compressed offset of the frame */
    uint64_t seq, frames, records, bytes, tokens;
    enum reader_state state;
    struct err failed; /* given again by every later call */
    struct sha256 *sha;
    struct zst_dec *dec;
    struct mp_tree *tree;
    struct record_room room;
    struct header head;
    struct tail tail;
    uint64_t last_row;          /* rows ascend */
    struct stream_reader *then; /* to be read behind this one, or NULL */
    struct join *join;          /* of the first of several */
};

int stream_file_next(struct stream_reader *r, struct record *rec, struct err *e); /* stream_next of this file alone */
void stream_join_free(struct join *j);                                            /* NULL is fine */
#endif
