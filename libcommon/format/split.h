/* split: which rows are held out for testing. Membership is a pure function, so that train and test come out disjoint
 * and complete from runs that know nothing of each other.
 *
 * By row: rows are taken in blocks of ceil(1 / min(t, 1 - t)) rows. Block k (from 0) of B rows holds out
 * q = floor((k + 1) B t) - floor(k B t) of them: those with the q smallest values of rng_u64(seed, RNG_SPLIT, row), row
 * counting from 1. So the fraction is kept to within two rows whatever the number of rows, and no period of the data is
 * met. By group: a group is held out if rng_hash(seed, its value) / 2^64 < t; all its rows are on one side. */
#ifndef PEFT_FORMAT_SPLIT_H
#define PEFT_FORMAT_SPLIT_H
#include <stdbool.h>
#include <stdint.h>
#include "libcommon/base/mem.h"

struct split {
    uint64_t seed;
    double test_size; /* in (0, 1) */
    uint64_t block;   /* the one in `held`, plus 1; 0: none */
    uint32_t size;    /* rows of a block */
    uint64_t *hash;   /* [size] */
    bool *held;       /* [size] */
};
void split_init(struct split *s, uint64_t seed, double test_size);
void split_fini(struct split *s);
bool split_row_is_test(struct split *s, uint64_t row); /* fast when rows come in order */
bool split_group_is_test(const struct split *s, struct str group);

/* Prompts that occur on both sides make a test score too good. They are found by 64-bit hashes in a table of fixed size
 * (12 MiB of 16-byte entries); once it is full, only prompts whose hash ends in k zero bits are looked at, and the
 * count is an estimate. */
struct overlap {
    struct overlap_entry *entry;
    uint64_t used, mask;    /* mask: bits that must be zero */
    uint64_t count;         /* prompts on both sides, among those looked at */
    uint64_t example[3][2]; /* rows of the first ones: in test, in train */
};
void overlap_init(struct overlap *o);
void overlap_fini(struct overlap *o);
void overlap_add(struct overlap *o, struct str prompt, uint64_t row, bool is_test);
/* Prompts on both sides; *exact: no estimate. */
uint64_t overlap_count(const struct overlap *o, bool *exact);

/* A set of 128-bit digests, 32 bytes a member at most: has this pair been there? */
struct seen {
    unsigned char (*slot)[16];
    size_t n, cap;
};
bool seen_before(struct seen *s, struct str prompt, struct str target); /* and remember it */
void seen_fini(struct seen *s);
#endif
