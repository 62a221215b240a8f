/* make: write the golden streams of a version into a directory: make DIR 0 (1.0) or make DIR 1 (what 1.1 has more).
 * They are committed once and then only read, by tests/golden/read.sh; a later version adds a directory beside these
 * and leaves them as they are. Built by hand: make build/release/tests/golden/make && build/release/tests/golden/make
 * tests/golden/v1.1 1 */
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
    if (argc != 3) return 64;
    const uint32_t ids[] = {0, 1, 127, 128, 65535, 65536, 49151};
    const uint8_t mask[] = {0, 0, 0, 1, 1, 1, 1};
    const struct named_value m[] = {
        {"loss", 0.1}, {"lr", 2e-4}, {"grad_norm", (double)NAN}, {"worst", (double)INFINITY}};
    const struct part turn[] = {{STRZ("Q: a\nA:"), false},
                                {STRZ(" b"), true},
                                {STRZ("\nQ: \xf0\x9f\x98\x80\nA:"), false},
                                {STRZ(" \"d\""), true},
                                {STRZ("\n"), false}};
    const struct record x[] = {
        {.kind = STREAM_EXAMPLES, .example = {.row = 1, .prompt = STRZ("Q: a\nA:"), .target = STRZ(" b")}},
        {.kind = STREAM_EXAMPLES,
         .example = {.row = 300,
                     .prompt = STRZ("caf\xc3\xa9 \xf0\x9f\x98\x80 \"\\\x01"),
                     .target = STRZ(""),
                     .group = STRZ("g")}},
    };
    const struct record y[] = {
        {.kind = STREAM_EXAMPLES, .example = {.row = 1, .parts = turn, .n_parts = 5}},
        {.kind = STREAM_EXAMPLES,
         .example = {.row = 2, .parts = turn, .n_parts = 2, .group = STRZ("g"), .adapter = "french"}},
        {.kind = STREAM_EXAMPLES, .example = {.row = 3, .prompt = STRZ("p"), .target = STRZ("t"), .adapter = "german"}},
    };
    const struct record z[] = {
        {.kind = STREAM_TELEMETRY, .telemetry = {"start", 0, 0.25, 0, NULL}},
        {.kind = STREAM_TELEMETRY, .telemetry = {"train", 10, 12.5, 2, m}},
    };
    struct record t[] = {
        {.kind = STREAM_TOKENS, .tokens = {1, ids, mask, 7, 3, STRZ("p"), STRZ("t"), NULL}},
        {.kind = STREAM_TOKENS, .tokens = {2, ids, mask, 0, 0, STRZ(""), STRZ(""), NULL}},
    };
    if (argv[2][0] == '1') {
        t[0].tokens.adapter = "french";
        write_one(
            argv[1],
            &(struct stream_info){.kind = STREAM_EXAMPLES, .eos = -1, .has = STREAM_HAS_PARTS | STREAM_HAS_ADAPTER}, y,
            3);
        write_one(argv[1],
                  &(struct stream_info){.kind = STREAM_TOKENS, .vocab = 70000, .eos = 2, .has = STREAM_HAS_ADAPTER}, t,
                  2);
        write_one(argv[1], &(struct stream_info){.kind = STREAM_TELEMETRY, .has_base = true, .base = {3}, .eos = -1}, z,
                  2);
        return 0;
    }
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
