/* Many seeded random cases of every kernel, each over heap buffers of exactly the size it asks
 * for, so that the address sanitizer sees the first byte too far. Invariants are checked as well.
 *
 *     .ci/sanitize builds it, with the kernels, and runs: fuzz ROUNDS SEED
 */
#include "edgemtl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- chance and memory ------------------------------------------------------------------ */

static uint64_t chance_state;

/* splitmix64 */
static uint64_t bits(void)
{
    uint64_t z = (chance_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int32_t pick(int32_t low, int32_t high)
{
    return low + (int32_t)(bits() % (uint64_t)(high - low + 1));
}

static double real(double low, double high)
{
    return low + (high - low) * (double)(bits() >> 11) / 9007199254740992.0;
}

static int one_in(int32_t n) { return pick(1, n) == 1; }

/* Mostly ordinary numbers; sometimes one that nobody should send. */
static float wild(double low, double high)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-40f, 0.0f, -0.0f, 1e6f};
    return one_in(25) ? odd[pick(0, 8)] : (float)real(low, high);
}

/* The block ends where it says; what lies in it is not zero. */
static void *block(size_t bytes)
{
    unsigned char *memory = malloc(bytes);
    if (memory == NULL && bytes > 0) {
        fprintf(stderr, "no memory for %zu bytes\n", bytes);
        exit(2);
    }
    memset(memory, 0xa5, bytes);
    return memory;
}

static float *floats(size_t n, double low, double high)
{
    float *values = block(n * sizeof(float));
    for (size_t i = 0; i < n; ++i) {
        values[i] = wild(low, high);
    }
    return values;
}

static int failures;

#define CHECK(condition)                                                                         \
    do {                                                                                         \
        if (!(condition)) {                                                                      \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);              \
            ++failures;                                                                          \
        }                                                                                        \
    } while (0)

/* ---- pictures --------------------------------------------------------------------------- */

static int32_t any_side(void) { return one_in(3) ? pick(1, 3) : pick(1, 70); }

/* Level of the plain bilinear formula at (y, x), or of the pad outside the picture. */
static double plain_level(const em_image *image, const em_geometry *g, int32_t y, int32_t x, int c)
{
    double sy = (y - g->top + 0.5) * g->src_h / g->height - 0.5;
    double sx = (x - g->left + 0.5) * g->src_w / g->width - 0.5;
    sy = fmin(fmax(sy, 0.0), g->src_h - 1.0);
    sx = fmin(fmax(sx, 0.0), g->src_w - 1.0);
    int32_t y0 = (int32_t)sy, x0 = (int32_t)sx;
    int32_t y1 = y0 + 1 < g->src_h ? y0 + 1 : y0, x1 = x0 + 1 < g->src_w ? x0 + 1 : x0;
    double fy = sy - y0, fx = sx - x0;
    const uint8_t *upper = image->data + y0 * image->row_stride + c;
    const uint8_t *lower = image->data + y1 * image->row_stride + c;
    return (1 - fy) * ((1 - fx) * upper[3 * x0] + fx * upper[3 * x1]) +
           fy * ((1 - fx) * lower[3 * x0] + fx * lower[3 * x1]);
}

static double stored_level(const em_pixel_format *f, const void *out, size_t at)
{
    switch (f->dtype) {
    case EM_INT8: return ((const int8_t *)out)[at] + 128.0;
    case EM_UINT8: return ((const uint8_t *)out)[at];
    default: return ((const float *)out)[at] * 128.0 + 128.0;
    }
}

static void check_levels(const em_image *image, const em_geometry *g, const em_pixel_format *f,
                         const void *out)
{
    size_t plane = (size_t)g->net_h * (size_t)g->net_w;
    for (int32_t y = 0; y < g->net_h; ++y) {
        for (int32_t x = 0; x < g->net_w; ++x) {
            int inside = y >= g->top && y < g->top + g->height && x >= g->left &&
                         x < g->left + g->width;
            for (int c = 0; c < 3; ++c) {
                size_t to = (size_t)(f->swap_rb ? 2 - c : c) * plane;
                double got = stored_level(f, out, to + (size_t)y * (size_t)g->net_w + (size_t)x);
                double want = inside ? plain_level(image, g, y, x, c) : f->pad;
                CHECK(fabs(got - want) <= (inside ? 0.52 : 0.001));
            }
        }
    }
}

