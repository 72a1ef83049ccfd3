/* The network input as planes of one type: levels, border, and the rows in between. */
#include "rows.h"

#include <math.h>
#include <string.h>

int32_t em_source_of(int32_t i, double ratio, int32_t src_size, double *fraction)
{
    double at = (i + 0.5) * ratio - 0.5;
    *fraction = 0;
    if (at <= 0) {
        return 0;
    }
    if (at >= src_size - 1) {
        return src_size - 1;
    }
    int32_t left = (int32_t)at;
    *fraction = at - left;
    return left;
}

int32_t em_row_weight(int32_t y, double ratio, int32_t src_h, int32_t *top)
{
    double fraction;
    *top = em_source_of(y, ratio, src_h, &fraction);
    int32_t weight = (int32_t)(fraction * (1 << EM_Y_BITS) + 0.5);
    return weight < INT16_MAX ? weight : INT16_MAX;
}

void em_fill_columns(int32_t width, double ratio, int32_t src_w, int32_t values, int32_t *offset,
                     int16_t *weight, em_columns *columns)
{
    int none = 1, half = 1;
    for (int32_t x = 0; x < width; ++x) {
        double fraction;
        offset[x] = values * em_source_of(x, ratio, src_w, &fraction);
        weight[x] = (int16_t)(fraction * (1 << EM_X_BITS) + 0.5);
        none &= weight[x] == 0;
        half &= weight[x] == 1 << (EM_X_BITS - 1);
    }
    em_weights all = none && width <= src_w       ? EM_NONE
                     : half && 2 * width <= src_w ? EM_HALF
                                                  : EM_ANY;
    *columns = (em_columns){offset, weight, width, all};
}

/* As the byte to store. */
static void fill_levels(em_planes *planes)
{
    const em_pixel_format *f = planes->format;
    float low = f->dtype == EM_INT8 ? -128.0f : 0.0f;
    planes->shift_only = 1;
    for (int p = 0; p < 256; ++p) {
        float value = nearbyintf((float)p * f->scale + f->offset);
        value = value < low ? low : value;
        value = value > low + 255.0f ? low + 255.0f : value;
        planes->levels[p] = (uint8_t)(int32_t)value;
        planes->shift_only &= planes->levels[p] == (uint8_t)(planes->levels[0] + p);
    }
}

static void fill_span(const em_planes *planes, size_t at, size_t n)
{
    const em_pixel_format *f = planes->format;
    if (f->dtype != EM_FLOAT32) {
        memset((uint8_t *)planes->out + at, planes->levels[f->pad], n);
        return;
    }
    float value = (float)f->pad * f->scale + f->offset;
    float *to = (float *)planes->out + at;
    for (size_t i = 0; i < n; ++i) {
        to[i] = value;
    }
}

void em_planes_start(em_planes *planes)
{
    const em_geometry *g = planes->geometry;
    size_t net_w = (size_t)g->net_w, plane = net_w * (size_t)g->net_h;
    size_t left = (size_t)g->left, right = net_w - left - (size_t)g->width;
    fill_levels(planes);
    for (size_t c = 0; c < 3; ++c) {
        size_t row = c * plane;
        fill_span(planes, row, net_w * (size_t)g->top);
        row += net_w * (size_t)g->top;
        for (int32_t y = 0; y < g->height && left + right > 0; ++y) {
            fill_span(planes, row + (size_t)y * net_w, left);
            fill_span(planes, row + (size_t)(y + 1) * net_w - right, right);
        }
        row += net_w * (size_t)g->height;
        fill_span(planes, row, (c + 1) * plane - row);
    }
}

/* The first element of row y of the resized picture in the plane of colour c (B, G, R). */
static size_t row_start(const em_planes *planes, int32_t y, size_t c)
{
    const em_geometry *g = planes->geometry;
    size_t plane = (size_t)g->net_w * (size_t)g->net_h;
    size_t row = (size_t)(g->top + y) * (size_t)g->net_w + (size_t)g->left;
    return (planes->format->swap_rb ? 2 - c : c) * plane + row;
}

static int stored_at_once(const em_planes *planes)
{
    return planes->format->dtype != EM_FLOAT32 && planes->shift_only;
}

em_bytes em_planes_row(const em_planes *planes, int32_t y)
{
    em_bytes to = {.shift = 0};
    for (size_t c = 0; c < 3; ++c) {
        to.plane[c] = stored_at_once(planes)
                          ? (uint8_t *)planes->out + row_start(planes, y, c)
                          : planes->bytes + c * (size_t)planes->geometry->width;
    }
    to.shift = stored_at_once(planes) ? planes->levels[0] : 0;
    return to;
}

void em_planes_convert(const em_planes *planes, int32_t y, const em_row_kernels *kernels)
{
    const em_pixel_format *f = planes->format;
    int32_t width = planes->geometry->width;
    for (size_t c = 0; c < 3 && !stored_at_once(planes); ++c) {
        const uint8_t *in = planes->bytes + c * (size_t)width;
        size_t at = row_start(planes, y, c);
        if (f->dtype == EM_FLOAT32) {
            kernels->floats(in, width, f->scale, f->offset, (float *)planes->out + at);
            continue;
        }
        uint8_t *restrict out = (uint8_t *)planes->out + at;
        for (int32_t x = 0; x < width; ++x) {
            out[x] = planes->levels[in[x]];
        }
    }
}
