/* Boxes: mapping between source and network pixels, decoding of network outputs, IoU. */
#include "edgemtl.h"

#include <math.h>
#include <string.h>

int em_boxes_to_net(const float *boxes, int32_t n, const em_mapping *m, float *out)
{
    for (size_t i = 0; i < 4 * (size_t)n; i += 2) {
        out[i] = boxes[i] * m->scale_x + m->pad_x;
        out[i + 1] = boxes[i + 1] * m->scale_y + m->pad_y;
    }
    return EM_OK;
}

/* Comparisons with NaN are false, so NaN passes through. */
static float clip(float value, float limit)
{
    value = value < 0.0f ? 0.0f : value;
    return value > limit ? limit : value;
}

int em_boxes_to_src(const float *boxes, int32_t n, const em_mapping *m, float *out)
{
    for (size_t i = 0; i < 4 * (size_t)n; i += 2) {
        out[i] = clip((boxes[i] - m->pad_x) / m->scale_x, m->src_w);
        out[i + 1] = clip((boxes[i + 1] - m->pad_y) / m->scale_y, m->src_h);
    }
    return EM_OK;
}

static int all_finite(const float *values, int32_t n)
{
    for (int32_t i = 0; i < n; ++i) {
        if (!isfinite(values[i])) {
            return 0;
        }
    }
    return 1;
}

int em_decode(const em_rows *rows, const em_mapping *m, float min_score, const em_rows_out *out)
{
    int32_t kept = 0;
    size_t dim = (size_t)rows->dim;
    for (int32_t i = 0; i < rows->n; ++i) {
        float score = rows->scores[i];
        const float *box = rows->boxes + 4 * (size_t)i;
        if (!isfinite(score) || score < min_score || !all_finite(box, 4)) {
            continue;
        }
        float *to = out->boxes + 4 * (size_t)kept;
        em_boxes_to_src(box, 1, m, to);
        if (!(to[2] > to[0] && to[3] > to[1])) {
            continue;
        }
        out->scores[kept] = score;
        out->labels[kept] = rows->labels[i];
        if (rows->embeddings != NULL) {
            const float *from = rows->embeddings + dim * (size_t)i;
            float *embedding = out->embeddings + dim * (size_t)kept;
            if (all_finite(from, rows->dim)) {
                memcpy(embedding, from, dim * sizeof(float));
            } else {
                memset(embedding, 0, dim * sizeof(float));
            }
        }
        ++kept;
    }
    return kept;
}

static float box_iou(const float *a, const float *b)
{
    /* In double: the area of any finite float box is finite, and thin boxes keep their digits. */
    double w = (double)fminf(a[2], b[2]) - fmaxf(a[0], b[0]);
    double h = (double)fminf(a[3], b[3]) - fmaxf(a[1], b[1]);
    double wide_a = (double)a[2] - a[0], high_a = (double)a[3] - a[1];
    double wide_b = (double)b[2] - b[0], high_b = (double)b[3] - b[1];
    if (!(w > 0.0 && h > 0.0 && wide_a > 0.0 && high_a > 0.0 && wide_b > 0.0 && high_b > 0.0)) {
        return 0.0f;
    }
    double inter = w * h, all = wide_a * high_a + wide_b * high_b - inter;
    return isfinite(all) ? (float)(inter / all) : 0.0f;
}

int em_iou(const float *a, int32_t n, const float *b, int32_t m, float *out)
{
    for (int32_t i = 0; i < n; ++i) {
        for (int32_t j = 0; j < m; ++j) {
            *out++ = box_iou(a + 4 * (size_t)i, b + 4 * (size_t)j);
        }
    }
    return EM_OK;
}
