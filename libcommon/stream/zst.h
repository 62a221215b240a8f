/* zst: zstd as the project uses it: the only file that sees libzstd. Whole frames for the stream, a sequential decoder
 * for compressed input files. */
#ifndef PEFT_STREAM_ZST_H
#define PEFT_STREAM_ZST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "libcommon/base/mem.h"

/* ---- frames of a stream: content size and checksum present, window <= 8 MiB ---- */
struct zst_enc;
struct zst_enc *zst_enc_new(void);
void zst_enc_free(struct zst_enc *z);
int zst_frame(struct zst_enc *z, struct buf *out, const void *p, size_t n); /* appends one frame; -1: zstd failed */

/* Walk over the bytes of a frame as they arrive, without decoding, to find its end: a zstd frame does not state its
 * compressed size, and reading past it would block on a live pipe. */
struct zst_walk {
    int state;        /* 0 at the start */
    size_t pos, next; /* walked so far; bytes the next step needs in all */
    uint64_t content; /* decoded size, known from state 2 on */
    const char *why;  /* what is wrong */
};
/* p[0..n) are the bytes so far. Returns how many more are needed (> 0), 0 when the frame is whole, -1 with w->why.
 * max_content bounds the decoded size and, with it, what is read. */
long zst_walk(struct zst_walk *w, const unsigned char *p, size_t n, uint64_t max_content);

struct zst_dec;
struct zst_dec *zst_dec_new(void);
void zst_dec_free(struct zst_dec *z);
/* Decode one whole frame to exactly `content` bytes at out. NULL, or zstd's reason. */
const char *zst_unframe(struct zst_dec *z, void *out, size_t content, const void *p, size_t n);

/* ---- any .zst file, piece by piece ---- */
/* Decode from *in (advanced) to out[0..cap). Returns bytes written, or -1 with *why. *whole: no frame is open. */
long zst_pull(struct zst_dec *z, void *out, size_t cap, struct str *in, bool *whole, const char **why);
#endif
