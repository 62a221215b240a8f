/* num: strict, locale-independent conversion of numbers. No atoi, no trailing garbage, no silent clamp. */
#ifndef PEFT_BASE_NUM_H
#define PEFT_BASE_NUM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
bool num_i64(const char *s, size_t n, int64_t *out);
bool num_u64(const char *s, size_t n, uint64_t *out);
bool num_f64(const char *s, size_t n, double *out); /* decimal or 2e-4; refuses inf, nan, hex */
/* A size from 1 to 2^62 - 1: whole bytes, or with K, M, G or T (also KiB, MiB, GiB, TiB) behind a decimal number:
 * powers of 1024; "24G", "1.5GiB". No sign, exponent or space. */
bool num_size(const char *s, size_t n, uint64_t *out);
/* Shortest decimal text that reads back as the same double ("0.1"); returns its length. buf >= 32 bytes. */
int num_format(double x, char *buf);
/* "1.4 GiB", "256 KiB": for people. */
const char *num_bytes(uint64_t n); /* one of 8 rotating static buffers */
#endif