/* A picture whose last row ends with its buffer (and whose first starts it, if upside down). */
static uint8_t *any_picture(em_image *image)
{
    ptrdiff_t row = 3 * image->width, stride = row + pick(0, 5);
    size_t bytes = (size_t)(stride * (image->height - 1) + row);
    uint8_t *memory = block(bytes);
    int flat = one_in(4);
    for (size_t i = 0; i < bytes; ++i) {
        memory[i] = flat ? (uint8_t)(255 * pick(0, 1)) : (uint8_t)bits();
    }
    int upside_down = pick(0, 1);
    image->data = upside_down ? memory + stride * (image->height - 1) : memory;
    image->row_stride = upside_down ? -stride : stride;
    return memory;
}

static void fuzz_letterbox(void)
{
    em_geometry g;
    em_image image = {.height = any_side(), .width = any_side()};
    em_pixel_format f = {.dtype = (em_dtype)pick(0, 2), .swap_rb = pick(0, 1)};
    f.scale = f.dtype == EM_FLOAT32 ? 1.0f / 128.0f : 1.0f;
    f.offset = f.dtype == EM_FLOAT32 ? -1.0f : f.dtype == EM_INT8 ? -128.0f : 0.0f;
    f.pad = (uint8_t)bits();
    CHECK(em_letterbox_geometry(image.height, image.width, any_side(), any_side(),
                                (em_align)pick(0, 1), &g) == EM_OK);
    CHECK(g.height >= 1 && g.width >= 1 && g.top >= 0 && g.left >= 0);
    CHECK(g.top + g.height <= g.net_h && g.left + g.width <= g.net_w);
    CHECK(g.height == g.net_h || g.width == g.net_w);
    uint8_t *memory = any_picture(&image);
    size_t cells = 3 * (size_t)g.net_h * (size_t)g.net_w;
    void *out = block(cells * (f.dtype == EM_FLOAT32 ? 4 : 1));
    void *scratch = block(em_letterbox_scratch(&g));
    em_level level = one_in(2) ? EM_PORTABLE : EM_FASTEST;
    CHECK(em_letterbox_at(level, &image, &g, &f, out, scratch) == EM_OK);
    check_levels(&image, &g, &f, out);
    f.scale = (float)real(-9, 9);
    f.offset = wild(-500, 500);
    f.offset = isfinite(f.offset) ? f.offset : 3e38f;
    em_letterbox(&image, &g, &f, out, scratch);
    free(memory);
    free(out);
    free(scratch);
    CHECK(em_letterbox_geometry(pick(-1, 0), 1, 1, 1, EM_CENTER, &g) == EM_EARG);
}

/* ---- boxes ------------------------------------------------------------------------------ */

static float *any_boxes(int32_t n)
{
    float *boxes = block(16 * (size_t)n);
    for (int32_t i = 0; i < n; ++i) {
        float x = wild(-50, 700), y = wild(-50, 500);
        float box[4] = {x, y, x + wild(-5, 90), y + wild(-5, 90)};
        memcpy(boxes + 4 * (size_t)i, box, sizeof box);
    }
    return boxes;
}

static em_rows any_rows(int32_t n, int32_t dim)
{
    int32_t *labels = block(4 * (size_t)n);
    for (int32_t i = 0; i < n; ++i) {
        labels[i] = pick(-1, 3);
    }
    return (em_rows){.boxes = any_boxes(n),
                     .scores = floats((size_t)n, 0, 1),
                     .labels = labels,
                     .embeddings = dim < 0 ? NULL : floats((size_t)n * (size_t)dim, -1, 1),
                     .n = n,
                     .dim = dim < 0 ? 0 : dim};
}

static void drop_rows(const em_rows *rows)
{
    free((void *)(uintptr_t)rows->boxes);
    free((void *)(uintptr_t)rows->scores);
    free((void *)(uintptr_t)rows->labels);
    free((void *)(uintptr_t)rows->embeddings);
}

static void check_decoded(const em_rows_out *out, int32_t kept, int32_t dim, const em_mapping *m)
{
    for (int32_t i = 0; i < kept; ++i) {
        const float *box = out->boxes + 4 * (size_t)i;
        CHECK(box[0] >= 0 && box[1] >= 0 && box[2] <= m->src_w && box[3] <= m->src_h);
        CHECK(box[2] > box[0] && box[3] > box[1]);
        CHECK(isfinite(out->scores[i]) && out->scores[i] >= 0.3f);
        for (int32_t k = 0; out->embeddings != NULL && k < dim; ++k) {
            CHECK(isfinite(out->embeddings[(size_t)i * (size_t)dim + (size_t)k]));
        }
    }
}

