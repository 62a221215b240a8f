/* stream_read: the reading half of stream.h. One frame is held at a time and not a byte beyond it is read, so a live
 * pipe shows its records at once. Everything is refused that a writer would not have written. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "libcommon/base/num.h"
#include "libcommon/stream/reader.h"

const struct chain *stream_steps(const struct stream_reader *r) { return &r->head.steps; }
const struct tail *stream_tail(const struct stream_reader *r) { return &r->tail; }

/* Name of the last step's tool, without its version. */
const char *stream_writer_of(const struct stream_reader *r)
{
    static _Thread_local char tool[64];
    snprintf(tool, sizeof tool, "%.*s", (int)strcspn(r->head.writer, " "), r->head.writer);
    return tool;
}

static const char *writer(const struct stream_reader *r)
{
    return r->head.writer[0] ? r->head.writer : "the stage before";
}

/* Where in the stream: "x.mpz: frame 3, byte 1048721". */
static const char *place(const struct stream_reader *r)
{
    static _Thread_local char text[512];
    snprintf(text, sizeof text, "%s: frame %llu, byte %llu", r->name, (unsigned long long)r->frames,
             (unsigned long long)r->frame_at);
    return text;
}

static int cut(struct stream_reader *r, const char *what, struct err *e)
{
    if (source_written(&r->src)) {
        err_set(e, E_STREAM_CUT, "%s: still being written by %s: %llu records so far, no END record", r->name,
                writer(r), (unsigned long long)r->records);
        return err_hint(e, "peft-log -F follows it to its end");
    }
    err_set(e, E_STREAM_CUT, "%s: stream %s after %llu records without an END record; %s died, or the file was cut",
            r->name, what, (unsigned long long)r->records, writer(r));
    err_hint(e, "see the message of the stage before; nothing of this stream is used");
    return -E_STREAM_CUT;
}

/* Read the next frame into plain. 1, 0 at the end of the input, < 0 on error. */
static int frame_next(struct stream_reader *r, struct err *e)
{
    struct zst_walk w = {0};
    long need;
    r->packed.n = 0;
    r->frame_at = r->src.offset;
    while ((need = zst_walk(&w, (unsigned char *)r->packed.p, r->packed.n, STREAM_FRAME_MAX)) > 0) {
        size_t n = (size_t)need;
        r->packed.p = mem_grow(r->packed.p, &r->packed.cap, r->packed.n + n, 1);
        ssize_t got = source_read(&r->src, r->packed.p + r->packed.n, n);
        if (got < 0) return err_sys(e, E_IO, "%s: read failed", r->name);
        r->packed.n += (size_t)got;
        if (got == 0 && r->packed.n == 0) return 0;
        if ((size_t)got < n) return cut(r, "cut inside a frame", e);
    }
    if (need < 0) return err_set(e, E_STREAM_SUM, "%s: %s; written by %s", place(r), w.why, writer(r));
    r->plain.p = mem_grow(r->plain.p, &r->plain.cap, (size_t)w.content + 1, 1);
    r->plain.n = (size_t)w.content;
    r->pos = 0;
    const char *why = zst_unframe(r->dec, r->plain.p, r->plain.n, r->packed.p, r->packed.n);
    if (!why && w.content == 0) why = "empty frame";
    if (why) return err_set(e, E_STREAM_SUM, "%s: frame damaged (%s); written by %s", place(r), why, writer(r));
    r->frames++;
    return 1;
}

/* The object at pos of the frame: its kind and body; *len its length. pos moves behind it. */
static int object_next(struct stream_reader *r, struct str *kind, const struct mp_value **body, size_t *len,
                       struct err *e)
{
    const char *why = NULL;
    uint32_t n;
    uint64_t seq;
    r->frames--; /* messages count frames from 0, as they are stored */
    const char *p = r->plain.p + r->pos;
    *len = mp_scan(p, r->plain.n - r->pos, &why);
    const struct mp_value *v = *len ? mp_parse(r->tree, p, *len) : NULL;
    int rc = 0;
    if (!v)
        rc = err_set(e, E_STREAM_RECORD, "%s: record %llu: %s", place(r), (unsigned long long)r->seq,
                     why ? why : "not decodable");
    else if (!mp_array(v, &n) || n != 3 || !mp_uint(mp_at(v, 0), &seq) || !mp_str(mp_at(v, 1), kind))
        rc = err_set(e, E_STREAM_RECORD, "%s: record %llu is not [seq, kind, body]", place(r),
                     (unsigned long long)r->seq);
    else if (seq != r->seq)
        rc = err_set(e, E_STREAM_SEQ,
                     "%s: record %llu found where %llu was expected: frames are missing, doubled or swapped", place(r),
                     (unsigned long long)seq, (unsigned long long)r->seq);
    r->frames++;
    if (rc) return rc;
    *body = mp_at(v, 2);
    r->pos += *len;
    r->seq++;
    return 0;
}

