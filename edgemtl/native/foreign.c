/* Adopted detectors: the raw outputs of other projects' networks into detections. */
#include "edgemtl.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 1024, LANES = 8, YOLOX_FRONT = 5, N6_ROW = 6 };

static size_t align16(size_t bytes) { return (bytes + 15u) & ~(size_t)15u; }

int32_t em_yolox_anchors(int32_t net_h, int32_t net_w)
{
    int32_t total = 0;
    for (int32_t stride = 8; stride <= 32; stride *= 2) {
        total += (net_h / stride) * (net_w / stride);
    }
    return total;
}

/* Anchors that reach the threshold, in their order. */
typedef struct {
    float *score;
    int32_t *anchor, *label;
    int32_t n;
} candidates;

static int reaches(float score, float min_score) { return score >= min_score && isfinite(score); }

static void add(candidates *found, float score, int32_t anchor, int32_t label)
{
    found->score[found->n] = score;
    found->label[found->n] = label;
    found->anchor[found->n++] = anchor;
}

/* The first class that holds the maximum; classes lie `step` values apart. */
static int32_t first_largest(const float *values, int32_t n, size_t step)
{
    int32_t best = 0;
    float most = -INFINITY;
    for (int32_t c = 0; c < n; ++c) {
        if (values[step * (size_t)c] > most) {
            most = values[step * (size_t)c];
            best = c;
        }
    }
    return best;
}

/* The largest of n values that lie side by side; NaN never wins. -INFINITY for n = 0. */
static float largest(const float *values, int32_t n)
{
    float lane[LANES], best = -INFINITY;
    int32_t i = 0;
    for (int k = 0; k < LANES; ++k) {
        lane[k] = -INFINITY;
    }
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < LANES; ++k) {
            lane[k] = values[i + k] > lane[k] ? values[i + k] : lane[k];
        }
    }
    for (; i < n; ++i) {
        best = values[i] > best ? values[i] : best;
    }
    for (int k = 0; k < LANES; ++k) {
        best = lane[k] > best ? lane[k] : best;
    }
    return best;
}

static void scan_yolox(const em_raw *raw, float min_score, candidates *found)
{
    size_t width = YOLOX_FRONT + (size_t)raw->classes;
    for (int32_t a = 0; a < raw->anchors; ++a) {
        const float *row = raw->values + width * (size_t)a;
        float score = row[4] >= min_score
                          ? row[4] * largest(row + YOLOX_FRONT, raw->classes)
                          : -INFINITY;
        if (reaches(score, min_score)) {
            add(found, score, a, first_largest(row + YOLOX_FRONT, raw->classes, 1));
        }
    }
}

static float larger(float a, float b) { return a > b ? a : b; }

/* best[i]: the largest of the rows' i-th values; four rows a turn, for there are many. */
static void largest_of_rows(const float *rows, size_t step, int32_t n_rows, int32_t n,
                            float *restrict best)
{
    int32_t c = 0;
    for (int32_t i = 0; i < n; ++i) {
        best[i] = -INFINITY;
    }
    for (; c + 4 <= n_rows; c += 4) {
        const float *a = rows + step * (size_t)c, *b = a + step, *d = b + step, *e = d + step;
        for (int32_t i = 0; i < n; ++i) { /* NaN loses as the left argument only */
            float most = larger(a[i], best[i]);
            most = larger(b[i], most);
            most = larger(d[i], most);
            best[i] = larger(e[i], most);
        }
    }
    for (; c < n_rows; ++c) {
        const float *a = rows + step * (size_t)c;
        for (int32_t i = 0; i < n; ++i) {
            best[i] = larger(a[i], best[i]);
        }
    }
}

/* The classes of one anchor lie far apart: the maximum of a block of anchors at a time. */
static void scan_yolov8(const em_raw *raw, float min_score, candidates *found)
{
    size_t anchors = (size_t)raw->anchors;
    for (int32_t first = 0; first < raw->anchors; first += BLOCK) {
        int32_t n = raw->anchors - first < BLOCK ? raw->anchors - first : BLOCK;
        const float *rows = raw->values + 4 * anchors + (size_t)first;
        float best[BLOCK];
        largest_of_rows(rows, anchors, raw->classes, n, best);
        for (int32_t i = 0; i < n; ++i) {
            if (reaches(best[i], min_score)) {
                add(found, best[i], first + i, first_largest(rows + i, raw->classes, anchors));
            }
        }
    }
}

static void scan_n6(const em_raw *raw, float min_score, candidates *found)
{
    for (int32_t a = 0; a < raw->anchors; ++a) {
        const float *row = raw->values + N6_ROW * (size_t)a;
        /* a class that is no number of the list is the filling of an end-to-end export */
        if (reaches(row[4], min_score) && row[5] > -0.5f &&
            row[5] < (float)raw->classes - 0.5f) {
            add(found, row[4], a, (int32_t)floorf(row[5] + 0.5f));
        }
    }
}