static void fuzz_decode(void)
{
    int32_t n = one_in(4) ? pick(0, 2) : pick(0, 60), dim = one_in(3) ? -1 : pick(0, 9);
    em_rows rows = any_rows(n, dim);
    em_mapping m = {(float)real(0.01, 5), (float)real(0.01, 5), (float)real(0, 90),
                    (float)real(0, 90), (float)pick(1, 900), (float)pick(1, 900)};
    em_rows_out out = {block(16 * (size_t)n), block(4 * (size_t)n), block(4 * (size_t)n), NULL};
    out.embeddings = dim < 0 ? NULL : block(4 * (size_t)n * (size_t)dim);
    int kept = em_decode(&rows, &m, 0.3f, &out);
    CHECK(kept >= 0 && kept <= n);
    check_decoded(&out, kept, rows.dim, &m);
    em_boxes_to_net(rows.boxes, n, &m, out.boxes);
    em_boxes_to_src(out.boxes, n, &m, out.boxes);
    for (int32_t i = 0; i < 4 * n; ++i) {
        CHECK(!(out.boxes[i] < 0) && !(out.boxes[i] > (i % 2 ? m.src_h : m.src_w)));
        CHECK(isnan(out.boxes[i]) == isnan(rows.boxes[i]));
    }
    drop_rows(&rows);
    free(out.boxes);
    free(out.scores);
    free(out.labels);
    free(out.embeddings);
}

static void fuzz_iou(void)
{
    int32_t n = pick(0, 20), m = pick(0, 20);
    float *a = any_boxes(n), *b = any_boxes(m), *out = block(4 * (size_t)n * (size_t)m);
    float *turned = block(4 * (size_t)n * (size_t)m);
    em_iou(a, n, b, m, out);
    em_iou(b, m, a, n, turned);
    for (int32_t i = 0; i < n; ++i) {
        for (int32_t j = 0; j < m; ++j) {
            float one = out[i * m + j];
            CHECK(one >= 0 && one <= 1 && one == turned[j * n + i]);
        }
    }
    free(a);
    free(b);
    free(out);
    free(turned);
}

/* ---- assignment ------------------------------------------------------------------------- */

static int allowed(double cost, double max_cost) { return fabs(cost) < 1e200 && cost <= max_cost; }

/* Least value over all ways to pair row i and later ones; used: columns taken, as bits. */
static double best_way(const double *cost, int32_t n, int32_t m, const double limits[2], int32_t i,
                       unsigned used)
{
    if (i == n) {
        return 0.0;
    }
    double best = limits[1] + best_way(cost, n, m, limits, i + 1, used);
    for (int32_t j = 0; j < m; ++j) {
        double c = cost[i * m + j];
        if (!(used & 1u << j) && allowed(c, limits[0])) {
            best = fmin(best, c + best_way(cost, n, m, limits, i + 1, used | 1u << j));
        }
    }
    return best;
}

static void check_assignment(const double *cost, int32_t n, int32_t m, double max_cost,
                             const int32_t *columns, int pairs)
{
    for (int32_t i = 0; i < n; ++i) {
        int32_t j = columns[i];
        CHECK(j >= -1 && j < m);
        pairs -= j >= 0;
        if (j >= 0 && j < m) {
            CHECK(allowed(cost[i * m + j], max_cost));
        }
        for (int32_t k = 0; k < i && j >= 0; ++k) {
            CHECK(columns[k] != j);
        }
    }
    CHECK(pairs == 0);
}

static void fuzz_assign(void)
{
    int small = pick(0, 1);
    int32_t n = pick(0, small ? 4 : 40), m = pick(0, small ? 4 : 40);
    size_t cells = (size_t)n * (size_t)m;
    double *cost = block(8 * cells), scale = one_in(3) ? 1e7 : 1.0;
    for (size_t i = 0; i < cells; ++i) {
        cost[i] = one_in(3) ? pick(-2, 2) * scale : (double)wild(-1, 9) * scale;
    }
    double max_cost = one_in(2) ? INFINITY : real(0, 9) * scale;
    double price = small || one_in(2) ? real(-1, 20) * scale : INFINITY;
    int32_t *columns = block(4 * (size_t)n);
    void *scratch = block(em_assign_dense_scratch(n, m));
    int pairs = em_assign_dense(cost, n, m, max_cost, price, columns, scratch);
    check_assignment(cost, n, m, max_cost, columns, pairs);
    if (small) {
        double total = 0.0, size = fabs(price), limits[2] = {max_cost, price};
        for (int32_t i = 0; i < n; ++i) {
            double c = columns[i] < 0 ? price : cost[i * m + columns[i]];
            total += c;
            size = fmax(size, fabs(c));
        }
        CHECK(total <= best_way(cost, n, m, limits, 0, 0) + 1e-9 * (size + 1.0));
    }
    free(cost);
    free(columns);
    free(scratch);
}

