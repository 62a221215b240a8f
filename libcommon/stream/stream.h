/* stream: typed records between tools: msgpack in zstd frames, with checksums, sequence numbers, an END record that
 * carries counts and a digest, an ABORT record when a stage fails, and the provenance of every stage before.
 * man/peft-stream.5 is the format's document; records.def lists the fields of each kind. */
#ifndef PEFT_STREAM_STREAM_H
#define PEFT_STREAM_STREAM_H
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include "libcommon/base/err.h"
#include "libcommon/base/mem.h"
#include "libcommon/base/tool.h"

enum stream_kind { STREAM_EXAMPLES, STREAM_TOKENS, STREAM_METRICS, STREAM_PREDICTIONS, STREAM_TELEMETRY, STREAM_KINDS };
extern const char *const stream_kind_names[STREAM_KINDS];
static inline bool stream_is_log(enum stream_kind k) { return k == STREAM_METRICS || k == STREAM_TELEMETRY; }
/* Features: optional fields that a reader must know of. A stream without them is one of version 1.0. */
enum { STREAM_HAS_PARTS = 1, STREAM_HAS_ADAPTER = 2 };
extern const char *const stream_feature_names[]; /* by bit, ended by NULL */

/* A piece of an example's text. */
struct part {
    struct str text;
    bool train;
};

struct example {
    uint64_t row; /* number of the data row in its input, from 1 */
    struct str prompt, target;
    struct str group; /* n == 0: none */
    /* Instead of the pair: any number of parts, of which one at least is trained on; n_parts == 0: the pair, which is
     * the parts (prompt, false), (target, true). With parts, prompt and target follow from them and are not stored:
     * see example_pair. */
    const struct part *parts;
    uint32_t n_parts;
    const char *adapter; /* which this row is for; NULL: none named */
};
struct token_row {
    uint64_t row;
    const uint32_t *ids; /* [n] prompt then target (then EOS) */
    const uint8_t *mask; /* [n] 1: a token that is trained on */
    uint32_t n, n_prompt;
    struct str prompt, target; /* texts: for evaluation and for people */
    const char *adapter;       /* as of an example */
};
struct named_value {
    const char *key; /* "loss" */
    double value;    /* NaN and infinities are allowed here only */
};
struct metric_row {
    const char *event; /* "start" "train" "eval" "checkpoint" "end" */
    int64_t step;      /* optimizer step, from 1; 0 before the first */
    double epoch;
    int n;
    const struct named_value *metric;
};
struct telemetry_row { /* speeds and figures of the machine: no results, and never the same twice */
    const char *event; /* "start" "train" "end" */
    int64_t step;
    double seconds; /* since the start of this process's part of the run */
    int n;
    const struct named_value *metric;
};
struct prediction {
    uint64_t row;
    struct str prompt, target, text; /* text: what the model generated, stop string and EOS removed */
    uint32_t n_tokens;               /* generated */
    const char *stopped;             /* "eos" "stop" "length" */
    int n;
    const struct named_value *score; /* of this row: em, f1, ... */
};
struct record {
    enum stream_kind kind;
    union {
        struct example example;
        struct token_row tokens;
        struct metric_row metrics;
        struct prediction prediction;
        struct telemetry_row telemetry;
    };
};

/* The index of the last part that is trained on, or -1. */
int64_t parts_last(const struct part *p, uint32_t n);
/* Prompt and target of x from its parts: target is the text of part `last`, prompt is what stands before it, which is
 * put together in room. */
void example_pair(struct example *x, uint32_t last, struct buf *room);
/* A name of an adapter: 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or a digit; so it can name a directory. */
bool adapter_name_ok(const char *name);

/* What a consumer checks before record 1. */
struct stream_info {
    enum stream_kind kind;
    bool has_tokenizer;
    unsigned char tokenizer[32]; /* digest */
    bool has_base;
    unsigned char base[32]; /* digest of the model's weights */
    uint32_t vocab;         /* ids are below it; 0: does not apply */
    uint32_t max_len;       /* longest row in tokens if known, else 0 */
    int32_t eos;            /* id or -1 */
    unsigned has;           /* STREAM_HAS_...: what the header announces; no record has a field beyond it */
};
struct accounting {
    uint64_t in, out, dropped;
    char reasons[512]; /* "too_long:3,duplicate:1"; "" for none */
};

struct stream_writer;
struct stream_reader;