/* ---- opening ---- */
static int preamble_read(struct stream_reader *r, int *minor, struct err *e)
{
    unsigned char p[sizeof stream_preamble];
    ssize_t n = source_read(&r->src, p, sizeof p);
    if (n < 0) return err_sys(e, E_IO, "%s: read failed", r->name);
    if (n == 0) {
        err_set(e, E_STREAM_CUT, "%s: empty input: the stage before wrote nothing", r->name);
        return err_hint(e, "see the message of the stage before");
    }
    size_t same = (size_t)n < sizeof p - 2 ? (size_t)n : sizeof p - 2;
    if (memcmp(p, stream_preamble, same)) {
        err_set(e, E_STREAM_MAGIC, "%s: not a peft stream: expected \"" STREAM_MAGIC "\", found %s", r->name,
                err_quote((char *)p, (size_t)n));
        if (n > 3 && !memcmp(p, "\x28\xb5\x2f\xfd", 4))
            return err_hint(e, "this is zstd data without the stream's first 18 bytes");
        return err_hint(e, "peft-prep makes a stream of a CSV, TSV or JSONL file");
    }
    if ((size_t)n < sizeof p) return cut(r, "cut", e);
    if (p[16] != STREAM_MAJOR)
        return err_set(e, E_VERSION, "%s: stream of format version %d.%d, this program reads %d.x", r->name, p[16],
                       p[17], STREAM_MAJOR);
    *minor = p[17];
    return 0;
}

static int header_read(struct stream_reader *r, struct err *e)
{
    struct str kind;
    const struct mp_value *body;
    size_t len;
    int minor = 0, rc = preamble_read(r, &minor, e);
    if (rc < 0) return rc;
    rc = frame_next(r, e);
    if (rc == 0) return cut(r, "cut", e);
    if (rc < 0 || (rc = object_next(r, &kind, &body, &len, e)) < 0) return rc;
    if (!str_is(kind, "header") || r->pos != r->plain.n)
        return err_set(e, E_STREAM_RECORD, "%s: first frame is not a header record alone", r->name);
    if (header_get(&r->head, body, minor, e) < 0) return err_prefix(e, "%s: ", r->name);
    sha256_add(r->sha, r->plain.p, len);
    r->bytes = len;
    return 0;
}

static int kind_check(const struct stream_reader *r, int kind, struct err *e)
{
    static const char *const makers[STREAM_KINDS] = {"peft-prep", "peft-tok", "peft-train", "peft-eval", "peft-train"};
    int found = (int)r->head.info.kind;
    if (kind < 0 || kind == found) return 0;
    err_set(e, E_STREAM_KIND, "%s: expected a stream of %s, found %s", r->name, stream_kind_names[kind],
            stream_kind_names[found]);
    return err_hint(e, "%s makes %s", makers[kind], stream_kind_names[kind]);
}

static struct stream_reader *reader_new(const char *name)
{
    struct stream_reader *r = mem_alloc(1, sizeof *r);
    r->name = mem_dupz(name);
    r->sha = sha256_new();
    r->dec = zst_dec_new();
    r->tree = mp_tree_new();
    return r;
}

/* Once there are bytes: the header. */
static struct stream_reader *reader_begin(struct stream_reader *r, int kind, struct err *e)
{
    int rc = header_read(r, e);
    if (rc == 0) rc = kind_check(r, kind, e);
    if (rc == 0) return r;
    stream_close(r);
    return NULL;
}

struct stream_reader *stream_open_source(struct source *src, const char *name, int kind, struct err *e)
{
    struct stream_reader *r = reader_new(name);
    r->src = *src;
    *src = (struct source){.fd = -1};
    return reader_begin(r, kind, e);
}

static struct stream_reader *reader_open(const char *path, const void *data, size_t n, bool follow, int kind,
                                         const volatile sig_atomic_t *stop, struct err *e)
{
    struct stream_reader *r = reader_new(data ? "<memory>" : stream_name(path));
    int rc = data ? source_mem(&r->src, data, n) : source_open(&r->src, path, r->name, follow, e);
    r->src.stop = stop;
    if (rc == 0 && !data && isatty(r->src.fd)) {
        err_set(e, E_NOINPUT, "%s is a terminal, expected a stream", r->name);
        rc = err_hint(e, "give a file, or pipe the output of another stage into this one");
    }
    if (rc == 0) return reader_begin(r, kind, e);
    stream_close(r);
    return NULL;
}

struct stream_reader *stream_open(const char *path, int kind, struct err *e)
{
    return reader_open(path, NULL, 0, false, kind, NULL, e);
}
struct stream_reader *stream_open_follow(const char *path, int kind, const volatile sig_atomic_t *stop, struct err *e)
{
    return reader_open(path, NULL, 0, true, kind, stop, e);
}
struct stream_reader *stream_open_mem(const void *data, size_t n, int kind, struct err *e)
{
    return reader_open(NULL, data, n, false, kind, NULL, e);
}

