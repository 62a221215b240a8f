/* stream_write: the writing half of stream.h. Records are encoded into one buffer and cut into frames; the digest runs
 * over the uncompressed bytes, so it depends neither on where frames end (time, on a pipe) nor on the version of zstd.
 * Frames are compressed each for itself, so several can be at once (base/relay.h); they are digested and written in
 * order. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/out.h"
#include "libcommon/base/relay.h"
#include "libcommon/stream/body.h"
#include "libcommon/stream/record.h"
#include "libcommon/stream/stream.h"
#include "libcommon/stream/zst.h"

enum { FRAMES = 4 }; /* full frames that may wait to be compressed */

struct frame {
    struct buf plain, packed; /* objects; their compressed form */
    struct zst_enc *enc;      /* made when the place is first used */
};
struct stream_writer {
    struct out out;
    struct sha256 *sha;
    struct buf plain; /* objects of the open frame */
    struct frame frame[FRAMES];
    struct relay *relay; /* work: compress a frame; finish: digest it and write it */
    struct stream_info info;
    struct tail tail; /* counts so far, upstream */
    uint64_t seq;
    int64_t flushed_ns;
    char tool[64];
    bool live; /* flush each record; the file stays when the tool fails */
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Free w; what was not committed goes away. The threads end first: they write to the output. */
static void drop(struct stream_writer *w)
{
    unsigned char unused[32];
    relay_free(w->relay);
    out_abort(&w->out);
    for (int i = 0; i < FRAMES; i++) {
        zst_enc_free(w->frame[i].enc);
        buf_fini(&w->frame[i].plain);
        buf_fini(&w->frame[i].packed);
    }
    if (w->sha) sha256_done(w->sha, unused);
    buf_fini(&w->plain);
    buf_fini(&w->tail.upstream.raw);
    free(w);
}

static int frame_compress(void *ctx, int place, struct err *e)
{
    struct frame *f = &((struct stream_writer *)ctx)->frame[place];
    if (!f->enc) f->enc = zst_enc_new();
    f->packed.n = 0;
    if (zst_frame(f->enc, &f->packed, f->plain.p, f->plain.n))
        return err_set(e, E_NOMEM, "zstd: cannot compress a frame of %zu bytes", f->plain.n);
    return 0;
}

static int frame_write(void *ctx, int place, struct err *e)
{
    struct stream_writer *w = ctx;
    struct frame *f = &w->frame[place];
    if (w->sha) sha256_add(w->sha, f->plain.p, f->plain.n);
    int rc = out_write(&w->out, f->packed.p, f->packed.n, e);
    return rc == 0 && w->out.is_pipe ? out_flush(&w->out, e) : rc;
}

static void relay_start(struct stream_writer *w, int threads)
{
    w->relay = relay_new(threads, threads > 1 ? FRAMES : 1, (struct relay_calls){frame_compress, frame_write}, w);
}

void stream_threads(struct stream_writer *w, int threads)
{
    struct err later = {0};
    if (threads < 2 || relay_drain(w->relay, &later) < 0) return; /* the next put tells */
    relay_free(w->relay);
    relay_start(w, threads);
}

/* Make plain[0..n) a frame on its way out, and keep the rest. */
static int frame_put(struct stream_writer *w, size_t n, struct err *e)
{
    int place = relay_place(w->relay, e);
    if (place < 0) return place;
    struct frame *f = &w->frame[place];
    struct buf full = w->plain;
    w->plain = f->plain;
    w->plain.n = 0;
    buf_add(&w->plain, full.p + n, full.n - n);
    f->plain = full;
    f->plain.n = n;
    w->tail.frames++;
    if (w->out.is_pipe) w->flushed_ns = now_ns();
    relay_go(w->relay);
    return 0;
}

/* Close the open frame, if it holds anything. show: and let a reader see it. */
static int flush(struct stream_writer *w, bool show, struct err *e)
{
    int rc = w->plain.n ? frame_put(w, w->plain.n, e) : 0;
    if (rc == 0 && show) rc = relay_drain(w->relay, e);
    if (rc == 0 && show) rc = out_flush(&w->out, e);
    return rc;
}

/* [seq, kind, ...: the body follows */
static void begin(struct stream_writer *w, const char *kind)
{
    mp_put_array(&w->plain, 3);
    mp_put_uint(&w->plain, w->seq);
    mp_put_strz(&w->plain, kind);
}

static int header_write(struct stream_writer *w, const struct tool_run *run, const struct stream_reader *before,
                        struct err *e)
{
    struct header h = {.info = w->info};
    int rc = 0;
    for (; before; before = stream_then(before)) chain_add(&h.steps, stream_steps(before));
    if (run) step_put(&h.steps, run);
    begin(w, "header");
    header_put(&w->plain, &h);
    if (h.steps.n > STREAM_STEPS_MAX || w->plain.n > STREAM_FRAME_TARGET)
        rc = err_set(e, E_STREAM_RECORD, "header with the provenance of %u stages is too large", (unsigned)h.steps.n);
    buf_fini(&h.steps.raw);
    if (rc) return rc;
    w->seq++;
    w->tail.bytes = w->plain.n;
    unsigned char first[sizeof stream_preamble];
    memcpy(first, stream_preamble, sizeof first);
    first[sizeof first - 1] = (unsigned char)stream_minor(&w->info);
    rc = out_write(&w->out, first, sizeof first, e);
    return rc < 0 ? rc : flush(w, w->out.is_pipe || w->live, e);
}

/* Take over the opened output and write the first bytes. */
static struct stream_writer *start(struct out *out, bool live, const struct stream_info *info,
                                   const struct tool_run *run, const struct stream_reader *upstream, struct err *e)
{
    struct stream_writer *w = mem_alloc(1, sizeof *w);
    w->out = *out;
    w->live = live;
    w->info = *info;
    w->info.has &= kind_features(info->kind);
    snprintf(w->tool, sizeof w->tool, "%s", run ? run->tool->name : "peft");
    w->sha = sha256_new();
    relay_start(w, 1);
    if (header_write(w, run, upstream, e) == 0) return w;
    drop(w);
    return NULL;
}

/* Does it begin as a stream does? */
static bool is_stream(const char *path)
{
    unsigned char head[8 + sizeof STREAM_MAGIC - 1];
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const bool yes = fd >= 0 && read(fd, head, sizeof head) == (ssize_t)sizeof head &&
                     !memcmp(head + 8, STREAM_MAGIC, sizeof STREAM_MAGIC - 1);
    if (fd >= 0) close(fd);
    return yes;
}

struct stream_writer *stream_create(const char *path, bool force, const struct stream_info *info,
                                    const struct tool_run *run, const struct stream_reader *upstream, struct err *e)
{
    struct out out;
    if (out_check_made(path, force, is_stream, "stream", e) || out_open(&out, path, force, true, e) < 0) return NULL;
    return start(&out, stream_is_log(info->kind), info, run, upstream, e);
}

struct stream_writer *stream_create_live(const char *path, const struct stream_info *info, const struct tool_run *run,
                                         const struct stream_reader *upstream, struct err *e)
{
    struct out out;
    if (out_open_live(&out, path, e) < 0) return NULL;
    return start(&out, true, info, run, upstream, e);
}

int stream_put(struct stream_writer *w, const struct record *r, struct err *e)
{
    size_t start = w->plain.n;
    const char *why = NULL;
    if (r->kind != w->info.kind)
        return err_set(e, E_BUG, "record of kind %s put into a stream of %s", stream_kind_names[r->kind],
                       stream_kind_names[w->info.kind]);
    begin(w, stream_kind_names[r->kind]);
    int bad = record_put(&w->plain, r, &w->info, &why);
    size_t len = w->plain.n - start;
    if (!bad && len > STREAM_FRAME_MAX) {
        bad = -1;
        why = "record above 16 MiB";
    }
    if (bad) {
        w->plain.n = start;
        return err_set(e, E_STREAM_RECORD, "record %llu cannot be written: %s", (unsigned long long)w->tail.records + 1,
                       why);
    }
    w->seq++;
    w->tail.records++;
    w->tail.bytes += len;
    w->tail.tokens += r->kind == STREAM_TOKENS        ? r->tokens.n
                      : r->kind == STREAM_PREDICTIONS ? r->prediction.n_tokens
                                                      : 0;
    int rc = 0;
    if (w->plain.n > STREAM_FRAME_TARGET && start > 0) rc = frame_put(w, start, e);
    if (rc < 0) return rc;
    if (w->live) return flush(w, true, e);
    if (w->plain.n >= STREAM_FRAME_TARGET) return flush(w, false, e);
    if (w->out.is_pipe && now_ns() - w->flushed_ns >= INT64_C(1000000000)) return flush(w, true, e);
    return 0;
}

void stream_upstream(struct stream_writer *w, const struct stream_reader *r)
{
    for (; r; r = stream_then(r)) {
        const struct tail *t = stream_tail(r);
        chain_add(&w->tail.upstream, &t->upstream);
        upstream_put(&w->tail.upstream, stream_writer_of(r), t);
    }
}

void stream_input(struct stream_writer *w, const char *name, const unsigned char sha256[32], uint64_t rows)
{
    struct tail t = {.records = rows, .acc = {.in = rows, .out = rows}};
    memcpy(t.digest, sha256, sizeof t.digest);
    char *tool = mem_printf(STREAM_FILE "%s", name);
    upstream_put(&w->tail.upstream, tool, &t);
    free(tool);
}

/* END in its own frame. The seal covers every byte before its own value, END's counts included. */
static int end_write(struct stream_writer *w, struct err *e)
{
    int rc = flush(w, true, e);
    if (rc < 0) return rc;
    char hex[65];
    sha256_peek(w->sha, w->tail.digest);
    memset(w->tail.seal, 0, 32);
    begin(w, "end");
    tail_put(&w->plain, &w->tail);
    sha256_add(w->sha, w->plain.p, w->plain.n - SEAL_BYTES);
    sha256_done(w->sha, w->tail.seal);
    w->sha = NULL; /* the frame is not digested again */
    digest_hex(w->tail.seal, hex);
    memcpy(w->plain.p + w->plain.n - 64, hex, 64);
    if (w->plain.n > STREAM_FRAME_TARGET) return err_set(e, E_STREAM_RECORD, "END record above 1 MiB");
    rc = frame_put(w, w->plain.n, e);
    return rc < 0 ? rc : relay_drain(w->relay, e);
}

int stream_finish(struct stream_writer *w, const struct accounting *a, unsigned char digest[32], struct err *e)
{
    if (a)
        w->tail.acc = *a;
    else
        w->tail.acc = (struct accounting){w->tail.records, w->tail.records, 0, ""};
    int rc = end_write(w, e);
    if (rc == 0) rc = out_commit(&w->out, e);
    if (rc == 0 && digest) memcpy(digest, w->tail.digest, 32);
    drop(w);
    return rc < 0 ? rc : 0;
}

void stream_abort(struct stream_writer *w, const struct err *why)
{
    struct err ignored = {0};
    if (!w) return;
    /* Nobody reads an unfinished file; the reader of a pipe and who follows a growing file are told. */
    if ((!w->out.tmp || w->live) && flush(w, false, &ignored) == 0) {
        begin(w, "abort");
        abort_put(&w->plain, w->tool, why);
        flush(w, true, &ignored);
    }
    drop(w);
}
