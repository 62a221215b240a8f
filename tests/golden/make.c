/* make: write the golden streams of this version into a directory: make DIR. They are committed once and then only
 * read, by tests/golden/read.sh; a later version adds a directory beside v1 and leaves v1 as it is. Built by hand: make
 * build/release/tests/golden/make && build/release/tests/golden/make tests/golden/v1 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/stream/stream.h"

static void write_one(const char *dir, const struct stream_info *info, const struct record *r, int n)
{
    struct err e = {0};
    char path[512];
    snprintf(path, sizeof path, "%s/%s.mpz", dir, stream_kind_names[info->kind]);
    struct stream_writer *w = stream_create(path, true, info, NULL, NULL, &e);
    for (int i = 0; w && i < n; i++)
        if (stream_put(w, &r[i], &e)) exit(1);
    struct accounting a = {(uint64_t)n + 1, (uint64_t)n, 1, "too_long:1"};
    if (!w || stream_finish(w, &a, NULL, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) return 64;
    const uint32_t ids[] = {0, 1, 127, 128, 65535, 65536, 49151};
    const uint8_t mask[] = {0, 0, 0, 1, 1, 1, 1};
    const struct named_value m[] = {
        {"loss", 0.1}, {"lr", 2e-4}, {"grad_norm", (double)NAN}, {"worst", (double)INFINITY}};
    const struct record x[] = {
        {.kind = STREAM_EXAMPLES, .example = {1, STRZ("Q: a\nA:"), STRZ(" b"), {0}}},
        {.kind = STREAM_EXAMPLES, .example = {300, STRZ("caf\xc3\xa9 \xf0\x9f\x98\x80 \"\\\x01"), STRZ(""), STRZ("g")}},
    };
    const struct record t[] = {
        {.kind = STREAM_TOKENS, .tokens = {1, ids, mask, 7, 3, STRZ("p"), STRZ("t")}},
        {.kind = STREAM_TOKENS, .tokens = {2, ids, mask, 0, 0, STRZ(""), STRZ("")}},
    };
    const struct record e[] = {
        {.kind = STREAM_METRICS, .metrics = {"start", 0, 0, 0, NULL}},
        {.kind = STREAM_METRICS, .metrics = {"train", 10, 0.5, 4, m}},
        {.kind = STREAM_METRICS, .metrics = {"eval", -1, 1, 1, m}},
    };
    const struct record p[] = {
        {.kind = STREAM_PREDICTIONS, .prediction = {1, STRZ("p"), STRZ(" t"), STRZ(" u"), 3, "eos", 2, m}},
        {.kind = STREAM_PREDICTIONS, .prediction = {2, STRZ("p"), STRZ(" t"), STRZ("\xff"), 70000, "length", 0, NULL}},
    };
    write_one(argv[1], &(struct stream_info){.kind = STREAM_EXAMPLES, .eos = -1}, x, 2);
    write_one(
        argv[1],
        &(struct stream_info){
            .kind = STREAM_TOKENS, .has_tokenizer = true, .tokenizer = {1, 2}, .vocab = 70000, .max_len = 7, .eos = 2},
        t, 2);
    write_one(argv[1], &(struct stream_info){.kind = STREAM_METRICS, .has_base = true, .base = {3}, .eos = -1}, e, 3);
    write_one(argv[1], &(struct stream_info){.kind = STREAM_PREDICTIONS, .eos = 2}, p, 2);
    return 0;
}
