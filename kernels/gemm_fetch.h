/* gemm_fetch: the part of a matrix that a thread will want next, fetched a few lines at a time between tiles, so that
 * memory works while the tiles compute. Hints alone: a wrong guess costs bandwidth, never bits. Included only by
 * gemm_body.h and simd_body.h. */
#ifndef KERNELS_GEMM_FETCH_H
#define KERNELS_GEMM_FETCH_H

struct fetch {
    const unsigned char *row;        /* the next line is row + at */
    long rows, row_bytes, bytes, at; /* rows left, row_bytes apart; bytes of each are wanted */
    long lines;                      /* at a time */
};

/* rows from `row`, in `calls` calls of fetch_some. */
VEC_INLINE struct fetch fetch_begin(const unsigned char *row, long rows, long row_bytes, long bytes, long calls)
{
    const long lines = rows > 0 ? rows * (bytes / 64 + 1) : 0;
    return (struct fetch){row, rows, row_bytes, bytes, 0, calls > 0 ? (lines + calls - 1) / calls : lines};
}

VEC_INLINE void fetch_some(struct fetch *f)
{
    for (long i = 0; i < f->lines && f->rows > 0; i++) {
        __builtin_prefetch(f->row + f->at, 0, 2);
        f->at += 64;
        if (f->at < f->bytes) continue;
        f->at = 0;
        f->row += f->row_bytes;
        f->rows--;
    }
}
#endif
