/* split: see split.h. */
#include "libcommon/format/split.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/digest.h"
#include "libcommon/base/rng.h"

void split_init(struct split *s, uint64_t seed, double test_size)
{
    double t = fmin(test_size, 1 - test_size), size = ceil(1 / t - 1e-9);
    *s = (struct split){.seed = seed, .test_size = test_size};
    s->size = size < 2 ? 2 : size > 65536 ? 65536 : (uint32_t)size;
    s->hash = mem_alloc(s->size, sizeof *s->hash);
    s->held = mem_alloc(s->size, sizeof *s->held);
}

void split_fini(struct split *s)
{
    free(s->hash);
    free(s->held);
}

/* Settle a block: hold out the q rows of smallest hash. */
static void settle(struct split *s, uint64_t k)
{
    double per_block = s->size * s->test_size, eps = 1e-9;
    uint64_t q = (uint64_t)(floor((double)(k + 1) * per_block + eps) - floor((double)k * per_block + eps));
    for (uint32_t i = 0; i < s->size; i++) {
        s->hash[i] = rng_u64(s->seed, RNG_SPLIT, k * s->size + i + 1);
        s->held[i] = false;
    }
    for (; q; q--) { /* q is 1 or 2, or the block is small */
        uint32_t least = s->size;
        for (uint32_t i = 0; i < s->size; i++)
            if (!s->held[i] && (least == s->size || s->hash[i] < s->hash[least])) least = i;
        if (least < s->size) s->held[least] = true;
    }
    s->block = k + 1;
}

bool split_row_is_test(struct split *s, uint64_t row)
{
    uint64_t k = (row - 1) / s->size;
    if (s->block != k + 1) settle(s, k);
    return s->held[(row - 1) % s->size];
}

bool split_group_is_test(const struct split *s, struct str group)
{
    return (double)(rng_hash(s->seed, group.p, group.n) >> 11) * 0x1p-53 < s->test_size;
}

/* ---- prompts on both sides ---- */
enum { SLOTS = 1 << 20, FULL = SLOTS / 4 * 3 };
struct overlap_entry {
    uint64_t hash; /* 0: free */
    uint64_t info; /* row << 2 | found on both sides << 1 | is_test */
};

void overlap_init(struct overlap *o)
{
    *o = (struct overlap){0};
    o->entry = mem_alloc(SLOTS, sizeof *o->entry);
}

void overlap_fini(struct overlap *o) { free(o->entry); }

static struct overlap_entry *slot_of(struct overlap_entry *t, uint64_t hash)
{
    uint64_t i = (hash >> 32) % SLOTS; /* the low bits are what the mask thins out */
    while (t[i].hash && t[i].hash != hash) i = (i + 1) % SLOTS;
    return &t[i];
}

/* Look at half as many prompts. */
static void thin(struct overlap *o)
{
    struct overlap_entry *old = o->entry;
    o->mask = o->mask << 1 | 1;
    o->entry = mem_alloc(SLOTS, sizeof *o->entry);
    o->used = o->count = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        if (!old[i].hash || old[i].hash & o->mask) continue;
        *slot_of(o->entry, old[i].hash) = old[i];
        o->used++;
        o->count += old[i].info >> 1 & 1;
    }
    free(old);
}

void overlap_add(struct overlap *o, struct str prompt, uint64_t row, bool is_test)
{
    uint64_t h = rng_hash(0, prompt.p, prompt.n);
    if (!h) h = 1;
    if (h & o->mask) return;
    struct overlap_entry *s = slot_of(o->entry, h);
    if (!s->hash) {
        *s = (struct overlap_entry){h, row << 2 | is_test};
        if (++o->used > FULL) thin(o);
    } else if ((s->info & 1) != is_test && !(s->info >> 1 & 1)) {
        s->info |= 2;
        if (o->count < 3) {
            o->example[o->count][0] = is_test ? row : s->info >> 2;
            o->example[o->count][1] = is_test ? s->info >> 2 : row;
        }
        o->count++;
    }
}

uint64_t overlap_count(const struct overlap *o, bool *exact)
{
    *exact = o->mask == 0;
    return o->count * (o->mask + 1);
}

/* ---- pairs that were there before ---- */
static bool seen_put(unsigned char (*slot)[16], size_t cap, const unsigned char d[16])
{
    static const unsigned char none[16];
    size_t i;
    memcpy(&i, d, sizeof i);
    for (i %= cap; memcmp(slot[i], none, 16); i = (i + 1) % cap)
        if (!memcmp(slot[i], d, 16)) return true;
    memcpy(slot[i], d, 16);
    return false;
}

bool seen_before(struct seen *s, struct str prompt, struct str target)
{
    unsigned char d[32];
    uint64_t n = prompt.n;
    struct sha256 *sha = sha256_new();
    sha256_add(sha, &n, sizeof n); /* where the prompt ends is a part of the pair */
    sha256_add(sha, prompt.p, prompt.n);
    sha256_add(sha, target.p, target.n);
    sha256_done(sha, d);
    if (s->n * 4 >= s->cap * 3) {
        size_t cap = s->cap ? s->cap * 2 : 1024;
        unsigned char(*slot)[16] = mem_alloc(cap, 16);
        static const unsigned char none[16];
        for (size_t i = 0; i < s->cap; i++)
            if (memcmp(s->slot[i], none, 16)) seen_put(slot, cap, s->slot[i]);
        free(s->slot);
        s->slot = slot;
        s->cap = cap;
    }
    bool was = seen_put(s->slot, s->cap, d);
    s->n += !was;
    return was;
}

void seen_fini(struct seen *s) { free(s->slot); }
