/* Letterbox: vertical pass first, on whole source rows in 16 bits, then the horizontal pass. */
#include "edgemtl.h"

#include <math.h>
#include <string.h>

/* Between the passes a level has 7 fractional bits: 255 << 7 still fits int16. */
#define ROW_BITS 7
/* Horizontal weights have 14 bits, so that a product with a row value fits int32. */
#define X_BITS 14
#define Y_BITS 15

static int32_t at_most(int32_t value, int32_t limit) { return value < limit ? value : limit; }

int em_letterbox_geometry(int32_t src_h, int32_t src_w, int32_t net_h, int32_t net_w,
                          em_align align, em_geometry *g)
{
    if (src_h < 1 || src_w < 1 || net_h < 1 || net_w < 1) {
        return EM_EARG;
    }
    double scale = fmin((double)net_w / src_w, (double)net_h / src_h);
    int32_t width = at_most((int32_t)floor(src_w * scale + 0.5), net_w);
    int32_t height = at_most((int32_t)floor(src_h * scale + 0.5), net_h);
    *g = (em_geometry){.src_h = src_h, .src_w = src_w, .net_h = net_h, .net_w = net_w};
    g->width = width < 1 ? 1 : width;
    g->height = height < 1 ? 1 : height;
    if (align == EM_CENTER) {
        g->left = (net_w - g->width) / 2;
        g->top = (net_h - g->height) / 2;
    }
    return EM_OK;
}

/* Scratch, in this order: column offsets, column weights, a blended source row, a row of bytes. */
typedef struct {
    int32_t *offset; /* [width] index of the left neighbour's first value in a row */
    int16_t *weight; /* [width] of the right neighbour */
    int16_t *row;    /* [3 * (src_w + 1)], the last pixel twice */
    uint8_t *bytes;  /* [3][width] */
} tables;

static size_t align16(size_t bytes) { return (bytes + 15u) & ~(size_t)15u; }

static size_t lay_out(const em_geometry *g, uint8_t *base, tables *t)
{
    size_t width = (size_t)g->width, at = 0;
    size_t offset = at;
    at += align16(width * sizeof(int32_t));
    size_t weight = at;
    at += align16(width * sizeof(int16_t));
    size_t row = at;
    at += align16(3 * ((size_t)g->src_w + 1) * sizeof(int16_t));
    size_t bytes = at;
    at += align16(3 * width);
    if (base != NULL) {
        t->offset = (int32_t *)(void *)(base + offset);
        t->weight = (int16_t *)(void *)(base + weight);
        t->row = (int16_t *)(void *)(base + row);
        t->bytes = base + bytes;
    }
    return at;
}

size_t em_letterbox_scratch(const em_geometry *g) { return lay_out(g, NULL, NULL); }

/* The left (or upper) neighbour of output i and the fraction of the way to the next one. */
static int32_t source_of(int32_t i, int32_t out_size, int32_t src_size, double *fraction)
{
    double at = (i + 0.5) * ((double)src_size / out_size) - 0.5;
    double left = floor(at);
    *fraction = at - left;
    if (left < 0) {
        *fraction = 0;
        return 0;
    }
    if (left >= src_size - 1) {
        *fraction = 0;
        return src_size - 1;
    }
    return (int32_t)left;
}

static void fill_columns(const em_geometry *g, const tables *t)
{
    for (int32_t x = 0; x < g->width; ++x) {
        double fraction;
        t->offset[x] = 3 * source_of(x, g->width, g->src_w, &fraction);
        t->weight[x] = (int16_t)floor(fraction * (1 << X_BITS) + 0.5);
    }
}

static void blend_rows(const uint8_t *restrict upper, const uint8_t *restrict lower,
                       int32_t weight, int32_t n, int16_t *restrict out)
{
    if (weight == 0) {
        for (int32_t i = 0; i < n; ++i) {
            out[i] = (int16_t)(upper[i] << ROW_BITS);
        }
        return;
    }
    for (int32_t i = 0; i < n; ++i) {
        int16_t step = (int16_t)((lower[i] - upper[i]) * (1 << ROW_BITS));
        int16_t part = (int16_t)((step * weight + (1 << (Y_BITS - 1))) >> Y_BITS);
        out[i] = (int16_t)((upper[i] << ROW_BITS) + part);
    }
}

static void resize_row(const tables *t, int32_t width, uint8_t *restrict p0,
                       uint8_t *restrict p1, uint8_t *restrict p2)
{
    const int32_t half = 1 << (X_BITS + ROW_BITS - 1);
    for (int32_t x = 0; x < width; ++x) {
        const int16_t *at = t->row + t->offset[x];
        int32_t right = t->weight[x], left = (1 << X_BITS) - right;
        p0[x] = (uint8_t)((at[0] * left + at[3] * right + half) >> (X_BITS + ROW_BITS));
        p1[x] = (uint8_t)((at[1] * left + at[4] * right + half) >> (X_BITS + ROW_BITS));
        p2[x] = (uint8_t)((at[2] * left + at[5] * right + half) >> (X_BITS + ROW_BITS));
    }
}

