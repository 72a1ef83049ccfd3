/* Rows of a network's output into boxes of the source, boxes against boxes, and the outputs of
 * adopted detectors. */
#include "input.h"

#include <math.h>

static void check_decoded(const em_rows_out *out, int32_t kept, int32_t dim, const em_mapping *m,
                          float min_score)
{
    for (int32_t i = 0; i < kept; ++i) {
        const float *box = out->boxes + 4 * (size_t)i;
        REQUIRE(box[0] >= 0 && box[1] >= 0 && box[2] <= m->src_w && box[3] <= m->src_h);
        REQUIRE(box[2] > box[0] && box[3] > box[1]);
        REQUIRE(isfinite(out->scores[i]) && out->scores[i] >= min_score);
        for (int32_t k = 0; out->embeddings != NULL && k < dim; ++k) {
            REQUIRE(isfinite(out->embeddings[(size_t)i * (size_t)dim + (size_t)k]));
        }
    }
}

static em_mapping pick_mapping(input *in)
{
    double scale[2], pad[2], size[2];
    pick_reals(in, scale, 2, 0.01, 5);
    pick_reals(in, pad, 2, 0, 90);
    pick_reals(in, size, 2, 1, 900);
    return (em_mapping){(float)scale[0], (float)scale[1], (float)pad[0],
                        (float)pad[1],   (float)size[0],  (float)size[1]};
}

static void there_and_back(input *in, const em_rows *rows, const em_mapping *m, float *out)
{
    REQUIRE(em_boxes_to_net(rows->boxes, rows->n, m, out) == EM_OK);
    digest_floats(in, out, 4 * (size_t)rows->n);
    REQUIRE(em_boxes_to_src(out, rows->n, m, out) == EM_OK);
    digest_floats(in, out, 4 * (size_t)rows->n);
    for (int32_t i = 0; i < 4 * rows->n; ++i) {
        REQUIRE(!(out[i] < 0) && !(out[i] > (i % 2 ? m->src_h : m->src_w)));
        REQUIRE(isnan(out[i]) == isnan(rows->boxes[i]));
    }
}

static void decode_rows(input *in, const em_rows *rows)
{
    size_t n = (size_t)rows->n;
    em_mapping m = pick_mapping(in);
    float min_score = (float)pick_real(in, 0, 1);
    em_rows_out out = {block(16 * n), block(4 * n), block(4 * n), NULL};
    out.embeddings = rows->embeddings == NULL ? NULL : block(4 * n * (size_t)rows->dim);
    int kept = em_decode(rows, &m, min_score, &out);
    REQUIRE(kept >= 0 && kept <= rows->n);
    check_decoded(&out, kept, rows->dim, &m, min_score);
    digest_floats(in, out.boxes, 4 * (size_t)kept);
    digest_floats(in, out.scores, (size_t)kept);
    there_and_back(in, rows, &m, out.boxes);
    free(out.boxes);
    free(out.scores);
    free(out.labels);
    free(out.embeddings);
}

static void overlaps(input *in, const em_rows *rows)
{
    int32_t n = rows->n < 20 ? rows->n : 20, m = rows->n - n < 20 ? rows->n - n : 20;
    float *a = block(16 * (size_t)n), *b = block(16 * (size_t)m);
    float *one = block(4 * (size_t)n * (size_t)m), *two = block(4 * (size_t)n * (size_t)m);
    for (int32_t i = 0; i < 4 * n; ++i) {
        a[i] = rows->boxes[i];
    }
    for (int32_t i = 0; i < 4 * m; ++i) {
        b[i] = rows->boxes[4 * n + i];
    }
    REQUIRE(em_iou(a, n, b, m, one) == EM_OK && em_iou(b, m, a, n, two) == EM_OK);
    digest_floats(in, one, (size_t)n * (size_t)m);
    for (int32_t i = 0; i < n; ++i) {
        for (int32_t j = 0; j < m; ++j) {
            REQUIRE(one[i * m + j] >= 0 && one[i * m + j] <= 1);
            REQUIRE(one[i * m + j] == two[j * n + i]);
        }
    }
    free(a);
    free(b);
    free(one);
    free(two);
}