/* ---- filter and tracker ----------------------------------------------------------------- */

static void fuzz_kalman(void)
{
    em_kalman_noise noise = {real(0, 1), real(0, 4), real(0, 4), real(0, 1)};
    double at[4] = {real(-900, 900), real(-900, 900), real(0.1, 500), real(0.1, 500)}, box[4];
    em_kalman filter;
    em_kalman_start(&filter, at, &noise, real(0.5, 2));
    for (int i = 0; i < 30; ++i) {
        em_kalman_predict(&filter, one_in(3) ? 0.0 : real(0, 2), &noise);
        if (pick(0, 1)) {
            at[pick(0, 3)] += real(0, 20);
            em_kalman_update(&filter, at, &noise, real(0.5, 2));
        }
        em_kalman_box(&filter, box);
        CHECK(box[2] - box[0] >= 0.999 && box[3] - box[1] >= 0.999);
        for (int k = 0; k < 4; ++k) {
            const em_axis *a = &filter.axis[k];
            double tolerance = 1e-6 * a->pxx * a->pvv + 1e-12;
            CHECK(isfinite(a->x) && isfinite(a->v) && a->pxx >= 0 && a->pvv >= -1e-9);
            CHECK(a->pxx * a->pvv - a->pxv * a->pxv >= -tolerance);
        }
    }
}

static em_tracks_out tracks_of(int32_t capacity)
{
    size_t n = (size_t)capacity;
    return (em_tracks_out){block(8 * n), block(16 * n), block(4 * n), block(4 * n), block(4 * n)};
}

static void check_tracks(const em_tracks_out *out, int t, const em_rows *rows,
                         const em_frame_info *frame)
{
    for (int i = 0; i < t; ++i) {
        const float *box = out->boxes + 4 * (size_t)i;
        CHECK(out->ids[i] >= 1 && isfinite(out->scores[i]));
        CHECK(out->det_index[i] >= -1 && out->det_index[i] < rows->n);
        CHECK(box[0] >= 0 && box[1] >= 0 && box[2] > box[0] && box[3] > box[1]);
        CHECK(box[2] <= (float)frame->width && box[3] <= (float)frame->height);
        for (int k = 0; k < i; ++k) {
            CHECK(out->ids[k] != out->ids[i]);
            CHECK(out->det_index[k] != out->det_index[i] || out->det_index[i] < 0);
        }
    }
}

static void fuzz_steps(em_tracker *tracker, int32_t capacity, int32_t dim)
{
    em_tracks_out out = tracks_of(capacity);
    em_frame_info frame = {pick(0, 1) ? INT64_MIN : 0, pick(1, 600), pick(1, 800)};
    for (int i = 0; i < 25; ++i) {
        em_rows rows = any_rows(one_in(5) ? 0 : pick(0, 40), one_in(4) ? -1 : dim);
        void *scratch = block(em_tracker_scratch(tracker, rows.n));
        int t = em_tracker_step(tracker, &rows, &frame, &out, scratch);
        CHECK(t >= 0 && t <= capacity);
        check_tracks(&out, t, &rows, &frame);
        if (frame.pts_ns > INT64_MIN) {
            em_frame_info early = {frame.pts_ns - 1, 9, 9};
            CHECK(em_tracker_step(tracker, &rows, &early, &out, scratch) == EM_ETIME);
        }
        drop_rows(&rows);
        free(scratch);
        frame.pts_ns = i == 20 ? INT64_MAX - 1000 : frame.pts_ns;
        frame.pts_ns += i < 20 ? (int64_t)pick(0, 3) * pick(0, 400000000) : pick(0, 100);
        if (one_in(40)) {
            em_tracker_reset(tracker);
        }
    }
    CHECK(em_tracker_refused(tracker) >= 0);
    free(out.ids);
    free(out.boxes);
    free(out.scores);
    free(out.labels);
    free(out.det_index);
}

static void fuzz_tracker(void)
{
    em_tracker_config config = {0.1f, 0.5f, 0.5f, 1.0f, 3.0f, 0.25f, 0.1f, 0.2f,  0.4f,
                                2.0f, 0.4f, 1.0f, 0.6f, 0.5f, 0.3f,  0.25f, 0.9f, 0.6f};
    float *values = (float *)(void *)&config;
    for (int i = 0; i < 5; ++i) {
        values[pick(0, 17)] = (float)real(0, 2);
    }
    int32_t capacity = one_in(3) ? pick(1, 4) : pick(1, 80), dim = one_in(3) ? 0 : pick(1, 9);
    void *memory = block(em_tracker_size(capacity, dim));
    fuzz_steps(em_tracker_init(memory, &config, capacity, dim), capacity, dim);
    free(memory);
}

