/* body: the three records that are not data: header, END, ABORT; and the provenance step of a run. Maps as in
 * man/peft-stream.5. */
#ifndef PEFT_STREAM_BODY_H
#define PEFT_STREAM_BODY_H
#include "libcommon/stream/mp.h"
#include "libcommon/stream/stream.h"

enum { STREAM_MAJOR = 1, STREAM_MINOR = 1 };
/* The lowest minor version that has all of such a stream: what a writer states. */
int stream_minor(const struct stream_info *info);
enum {
    STREAM_FRAME_TARGET = 1 << 20, /* a frame is closed before it grows above this */
    STREAM_FRAME_MAX = 16 << 20,   /* a single record may be this large */
    STREAM_STEPS_MAX = 256,
    STREAM_UPSTREAM_MAX = 4096,
};
#define STREAM_MAGIC "PEFTSTRM"
/* The first bytes of a stream of version 1.0: a skippable frame of 10 bytes: magic, major, minor. */
extern const unsigned char stream_preamble[18];

struct chain { /* encoded objects of a list */
    struct buf raw;
    uint32_t n;
};
void chain_add(struct chain *to, const struct chain *from);

/* Append the step of a run: tool, version, revision, redacted arguments, digest of the options, seed, names of the
 * inputs. */
void step_put(struct chain *steps, const struct tool_run *run);
/* Arguments without what cannot change the data (-o, -f, -q, -v, --threads, --errors, --resume). Names of files are cut
 * to their last part, as are absolute paths in other arguments. */
void step_argv(struct buf *list, uint32_t *n, const struct opt_set *set, int argc, char *const *argv);

struct header {
    struct stream_info info;
    struct chain steps;
    char *json;      /* the steps */
    char writer[96]; /* tool and version of the last step, for messages */
};
void header_put(struct buf *b, const struct header *h);
/* -id with *e's message lacking the place, to be prefixed. major, minor: of the preamble. */
int header_get(struct header *h, const struct mp_value *body, int minor, struct err *e);

struct tail {
    uint64_t records, frames, bytes, tokens;
    unsigned char digest[32], seal[32];
    struct chain upstream;
    char *json; /* of upstream */
    struct accounting acc;
};
enum { SEAL_BYTES = 66 }; /* the seal's value: a str 8 of 64 hex digits, last bytes of the END record */
void tail_put(struct buf *b, const struct tail *t); /* the seal too */
int tail_get(struct tail *t, const struct mp_value *body, const char **why);
/* What a stage adds to `upstream` about an input that it has read to the end. */
void upstream_put(struct chain *c, const char *tool, const struct tail *t);

/* What a writer takes from its input's reader. */
const struct chain *stream_steps(const struct stream_reader *r);
const struct tail *stream_tail(const struct stream_reader *r);
const char *stream_writer_of(
    const struct stream_reader *r); /* name of the last step's tool; static buffer per thread */

/* ABORT: id text, message and stage that failed first. */
void abort_put(struct buf *b, const char *stage, const struct err *why);
int abort_get(const struct mp_value *body, const char *place,
              struct err *e); /* fills E_STREAM_ABORT or E_STREAM_RECORD */
#endif