/* Create a stream at path (NULL, "-": stdout). The header gets a provenance step for this run of the tool (version,
 * options, seed) after the steps of `upstream` (may be NULL). Errors: as out_open. */
struct stream_writer *stream_create(const char *path, bool force, const struct stream_info *info,
                                    const struct tool_run *run, const struct stream_reader *upstream, struct err *e);
/* The same for a file that is to be followed while it grows (RUN/metrics.mpz): path itself is written, from its
 * beginning, and each record is flushed. Until END is there readers see it as unfinished; nothing is removed on
 * failure. */
struct stream_writer *stream_create_live(const char *path, const struct stream_info *info, const struct tool_run *run,
                                         const struct stream_reader *upstream, struct err *e);
/* Compress by this many threads, the caller's among them, behind the caller's back; 1, as at first: within stream_put.
 * The bytes are the same; a failure to write may be told by a later call. Before the first record. */
void stream_threads(struct stream_writer *w, int threads);
/* Append a record of the stream's kind. Logs (metrics, telemetry) are flushed at each record; others at 1 MiB or, on a
 * pipe, 1 s. */
int stream_put(struct stream_writer *w, const struct record *r, struct err *e);
/* Take the END of an input into the chain: call it once stream_next has returned 0 on it. */
void stream_upstream(struct stream_writer *w, const struct stream_reader *r);
#define STREAM_FILE "file " /* begins the tool of an input that is no stream; its name follows */
/* Take a file into the chain that is no stream: its name, the SHA-256 of its bytes, its rows. */
void stream_input(struct stream_writer *w, const char *name, const unsigned char sha256[32], uint64_t rows);
/* Write END with the counts, commit the file, free w (also on error). digest (may be NULL) gets the stream's digest. */
int stream_finish(struct stream_writer *w, const struct accounting *a, unsigned char digest[32], struct err *e);
/* Failure path: write ABORT with why's id and message (best effort), remove the unfinished file, free w. NULL is fine.
 */
void stream_abort(struct stream_writer *w, const struct err *why);

/* Open (path NULL, "-": stdin) and read the header. kind: the one expected, or -1 for any. Never holds more than one
 * frame. */
struct stream_reader *stream_open(const char *path, int kind, struct err *e);
/* The same for any number of files (none: stdin), read one after the other as one stream. They must be of one kind and
 * one tokenizer and base (E_MISMATCH). Row numbers go on from those of the file before; counts are sums, the digest is
 * one over all digests, and who writes on takes all of them into its chain. */
struct stream_reader *stream_open_all(const struct strlist *paths, int kind, struct err *e);
/* The same as stream_open, of bytes in memory, which must outlive the reader; and of a file or pipe that may still
 * grow: at its end the reader waits for more, until END, or until *stop is set (NULL: never). */
struct stream_reader *stream_open_mem(const void *data, size_t n, int kind, struct err *e);
struct source;
/* The same, of what input.h has opened and looked at; takes src over. */
struct stream_reader *stream_open_source(struct source *src, const char *name, int kind, struct err *e);
struct stream_reader *stream_open_follow(const char *path, int kind, const volatile sig_atomic_t *stop, struct err *e);
/* The next record: 1; 0 when END has been read and every count and the digest agree; < 0 on error. Bytes of *r are
 * borrowed until the next call. */
int stream_next(struct stream_reader *r, struct record *rec, struct err *e);
const struct stream_info *stream_info_of(const struct stream_reader *r);
const struct accounting *stream_accounting(const struct stream_reader *r); /* of END; valid after stream_next == 0 */
const unsigned char *stream_digest(const struct stream_reader *r);         /* [32] of END; likewise */
const char *stream_provenance(const struct stream_reader *r);              /* JSON array of the steps; borrowed */
const char *stream_upstreams(const struct stream_reader *r); /* JSON array of END: the inputs and theirs; likewise */
uint64_t stream_records(const struct stream_reader *r);      /* read so far */
/* A path as messages name it: "<stdin>" for NULL and "-", quoted if it holds control characters. Static buffer per
 * thread. */
const char *stream_name(const char *path);
uint64_t stream_offset(const struct stream_reader *r); /* compressed bytes consumed, for progress */
void stream_close(struct stream_reader *r);
/* The file read behind this one, or NULL. */
const struct stream_reader *stream_then(const struct stream_reader *r);
#endif
