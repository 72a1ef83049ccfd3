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
    uint64_t *home = keys;
    for (int shift = 32; shift < 64; shift += 8) {
        int32_t start[256] = {0}, total = 0;
        for (int32_t i = 0; i < n; ++i) {
            ++start[(keys[i] >> shift) & 255u];
        }
        if (start[(keys[0] >> shift) & 255u] == n) { /* all the same: labels are small numbers */
            continue;
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
    if (keys != home) {
        memcpy(home, keys, (size_t)n * sizeof *keys);
    }
}

static void sort_keys(uint64_t *keys, uint64_t *other, int32_t n)
{
    if (n <= FEW) {
        insertion_sort(keys, n);
    } else {
        digit_sort(keys, other, n);
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
    sort_keys(keys, other, count);
    for (int32_t i = 0; i < count; ++i) {
        order[i] = (int32_t)(keys[i] & 0xffffffffu);
    }
    return count;
}

/* The boxes by columns, one label after the other, best first: the inner loop reads neighbours. */
typedef struct {
    float *x1, *y1, *x2, *y2, *area;
    int32_t *rank, *dead;
    int32_t *row, *alive; /* by rank: the box's row; whether it stays */
} columns;

enum { COLUMNS = 9 };

static size_t column_bytes(int32_t n) { return align16((size_t)n * sizeof(float)); }

static uint8_t *lay_out(columns *c, uint8_t *base, int32_t n)
{
    float **numbers[] = {&c->x1, &c->y1, &c->x2, &c->y2, &c->area};
    int32_t **integers[] = {&c->rank, &c->dead, &c->row, &c->alive};
    for (int i = 0; i < 5; ++i, base += column_bytes(n)) {
        *numbers[i] = (float *)(void *)base;
    }
    for (int i = 0; i < COLUMNS - 5; ++i, base += column_bytes(n)) {
        *integers[i] = (int32_t *)(void *)base;
    }
    return base;
}

size_t em_nms_scratch(int32_t n)
{
    return COLUMNS * column_bytes(n) + align16((size_t)n * sizeof(uint64_t)) + em_rank_scratch(n);
}

static int has_area(const float *box)
{
    return isfinite(box[0]) && isfinite(box[1]) && isfinite(box[2]) && isfinite(box[3]) &&
           box[2] > box[0] && box[3] > box[1];
}

/* Fill the columns; keys become label and rank of those that take part, in the columns' order.
 * Returns their number. c->row holds the ranking. */
static int32_t gather(const em_rows *rows, int32_t ranked, int class_agnostic, columns *c,
                      uint64_t *keys, uint64_t *other)
{
    int32_t n = 0;
    for (int32_t i = 0; i < ranked; ++i) {
        c->alive[i] = 0;
        if (has_area(rows->boxes + 4 * (size_t)c->row[i])) {
            uint32_t label = class_agnostic ? 0u : (uint32_t)rows->labels[c->row[i]];
            keys[n++] = (uint64_t)label << 32 | (uint32_t)i;
        }
    }
    if (!class_agnostic) {
        sort_keys(keys, other, n);
    }
    for (int32_t i = 0; i < n; ++i) {
        int32_t rank = (int32_t)(keys[i] & 0xffffffffu);
        const float *box = rows->boxes + 4 * (size_t)c->row[rank];
        c->x1[i] = box[0];
        c->y1[i] = box[1];
        c->x2[i] = box[2];
        c->y2[i] = box[3];
        c->area[i] = (box[2] - box[0]) * (box[3] - box[1]);
        c->rank[i] = rank;
        c->dead[i] = 0;
    }
    return n;
}

/* Mark what box i suppresses of those behind it, before `end`. Without branches, for the vector
 * units. */
static void suppress(const columns *c, int32_t i, int32_t end, float limit)
{
    const float *restrict x1 = c->x1, *restrict y1 = c->y1, *restrict x2 = c->x2,
                *restrict y2 = c->y2, *restrict area = c->area;
    int32_t *restrict dead = c->dead;
    float left = x1[i], top = y1[i], right = x2[i], bottom = y2[i], size = area[i];
    for (int32_t j = i + 1; j < end; ++j) {
        float w = (right < x2[j] ? right : x2[j]) - (left > x1[j] ? left : x1[j]);
        float h = (bottom < y2[j] ? bottom : y2[j]) - (top > y1[j] ? top : y1[j]);
        float inter = (w > 0.0f ? w : 0.0f) * (h > 0.0f ? h : 0.0f);
        float iou = inter / (size + area[j] - inter);
        dead[j] |= iou > limit;
    }
}

/* The boxes of one label, from `first` to before `end`. No label gives more than max_out. */
static void greedy(const columns *c, int32_t first, int32_t end, const em_nms_options *options)
{
    int32_t kept = 0;
    /* the largest float that is not above the limit: floats compare with it as with the limit */
    float limit = (float)options->iou;
    limit = (double)limit > options->iou ? nextafterf(limit, -INFINITY) : limit;
    for (int32_t i = first; i < end && kept < options->max_out; ++i) {
        if (!c->dead[i]) {
            c->alive[c->rank[i]] = 1;
            ++kept;
            if (options->iou < 1.0) {
                suppress(c, i, end, limit);
            }
        }
    }
}

int em_nms(const em_rows *rows, const em_nms_options *options, int32_t *keep, void *scratch)
{
    columns c;
    uint64_t *keys = (uint64_t *)(void *)lay_out(&c, scratch, rows->n);
    uint8_t *rest = (uint8_t *)keys + align16((size_t)rows->n * sizeof(uint64_t));
    int32_t ranked = em_rank(rows->scores, rows->n, c.row, rest), kept = 0;
    int32_t n = gather(rows, ranked, options->class_agnostic, &c, keys, (uint64_t *)(void *)rest);
    for (int32_t first = 0, end; first < n; first = end) {
        end = first + 1;
        while (end < n && keys[end] >> 32 == keys[first] >> 32) {
            ++end;
        }
        greedy(&c, first, end, options);
    }
    for (int32_t i = 0; i < ranked && kept < options->max_out; ++i) {
        if (c.alive[i]) {
            keep[kept++] = c.row[i];
        }
    }
    return kept;
}
