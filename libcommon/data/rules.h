/* rules: what holds of every row of tokens, written once. mask[i] says that token i is trained on; the model says it at
 * the position before, so the first token of a row never is a label. */
#ifndef PEFT_DATA_RULES_H
#define PEFT_DATA_RULES_H
#include <stdbool.h>
#include <stdint.h>

enum { DATA_POS_BITS = 20, DATA_ROW_MAX = (1 << DATA_POS_BITS) - 1 }; /* tokens of a row, at most */

/* Token i of a row of n is a label: the loss counts it. */
static inline bool data_is_label(const uint8_t *mask, uint32_t i, uint32_t n) { return i > 0 && i < n && mask[i]; }

/* The logits of position i predict a label: token i + 1. */
static inline bool data_has_label(const uint8_t *mask, uint32_t i, uint32_t n) { return data_is_label(mask, i + 1, n); }

/* A token's name for life, for random numbers: the row's number in its source and the place in the row. */
static inline uint64_t data_uid(uint64_t row, uint32_t pos) { return (row << DATA_POS_BITS) + pos; }
#endif