/* ---- the end ---- */
static int end_read(struct stream_reader *r, const struct mp_value *body, size_t len, struct err *e)
{
    const char *why;
    unsigned char digest[32], seal[32];
    const struct tail *t = &r->tail;
    uint64_t frames = r->frames - 1;
    if (r->pos != r->plain.n || r->pos != len)
        return err_set(e, E_STREAM_RECORD, "%s: END is not alone in its frame", place(r));
    if (tail_get(&r->tail, body, &why)) return err_set(e, E_STREAM_RECORD, "%s: %s", place(r), why);
    if (t->records != r->records || t->frames != frames || t->bytes != r->bytes || t->tokens != r->tokens)
        return err_set(e, E_STREAM_DIGEST,
                       "%s: END counts %llu records in %llu frames, %llu bytes, %llu tokens; found "
                       "%llu, %llu, %llu, %llu",
                       r->name, (unsigned long long)t->records, (unsigned long long)t->frames,
                       (unsigned long long)t->bytes, (unsigned long long)t->tokens, (unsigned long long)r->records,
                       (unsigned long long)frames, (unsigned long long)r->bytes, (unsigned long long)r->tokens);
    /* Predictions may be none: scores of likelihood alone account for rows too. */
    if (t->acc.out != r->records && !(r->head.info.kind == STREAM_PREDICTIONS && r->records == 0))
        return err_set(e, E_STREAM_DIGEST, "%s: END accounts for %llu records, found %llu", r->name,
                       (unsigned long long)t->acc.out, (unsigned long long)r->records);
    sha256_peek(r->sha, digest);
    if (memcmp(digest, t->digest, 32))
        return err_set(e, E_STREAM_DIGEST, "%s: content does not match the digest of END", r->name);
    sha256_add(r->sha, r->plain.p, len - SEAL_BYTES);
    sha256_peek(r->sha, seal);
    if (memcmp(seal, t->seal, 32)) return err_set(e, E_STREAM_DIGEST, "%s: END does not match its seal", r->name);
    char more;
    r->src.follow = false;
    ssize_t n = source_read(&r->src, &more, 1);
    if (n < 0) return err_sys(e, E_IO, "%s: read failed", r->name);
    if (n > 0) {
        err_set(e, E_STREAM_TRAILING, "%s: data after the END record, at byte %llu", r->name,
                (unsigned long long)r->src.offset - 1);
        return err_hint(e, "streams are not joined by cat: give the files as arguments");
    }
    r->state = ENDED;
    return 0;
}

/* What the stream says of itself, held to the record at hand. */
static const char *claim_broken(struct stream_reader *r, struct record *rec)
{
    const uint64_t *row = record_row(rec);
    uint32_t max = r->head.info.max_len;
    if (row && *row <= r->last_row) return "its row is not above the one before";
    if (row) r->last_row = *row;
    if (rec->kind == STREAM_TOKENS && max && rec->tokens.n > max) return "more tokens than the header's max_len";
    return NULL;
}

static int record_read(struct stream_reader *r, struct record *rec, struct err *e)
{
    struct str kind;
    const struct mp_value *body;
    const char *why;
    size_t len;
    int rc;
    if (r->pos == r->plain.n) {
        rc = frame_next(r, e);
        if (rc == 0) return cut(r, "ended", e);
        if (rc < 0) return rc;
    }
    const char *at = r->plain.p + r->pos;
    if ((rc = object_next(r, &kind, &body, &len, e)) < 0) return rc;
    if (str_is(kind, "end")) return end_read(r, body, len, e);
    if (str_is(kind, "abort")) return abort_get(body, r->name, e);
    if (!str_is(kind, stream_kind_names[r->head.info.kind]))
        return err_set(e, E_STREAM_KIND, "%s: record of kind %s in a stream of %s", place(r), err_quote(kind.p, kind.n),
                       stream_kind_names[r->head.info.kind]);
    if (record_get(rec, r->head.info.kind, body, &r->head.info, &r->room, &why) || (why = claim_broken(r, rec)))
        return err_set(e, E_STREAM_RECORD, "%s: record %llu: %s", place(r), (unsigned long long)r->seq - 1, why);
    sha256_add(r->sha, at, len);
    r->bytes += len;
    r->records++;
    r->tokens += rec->kind == STREAM_TOKENS        ? rec->tokens.n
                 : rec->kind == STREAM_PREDICTIONS ? rec->prediction.n_tokens
                                                   : 0;
    return 1;
}

int stream_file_next(struct stream_reader *r, struct record *rec, struct err *e)
{
    if (r->state == ENDED) return 0;
    if (r->state == FAILED) {
        if (!e->id) *e = r->failed;
        return -r->failed.id;
    }
    int rc = record_read(r, rec, &r->failed);
    if (rc >= 0) return rc;
    r->state = FAILED;
    if (!e->id) *e = r->failed;
    return rc;
}

void stream_close(struct stream_reader *r)
{
    unsigned char unused[32];
    if (!r) return;
    stream_close(r->then);
    stream_join_free(r->join);
    source_close(&r->src);
    sha256_done(r->sha, unused);
    zst_dec_free(r->dec);
    mp_tree_free(r->tree);
    record_room_fini(&r->room);
    buf_fini(&r->packed);
    buf_fini(&r->plain);
    buf_fini(&r->head.steps.raw);
    buf_fini(&r->tail.upstream.raw);
    free(r->head.json);
    free(r->tail.json);
    free(r->name);
    free(r);
}
