/* What every fuzz target reads its case from, and how it says that something is wrong.
 *
 * A case is a string of bytes, used up from front to back by the pick_... functions; one that is
 * used up goes on as zeros. So any bytes are a case, and a longer string continues a shorter one.
 * C leaves the order within an initialiser or a call open: one pick_... in each, no more.
 */
#ifndef EM_FUZZ_INPUT_H
#define EM_FUZZ_INPUT_H

#include "edgemtl.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct {
    const uint8_t *at, *end;
    uint64_t digest; /* of all results so far, the same on every machine */
} input;

/* A target ends the process, by abort(), where something is not as edgemtl.h says. */
void fuzz_letterbox(input *in);
void fuzz_decode(input *in);
void fuzz_assign(input *in);
void fuzz_tracker(input *in);

int has_more(const input *in);
int32_t pick(input *in, int32_t low, int32_t high);
int one_in(input *in, int32_t n);
double pick_real(input *in, double low, double high);
void pick_reals(input *in, double *values, int n, double low, double high);
/* Mostly an ordinary number; sometimes one that nobody should send. */
float pick_wild(input *in, double low, double high);
uint64_t pick_seed(input *in);
/* The next of a series that a seed starts (splitmix64). */
uint64_t next_bits(uint64_t *state);

/* Heap memory that ends where it says, so that the address sanitizer sees the first byte too far;
 * what lies in it is not zero. */
void *block(size_t bytes);

/* Rows as a network or a detector gives them, garbage among them; dim < 0: without embeddings. */
em_rows pick_rows(input *in, int32_t n, int32_t dim);
void drop_rows(const em_rows *rows);

/* NaN counts as one value, whatever its sign and payload: processors differ in them. */
void digest_bytes(input *in, const void *bytes, size_t n);
void digest_floats(input *in, const float *values, size_t n);

#define REQUIRE(condition)                                                                       \
    do {                                                                                         \
        if (!(condition)) {                                                                      \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);              \
            abort();                                                                             \
        }                                                                                        \
    } while (0)

#endif