static void corners(float x, float y, float w, float h, float *box)
{
    box[0] = x - 0.5f * w;
    box[1] = y - 0.5f * h;
    box[2] = x + 0.5f * w;
    box[3] = y + 0.5f * h;
}

/* Centres are offsets within the anchor's cell, sides are logarithms, both in strides. */
static void box_yolox(const em_raw *raw, int32_t anchor, float *box)
{
    const float *row = raw->values + (YOLOX_FRONT + (size_t)raw->classes) * (size_t)anchor;
    if (raw->kind == EM_YOLOX_PIXELS) {
        corners(row[0], row[1], row[2], row[3], box);
        return;
    }
    int32_t stride = 8, wide = raw->net_w / 8, cells = (raw->net_h / 8) * wide;
    while (anchor >= cells && stride < 32) {
        anchor -= cells;
        stride *= 2;
        wide = raw->net_w / stride;
        cells = (raw->net_h / stride) * wide;
    }
    float s = (float)stride;
    corners((row[0] + (float)(anchor % wide)) * s, (row[1] + (float)(anchor / wide)) * s,
            expf(row[2]) * s, expf(row[3]) * s, box);
}

static void read_box(const em_raw *raw, int32_t anchor, float *box)
{
    size_t a = (size_t)anchor, all = (size_t)raw->anchors;
    if (raw->kind == EM_YOLOV8) {
        const float *v = raw->values + a;
        corners(v[0], v[all], v[2 * all], v[3 * all], box);
    } else if (raw->kind == EM_N6) {
        memcpy(box, raw->values + N6_ROW * a, 4 * sizeof(float));
    } else {
        box_yolox(raw, anchor, box);
    }
}

/* Scratch of em_decode_raw: scores, anchors, labels and order of all anchors, and the ranking's. */
size_t em_decode_raw_scratch(const em_raw *raw)
{
    return 4 * align16((size_t)raw->anchors * sizeof(float)) + em_rank_scratch(raw->anchors);
}

int em_decode_raw(const em_raw *raw, float min_score, const em_rows_out *out, void *scratch)
{
    size_t step = align16((size_t)raw->anchors * sizeof(float));
    uint8_t *base = scratch;
    candidates found = {.score = scratch,
                        .anchor = (int32_t *)(void *)(base + step),
                        .label = (int32_t *)(void *)(base + 2 * step)};
    int32_t *order = (int32_t *)(void *)(base + 3 * step);
    if (raw->kind == EM_YOLOV8) {
        scan_yolov8(raw, min_score, &found);
    } else if (raw->kind == EM_N6) {
        scan_n6(raw, min_score, &found);
    } else {
        scan_yolox(raw, min_score, &found);
    }
    int32_t n = em_rank(found.score, found.n, order, base + 4 * step);
    n = n < EM_MOST_CANDIDATES ? n : EM_MOST_CANDIDATES;
    for (int32_t i = 0; i < n; ++i) {
        int32_t at = order[i];
        out->scores[i] = found.score[at];
        out->labels[i] = found.label[at];
        read_box(raw, found.anchor[at], out->boxes + 4 * (size_t)i);
    }
    return n;
}

/* Scratch of em_detect: the candidates' rows, what survives, and the larger of two kernels'. */
static int32_t most_rows(const em_raw *raw)
{
    return raw->anchors < EM_MOST_CANDIDATES ? raw->anchors : EM_MOST_CANDIDATES;
}

size_t em_detect_scratch(const em_raw *raw)
{
    int32_t n = most_rows(raw);
    size_t decode = em_decode_raw_scratch(raw), nms = em_nms_scratch(n);
    return 7 * align16((size_t)n * sizeof(float)) + (decode > nms ? decode : nms);
}

int em_detect(const em_raw *raw, const em_mapping *mapping, float min_score,
              const em_nms_options *options, const em_rows_out *out, void *scratch)
{
    size_t step = align16((size_t)most_rows(raw) * sizeof(float));
    uint8_t *base = scratch;
    em_rows_out found = {.boxes = (float *)scratch,
                         .scores = (float *)(void *)(base + 4 * step),
                         .labels = (int32_t *)(void *)(base + 5 * step)};
    int32_t *keep = (int32_t *)(void *)(base + 6 * step);
    void *rest = base + 7 * step;
    em_rows rows = {.boxes = found.boxes, .scores = found.scores, .labels = found.labels};
    rows.n = em_decode_raw(raw, min_score, &found, rest);
    rows.n = em_nms(&rows, options, keep, rest);
    for (int32_t i = 0; i < rows.n; ++i) { /* keep ascends: the candidates are sorted */
        memmove(found.boxes + 4 * (size_t)i, found.boxes + 4 * (size_t)keep[i],
                4 * sizeof(float));
        found.scores[i] = found.scores[keep[i]];
        found.labels[i] = found.labels[keep[i]];
    }
    return em_decode(&rows, mapping, min_score, out);
}
