/* verify_out: read a stream to its end, with all the checks that every reader makes, and say what it is. */
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/sink/sink.h"
#include "libcommon/stream/jsontext.h"

static int run(const struct sink_job *j, struct err *e)
{
    struct record r;
    struct buf b = {0};
    char hex[65];
    int rc;
    while ((rc = stream_next(j->in, &r, e)) == 1) continue;
    if (rc < 0) return rc;
    if (j->quiet && !j->json) return 0;
    digest_hex(stream_digest(j->in), hex);
    const char *kind = stream_kind_names[stream_info_of(j->in)->kind];
    if (j->json) {
        buf_addz(&b, "{\"file\":");
        json_text(&b, STRZ(j->name));
        buf_printf(&b, ",\"status\":\"ok\",\"kind\":\"%s\",\"records\":%llu,\"digest\":\"%s\"}\n", kind,
                   (unsigned long long)stream_records(j->in), hex);
    } else {
        buf_printf(&b, "%s: ok: %llu records of %s, digest %s\n", j->name, (unsigned long long)stream_records(j->in),
                   kind, hex);
    }
    rc = out_write(j->out, b.p, b.n, e);
    buf_fini(&b);
    return rc;
}

const struct sink sink_verify = {.name = "verify", .each = true, .run = run};
