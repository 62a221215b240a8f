/* fuzz_stream: any bytes as a stream. The first byte chooses: 0: the bytes as they are; else they are the content of
 * frames (cut at 0xc1, a byte that msgpack never uses) of a stream of version 1.1 if it is 2, else 1.0, framed with
 * right checksums, so that what lies behind them is reached. What is accepted must be written again to the same
 * records. */
#include <stdlib.h>
#include <string.h>
#include "libcommon/stream/body.h"
#include "libcommon/stream/jsontext.h"
#include "libcommon/stream/record.h"
#include "libcommon/stream/zst.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void again(const struct record *r, const struct stream_info *info)
{
    struct buf b = {0}, text = {0}; /* what is read back points into b */
    struct record_room room = {0};
    struct record back;
    const char *why;
    struct mp_tree *t = mp_tree_new();
    if (record_put(&b, r, info, &why)) abort();
    size_t len = mp_scan(b.p, b.n, &why);
    const struct mp_value *v = len == b.n ? mp_parse(t, b.p, len) : NULL;
    if (!v || record_get(&back, r->kind, v, info, &room, &why)) abort();
    json_record(&text, r);
    size_t first = text.n;
    json_record(&text, &back);
    if (text.n != 2 * first || memcmp(text.p, text.p + first, first)) abort();
    buf_fini(&text);
    record_room_fini(&room);
    mp_tree_free(t);
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf b = {0};
    struct err e = {0};
    struct record r;
    if (!n) return 0;
    if (data[0] == 0) {
        buf_add(&b, data + 1, n - 1);
    } else {
        struct zst_enc *enc = zst_enc_new();
        buf_add(&b, stream_preamble, sizeof stream_preamble);
        if (data[0] == 2) b.p[b.n - 1] = 1;
        for (size_t i = 1; i < n;) {
            const uint8_t *cut = memchr(data + i, 0xc1, n - i);
            size_t k = cut ? (size_t)(cut - data) - i : n - i;
            zst_frame(enc, &b, data + i, k);
            i += k + 1;
        }
        zst_enc_free(enc);
    }
    struct stream_reader *in = stream_open_mem(b.p ? b.p : "", b.n, -1, &e);
    int rc;
    while (in && (rc = stream_next(in, &r, &e)) == 1) again(&r, stream_info_of(in));
    if ((!in || rc < 0) && (!e.id || !e.msg[0])) abort();
    stream_close(in);
    buf_fini(&b);
    return 0;
}