/* What each level becomes in the 8-bit types, as the byte to store. */
static void fill_levels(const em_pixel_format *f, uint8_t levels[256])
{
    float low = f->dtype == EM_INT8 ? -128.0f : 0.0f;
    for (int p = 0; p < 256; ++p) {
        float value = nearbyintf((float)p * f->scale + f->offset);
        value = value < low ? low : value;
        value = value > low + 255.0f ? low + 255.0f : value;
        levels[p] = (uint8_t)(int32_t)value;
    }
}

static int levels_are_shift(const uint8_t levels[256])
{
    for (int p = 1; p < 256; ++p) {
        if (levels[p] != (uint8_t)(levels[0] + p)) {
            return 0;
        }
    }
    return 1;
}

static void store_bytes(const uint8_t *restrict in, int32_t n, const uint8_t levels[256],
                        int shift_only, uint8_t *restrict out)
{
    if (shift_only) {
        uint8_t shift = levels[0];
        for (int32_t i = 0; i < n; ++i) {
            out[i] = (uint8_t)(in[i] + shift);
        }
        return;
    }
    for (int32_t i = 0; i < n; ++i) {
        out[i] = levels[in[i]];
    }
}

static void store_floats(const uint8_t *restrict in, int32_t n, const em_pixel_format *f,
                         float *restrict out)
{
    float scale = f->scale, offset = f->offset;
    for (int32_t i = 0; i < n; ++i) {
        out[i] = (float)in[i] * scale + offset;
    }
}

static void fill_span(const em_pixel_format *f, uint8_t byte, void *out, size_t at, size_t n)
{
    if (f->dtype != EM_FLOAT32) {
        memset((uint8_t *)out + at, byte, n);
        return;
    }
    float value = (float)f->pad * f->scale + f->offset;
    float *to = (float *)out + at;
    for (size_t i = 0; i < n; ++i) {
        to[i] = value;
    }
}

static void fill_border(const em_geometry *g, const em_pixel_format *f, uint8_t byte, void *out)
{
    size_t net_w = (size_t)g->net_w, plane = net_w * (size_t)g->net_h;
    size_t left = (size_t)g->left, right = net_w - left - (size_t)g->width;
    for (size_t c = 0; c < 3; ++c) {
        size_t row = c * plane;
        fill_span(f, byte, out, row, net_w * (size_t)g->top);
        row += net_w * (size_t)g->top;
        for (int32_t y = 0; y < g->height; ++y, row += net_w) {
            fill_span(f, byte, out, row, left);
            fill_span(f, byte, out, row + net_w - right, right);
        }
        fill_span(f, byte, out, row, (c + 1) * plane - row);
    }
}

int em_letterbox(const em_image *image, const em_geometry *g, const em_pixel_format *f,
                 void *out, void *scratch)
{
    tables t = {0};
    uint8_t levels[256];
    lay_out(g, scratch, &t);
    fill_columns(g, &t);
    fill_levels(f, levels);
    fill_border(g, f, levels[f->pad], out);
    int shift_only = levels_are_shift(levels);
    int32_t n = 3 * g->src_w;
    size_t width = (size_t)g->width, plane = (size_t)g->net_w * (size_t)g->net_h;
    for (int32_t y = 0; y < g->height; ++y) {
        double fraction;
        int32_t top = source_of(y, g->height, g->src_h, &fraction);
        const uint8_t *upper = image->data + top * image->row_stride;
        const uint8_t *lower = top + 1 < g->src_h ? upper + image->row_stride : upper;
        int32_t weight = at_most((int32_t)floor(fraction * (1 << Y_BITS) + 0.5), INT16_MAX);
        blend_rows(upper, lower, weight, n, t.row);
        memcpy(t.row + n, t.row + n - 3, 3 * sizeof(int16_t));
        resize_row(&t, g->width, t.bytes, t.bytes + width, t.bytes + 2 * width);
        size_t at = (size_t)(g->top + y) * (size_t)g->net_w + (size_t)g->left;
        for (size_t c = 0; c < 3; ++c) {
            size_t to = (f->swap_rb ? 2 - c : c) * plane + at;
            if (f->dtype == EM_FLOAT32) {
                store_floats(t.bytes + c * width, g->width, f, (float *)out + to);
            } else {
                store_bytes(t.bytes + c * width, g->width, levels, shift_only,
                            (uint8_t *)out + to);
            }
        }
    }
    return EM_OK;
}