static void fuzz_byte_steps(em_bytetrack *tracker, int32_t capacity)
{
    em_tracks_out out = tracks_of(capacity);
    em_frame_info frame = {pick(0, 1) ? INT64_MIN : 0, INT32_MAX, INT32_MAX};
    for (int i = 0; i < 25; ++i) {
        em_rows rows = any_rows(one_in(5) ? 0 : pick(0, 40), -1);
        void *scratch = block(em_bytetrack_scratch(tracker, rows.n));
        int t = em_bytetrack_step(tracker, &rows, frame.pts_ns, &out, scratch);
        CHECK(t >= 0 && t <= capacity);
        for (int k = 0; k < t; ++k) {
            static const float inside[4] = {0, 0, 1, 1};
            float *box = out.boxes + 4 * (size_t)k; /* these may reach beyond the picture */
            CHECK(box[0] >= -2e6f && box[1] >= -2e6f && box[2] <= 2e6f && box[3] <= 2e6f);
            CHECK(box[2] > box[0] && box[3] > box[1]);
            memcpy(box, inside, sizeof inside);
            CHECK(out.det_index[k] >= 0 && out.scores[k] == rows.scores[out.det_index[k]]);
        }
        check_tracks(&out, t, &rows, &frame);
        if (frame.pts_ns > INT64_MIN) {
            CHECK(em_bytetrack_step(tracker, &rows, frame.pts_ns - 1, &out, scratch) == EM_ETIME);
        }
        drop_rows(&rows);
        free(scratch);
        frame.pts_ns += pick(0, 3);
        if (one_in(40)) {
            em_bytetrack_reset(tracker);
        }
    }
    CHECK(em_bytetrack_refused(tracker) >= 0);
    free(out.ids);
    free(out.boxes);
    free(out.scores);
    free(out.labels);
    free(out.det_index);
}

static void fuzz_bytetrack(void)
{
    em_bytetrack_config config = {(float)real(0, 0.5), (float)real(0, 1), (float)real(0, 1),
                                  (float)real(0, 1),   pick(0, 9),        pick(0, 1),
                                  pick(0, 1)};
    int32_t capacity = one_in(3) ? pick(1, 4) : pick(1, 80);
    void *memory = block(em_bytetrack_size(capacity));
    fuzz_byte_steps(em_bytetrack_init(memory, &config, capacity), capacity);
    free(memory);
}

static void fuzz_keep_best(void)
{
    int32_t n = pick(0, 30), room = pick(0, 12), kept = 0;
    float scores[30], low = INFINITY;
    uint8_t keep[30], wanted[30];
    for (int32_t i = 0; i < n; ++i) {
        scores[i] = one_in(2) ? (float)pick(0, 3) : (float)real(0, 3);
        wanted[i] = keep[i] = (uint8_t)pick(0, 1);
    }
    int32_t refused = em_keep_best(scores, n, room, keep);
    for (int32_t i = 0; i < n; ++i) {
        kept += keep[i];
        low = keep[i] ? fminf(low, scores[i]) : low;
    }
    CHECK(refused == 0 || kept == room);
    for (int32_t i = 0; i < n; ++i) {
        refused -= wanted[i] && !keep[i];
        CHECK(wanted[i] || !keep[i]);
        CHECK(!wanted[i] || keep[i] || scores[i] <= low);
    }
    CHECK(refused == 0);
}

int main(int argc, char **argv)
{
    static void (*const kernels[])(void) = {fuzz_letterbox, fuzz_decode, fuzz_iou,
                                            fuzz_assign,    fuzz_kalman, fuzz_tracker,
                                            fuzz_bytetrack, fuzz_keep_best};
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 100;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    for (long round = 0; round < rounds && failures == 0; ++round) {
        for (size_t k = 0; k < sizeof kernels / sizeof kernels[0]; ++k) {
            chance_state = (seed << 40) + ((uint64_t)round << 8) + k;
            kernels[k]();
            if (failures > 0) {
                fprintf(stderr, "kernel %zu, round %ld, seed %llu\n", k, round,
                        (unsigned long long)seed);
                break;
            }
        }
    }
    printf("%ld rounds of every kernel: %d failures\n", rounds, failures);
    return failures > 0;
}