static double overlap(const float *a, const float *b)
{
    double w = fmin(a[2], b[2]) - fmax(a[0], b[0]), h = fmin(a[3], b[3]) - fmax(a[1], b[1]);
    double both = fmax(w, 0) * fmax(h, 0);
    double all = ((double)a[2] - a[0]) * ((double)a[3] - a[1]) +
                 ((double)b[2] - b[0]) * ((double)b[3] - b[1]) - both;
    return both / all;
}

static int good(const em_rows *rows, int32_t i)
{
    const float *b = rows->boxes + 4 * (size_t)i;
    int finite = isfinite(b[0]) && isfinite(b[1]) && isfinite(b[2]) && isfinite(b[3]);
    return finite && isfinite(rows->scores[i]) && b[2] > b[0] && b[3] > b[1];
}

/* Float32 holds its overlaps with three digits. */
static int plain(const em_rows *rows, int32_t i)
{
    const float *b = rows->boxes + 4 * (size_t)i;
    return fabsf(b[0]) < 1e4f && fabsf(b[1]) < 1e4f && b[2] < 1e4f && b[3] < 1e4f &&
           b[2] - b[0] > 0.1f && b[3] - b[1] > 0.1f;
}

static int is_like(const em_rows *rows, const em_nms_options *o, int32_t a, int32_t b)
{
    return o->class_agnostic || rows->labels[a] == rows->labels[b];
}

static int comes_before(const em_rows *rows, int32_t a, int32_t b)
{
    return rows->scores[a] != rows->scores[b] ? rows->scores[a] > rows->scores[b] : a < b;
}

/* Who stays overlaps no better one that stays; who goes does, or came after the last place. */
static void check_kept(const em_rows *rows, const em_nms_options *o, const int32_t *keep, int kept)
{
    for (int k = 0; k < kept; ++k) {
        REQUIRE(keep[k] >= 0 && keep[k] < rows->n && good(rows, keep[k]));
        REQUIRE(k == 0 || comes_before(rows, keep[k - 1], keep[k]));
        for (int l = 0; l < k; ++l) {
            double both = overlap(rows->boxes + 4 * keep[k], rows->boxes + 4 * keep[l]);
            REQUIRE(!is_like(rows, o, keep[k], keep[l]) || !(both > o->iou + 1e-3) ||
                    !plain(rows, keep[k]) || !plain(rows, keep[l]));
        }
    }
    for (int32_t i = 0; i < rows->n && kept < o->max_out; ++i) {
        int explained = !good(rows, i) || !plain(rows, i);
        for (int k = 0; k < kept; ++k) {
            double both = overlap(rows->boxes + 4 * i, rows->boxes + 4 * keep[k]);
            explained |= keep[k] == i || (is_like(rows, o, i, keep[k]) && both > o->iou - 1e-3);
        }
        REQUIRE(explained);
    }
}

static void suppress(input *in, const em_rows *rows)
{
    em_nms_options o = {.iou = pick_real(in, 0, 1.1)};
    o.class_agnostic = pick(in, 0, 1);
    o.max_out = pick(in, 0, 70);
    int32_t *keep = block(4 * (size_t)rows->n);
    void *scratch = block(em_nms_scratch(rows->n));
    int kept = em_nms(rows, &o, keep, scratch);
    REQUIRE(kept >= 0 && kept <= rows->n && kept <= o.max_out);
    check_kept(rows, &o, keep, kept);
    for (int k = 0; k < kept; ++k) {
        uint8_t row = (uint8_t)keep[k];
        digest_bytes(in, &row, 1);
    }
    free(scratch);
    scratch = block(em_rank_scratch(rows->n));
    int ranked = em_rank(rows->scores, rows->n, keep, scratch);
    for (int k = 1; k < ranked; ++k) {
        REQUIRE(comes_before(rows, keep[k - 1], keep[k]));
    }
    free(keep);
    free(scratch);
}

