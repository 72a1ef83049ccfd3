/* Bytes into parameters. */
#include "input.h"

#include <math.h>
#include <string.h>

int has_more(const input *in) { return in->at < in->end; }

static uint64_t take(input *in, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) {
        value = value << 8 | (has_more(in) ? *in->at++ : 0u);
    }
    return value;
}

int32_t pick(input *in, int32_t low, int32_t high)
{
    uint64_t span = (uint64_t)((int64_t)high - low + 1);
    return (int32_t)(low + (int64_t)(take(in, span <= 256 ? 1 : span <= 65536 ? 2 : 4) % span));
}

int one_in(input *in, int32_t n) { return pick(in, 0, 255) % n == 1; }

double pick_real(input *in, double low, double high)
{
    return low + (high - low) * (double)take(in, 2) / 65535.0;
}

void pick_reals(input *in, double *values, int n, double low, double high)
{
    for (int i = 0; i < n; ++i) {
        values[i] = pick_real(in, low, high);
    }
}

float pick_wild(input *in, double low, double high)
{
    static const float odd[] = {NAN,   INFINITY, -INFINITY, 3e38f, -3e38f, 1e-40f,
                                0.0f,  -0.0f,    1e6f,      -1e6f, 1e9f,   -1e9f};
    uint32_t value = (uint32_t)take(in, 2), n = sizeof odd / sizeof odd[0];
    if (value < 65536 - 2621) { /* one in 25 */
        return (float)(low + (high - low) * value / (65536.0 - 2621));
    }
    if (value % (n + 1) < n) {
        return odd[value % (n + 1)];
    }
    uint32_t bits = (uint32_t)take(in, 4);
    float any;
    memcpy(&any, &bits, sizeof any);
    return any;
}

uint64_t pick_seed(input *in) { return take(in, 2); }

uint64_t next_bits(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void *block(size_t bytes)
{
    unsigned char *memory = malloc(bytes);
    if (memory == NULL && bytes > 0) {
        fprintf(stderr, "no memory for %zu bytes\n", bytes);
        exit(2);
    }
    if (bytes > 0) {
        memset(memory, 0xa5, bytes);
    }
    return memory;
}

em_rows pick_rows(input *in, int32_t n, int32_t dim)
{
    size_t rows = (size_t)n, width = dim < 0 ? 0 : (size_t)dim;
    float *boxes = block(16 * rows), *scores = block(4 * rows);
    float *looks = dim < 0 ? NULL : block(4 * rows * width);
    int32_t *labels = block(4 * rows);
    for (size_t i = 0; i < rows; ++i) {
        float *box = boxes + 4 * i;
        box[0] = pick_wild(in, -50, 700);
        box[1] = pick_wild(in, -50, 500);
        box[2] = box[0] + pick_wild(in, -5, 90);
        box[3] = box[1] + pick_wild(in, -5, 90);
        scores[i] = pick_wild(in, 0, 1);
        labels[i] = pick(in, -1, 3);
        for (size_t k = 0; k < width; ++k) {
            looks[width * i + k] = pick_wild(in, -1, 1);
        }
    }
    return (em_rows){.boxes = boxes, .scores = scores, .labels = labels, .embeddings = looks,
                     .n = n, .dim = (int32_t)width};
}

void drop_rows(const em_rows *rows)
{
    free((void *)(uintptr_t)rows->boxes);
    free((void *)(uintptr_t)rows->scores);
    free((void *)(uintptr_t)rows->labels);
    free((void *)(uintptr_t)rows->embeddings);
}

/* FNV-1a */
void digest_bytes(input *in, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        in->digest = (in->digest ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3u;
    }
}

void digest_floats(input *in, const float *values, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        uint32_t bits = 0x7fc00000u;
        if (!isnan(values[i])) {
            memcpy(&bits, &values[i], sizeof bits);
        }
        /* by value: the order of a number's bytes is the machine's own */
        uint8_t bytes[4] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                            (uint8_t)(bits >> 24)};
        digest_bytes(in, bytes, sizeof bytes);
    }
}
