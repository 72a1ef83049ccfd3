/* Ranking by score and non-maximum suppression. */
#include "edgemtl.h"

#include <math.h>
#include <string.h>

/* Below this many keys, plain insertion beats the passes over the digits. */
#define FEW 48

static size_t align16(size_t bytes) { return (bytes + 15u) & ~(size_t)15u; }

/* Keys in ascending order are scores in descending order: the bits of a float, with the sign
 * turned so that they compare as the numbers do, and then all of them for the direction. */
static uint32_t descending(float score)
{
    uint32_t bits;
    score += 0.0f; /* -0 and 0 are one score */
    memcpy(&bits, &score, sizeof bits);
    return ~(bits & 0x80000000u ? ~bits : bits | 0x80000000u);
}

static void insertion_sort(uint64_t *keys, int32_t n)
{
    for (int32_t i = 1; i < n; ++i) {
        uint64_t key = keys[i];
        int32_t at = i;
        for (; at > 0 && keys[at - 1] > key; --at) {
            keys[at] = keys[at - 1];
        }
        keys[at] = key;
    }
}

/* By the upper half, eight bits at a time; stable, so the lower half, which ascends in the input,
 * decides ties. Leaves the result in keys. */
static void digit_sort(uint64_t *keys, uint64_t *other, int32_t n)
{
    for (int shift = 32; shift < 64; shift += 8) {
        int32_t start[256] = {0}, total = 0;
        for (int32_t i = 0; i < n; ++i) {
            ++start[(keys[i] >> shift) & 255u];
        }
        for (int d = 0; d < 256; ++d) {
            int32_t count = start[d];
            start[d] = total;
            total += count;
        }
        for (int32_t i = 0; i < n; ++i) {
            other[start[(keys[i] >> shift) & 255u]++] = keys[i];
        }
        uint64_t *swap = keys;
        keys = other;
        other = swap;
    }
}

size_t em_rank_scratch(int32_t n) { return 2 * align16((size_t)n * sizeof(uint64_t)); }

int em_rank(const float *scores, int32_t n, int32_t *order, void *scratch)
{
    uint64_t *keys = scratch;
    uint64_t *other = (uint64_t *)(void *)((uint8_t *)scratch +
                                           align16((size_t)n * sizeof(uint64_t)));
    int32_t count = 0;
    for (int32_t i = 0; i < n; ++i) {
        if (isfinite(scores[i])) {
            keys[count++] = (uint64_t)descending(scores[i]) << 32 | (uint32_t)i;
        }
    }
    if (count <= FEW) {
        insertion_sort(keys, count);
    } else {
        digit_sort(keys, other, count);
    }
    for (int32_t i = 0; i < count; ++i) {
        order[i] = (int32_t)(keys[i] & 0xffffffffu);
    }
    return count;
}

/* The boxes by columns, best first: what the inner loop reads lies side by side. */
typedef struct {
    float *x1, *y1, *x2, *y2, *area;
    int32_t *label, *row, *dead;
} columns;

enum { COLUMNS = 8 };

static void lay_out(columns *c, uint8_t *base, int32_t n)
{
    size_t step = align16((size_t)n * sizeof(float));
    float **numbers[] = {&c->x1, &c->y1, &c->x2, &c->y2, &c->area};
    int32_t **integers[] = {&c->label, &c->row, &c->dead};
    for (int i = 0; i < 5; ++i, base += step) {
        *numbers[i] = (float *)(void *)base;
    }
    for (int i = 0; i < 3; ++i, base += step) {
        *integers[i] = (int32_t *)(void *)base;
    }
}

size_t em_nms_scratch(int32_t n)
{
    return COLUMNS * align16((size_t)n * sizeof(float)) + em_rank_scratch(n);
}

static int has_area(const float *box)
{
    return isfinite(box[0]) && isfinite(box[1]) && isfinite(box[2]) && isfinite(box[3]) &&
           box[2] > box[0] && box[3] > box[1];
}

/* Fill the columns; returns how many boxes take part. c->row holds the ranking on entry. */
static int32_t gather(const em_rows *rows, int32_t ranked, int class_agnostic, columns *c)
{
    int32_t n = 0;
    for (int32_t i = 0; i < ranked; ++i) {
        int32_t row = c->row[i];
        const float *box = rows->boxes + 4 * (size_t)row;
        if (!has_area(box)) {
            continue;
        }
        c->x1[n] = box[0];
        c->y1[n] = box[1];
        c->x2[n] = box[2];
        c->y2[n] = box[3];
        c->area[n] = (box[2] - box[0]) * (box[3] - box[1]);
        c->label[n] = class_agnostic ? 0 : rows->labels[row];
        c->row[n] = row;
        c->dead[n] = 0;
        ++n;
    }
    return n;
}

/* Mark what box i suppresses among the weaker ones. Without branches, for the vector units. */
static void suppress(const columns *c, int32_t i, int32_t n, float limit)
{
    const float *restrict x1 = c->x1, *restrict y1 = c->y1, *restrict x2 = c->x2,
                *restrict y2 = c->y2, *restrict area = c->area;
    const int32_t *restrict label = c->label;
    int32_t *restrict dead = c->dead;
    float left = x1[i], top = y1[i], right = x2[i], bottom = y2[i], size = area[i];
    int32_t kind = label[i];
    for (int32_t j = i + 1; j < n; ++j) {
        float w = (right < x2[j] ? right : x2[j]) - (left > x1[j] ? left : x1[j]);
        float h = (bottom < y2[j] ? bottom : y2[j]) - (top > y1[j] ? top : y1[j]);
        float inter = (w > 0.0f ? w : 0.0f) * (h > 0.0f ? h : 0.0f);
        float iou = inter / (size + area[j] - inter);
        dead[j] |= (iou > limit) & (label[j] == kind);
    }
}

int em_nms(const em_rows *rows, const em_nms_options *options, int32_t *keep, void *scratch)
{
    columns c;
    lay_out(&c, scratch, rows->n);
    uint8_t *rest = (uint8_t *)scratch + COLUMNS * align16((size_t)rows->n * sizeof(float));
    int32_t ranked = em_rank(rows->scores, rows->n, c.row, rest);
    int32_t n = gather(rows, ranked, options->class_agnostic, &c), kept = 0;
    /* the largest float that is not above the limit: floats compare with it as with the limit */
    float limit = (float)options->iou;
    limit = (double)limit > options->iou ? nextafterf(limit, -INFINITY) : limit;
    for (int32_t i = 0; i < n && kept < options->max_out; ++i) {
        if (c.dead[i]) {
            continue;
        }
        keep[kept++] = c.row[i];
        if (options->iou < 1.0 && kept < options->max_out) {
            suppress(&c, i, n, limit);
        }
    }
    return kept;
}