/* Ordinary values from a seed, odd ones from the bytes of the case. */
static em_raw pick_raw(input *in)
{
    em_raw raw = {.kind = (em_raw_kind)pick(in, 0, 3)};
    raw.classes = pick(in, 1, 4);
    raw.net_h = 8 * pick(in, 0, 9);
    raw.net_w = 8 * pick(in, 0, 9);
    raw.anchors = one_in(in, 50) ? EM_MOST_CANDIDATES + pick(in, 0, 99) : pick(in, 0, 90);
    if (raw.kind == EM_YOLOX) {
        raw.anchors = em_yolox_anchors(raw.net_h, raw.net_w);
    }
    int32_t width = raw.kind == EM_N6 ? 6 : raw.kind == EM_YOLOV8 ? 4 + raw.classes : 5 + raw.classes;
    size_t n = (size_t)raw.anchors * (size_t)width;
    float *values = block(4 * n);
    uint64_t state = pick_seed(in);
    double most = raw.kind == EM_YOLOX ? 3.0 : 80.0;
    for (size_t i = 0; i < n; ++i) {
        double share = (double)(next_bits(&state) >> 11) / 9007199254740992.0;
        values[i] = (float)(next_bits(&state) % 2 ? share : share * most);
    }
    for (int32_t i = n > 0 ? pick(in, 0, 40) : 0; i > 0; --i) {
        int32_t at = pick(in, 0, (int32_t)n - 1);
        values[at] = pick_wild(in, -2, 100);
    }
    raw.values = values;
    return raw;
}

static void adopted(input *in)
{
    em_raw raw = pick_raw(in);
    em_mapping m = pick_mapping(in);
    em_nms_options o = {.iou = pick_real(in, 0, 1)};
    o.class_agnostic = pick(in, 0, 1);
    o.max_out = pick(in, 0, 300);
    float min_score = (float)pick_real(in, 0, 1);
    size_t most = (size_t)(raw.anchors < EM_MOST_CANDIDATES ? raw.anchors : EM_MOST_CANDIDATES);
    em_rows_out out = {block(16 * most), block(4 * most), block(4 * most), NULL};
    void *scratch = block(em_decode_raw_scratch(&raw));
    int found = em_decode_raw(&raw, min_score, &out, scratch);
    REQUIRE(found >= 0 && (size_t)found <= most);
    for (int i = 0; i < found; ++i) {
        REQUIRE(isfinite(out.scores[i]) && out.scores[i] >= min_score);
        REQUIRE(out.labels[i] >= 0 && out.labels[i] < raw.classes);
        REQUIRE(i == 0 || out.scores[i - 1] >= out.scores[i]);
    }
    digest_floats(in, out.scores, (size_t)found);
    free(scratch);
    scratch = block(em_detect_scratch(&raw));
    found = em_detect(&raw, &m, min_score, &o, &out, scratch);
    REQUIRE(found >= 0 && (size_t)found <= most && found <= o.max_out);
    check_decoded(&out, found, 0, &m, min_score);
    digest_floats(in, out.boxes, 4 * (size_t)found);
    free((void *)(uintptr_t)raw.values);
    free(out.boxes);
    free(out.scores);
    free(out.labels);
    free(scratch);
}

void fuzz_decode(input *in)
{
    if (one_in(in, 3)) {
        adopted(in);
        return;
    }
    int32_t n = one_in(in, 4) ? pick(in, 0, 2) : pick(in, 0, 60);
    em_rows rows = pick_rows(in, n, one_in(in, 3) ? -1 : pick(in, 0, 9));
    decode_rows(in, &rows);
    overlaps(in, &rows);
    suppress(in, &rows);
    drop_rows(&rows);
}
