/* Letterbox of a BGR picture: vertical pass first, on whole source rows in 16 bits, then the
 * horizontal pass. */
#include "rows.h"

#include <math.h>
#include <string.h>

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
    int32_t *offset; /* [width] */
    int16_t *weight; /* [width] */
    int16_t *row;    /* [3 * (src_w + 1) + EM_ROW_SLACK], the last pixel twice */
    uint8_t *bytes;  /* [3][width] */
} parts;

static size_t lay_out(const em_geometry *g, uint8_t *base, parts *p)
{
    size_t width = (size_t)g->width;
    size_t weight = em_align16(width * sizeof(int32_t));
    size_t row = weight + em_align16(width * sizeof(int16_t));
    size_t values = 3 * ((size_t)g->src_w + 1) + EM_ROW_SLACK;
    size_t bytes = row + em_align16(values * sizeof(int16_t));
    if (base != NULL) {
        p->offset = (int32_t *)(void *)base;
        p->weight = (int16_t *)(void *)(base + weight);
        p->row = (int16_t *)(void *)(base + row);
        p->bytes = base + bytes;
    }
    return bytes + em_align16(3 * width);
}

size_t em_letterbox_scratch(const em_geometry *g) { return lay_out(g, NULL, NULL); }

int em_letterbox_at(em_level level, const em_image *image, const em_geometry *g,
                    const em_pixel_format *f, void *out, void *scratch)
{
    const em_row_kernels *kernels = em_rows_of(level);
    if (kernels == NULL) {
        return EM_EARG;
    }
    parts p = {0};
    em_columns columns;
    lay_out(g, scratch, &p);
    em_fill_columns(g->width, (double)g->src_w / g->width, g->src_w, 3, p.offset, p.weight,
                    &columns);
    em_planes planes = {.geometry = g, .format = f, .out = out, .bytes = p.bytes};
    em_planes_start(&planes);
    int32_t n = 3 * g->src_w;
    double ratio = (double)g->src_h / g->height;
    for (int32_t y = 0; y < g->height; ++y) {
        int32_t top, weight = em_row_weight(y, ratio, g->src_h, &top);
        const uint8_t *upper = image->data + top * image->row_stride;
        em_bytes to = em_planes_row(&planes, y);
        const uint8_t *lower = weight == 0 ? upper : upper + image->row_stride;
        if (weight == 0 && columns.weights == EM_NONE) {
            kernels->pick(upper, &columns, &to);
        } else if (weight == 1 << (EM_Y_BITS - 1) && columns.weights == EM_HALF) {
            kernels->mean(upper, lower, &columns, &to);
        } else {
            kernels->blend(upper, lower, weight, n, p.row);
            memcpy(p.row + n, p.row + n - 3, 3 * sizeof(int16_t));
            kernels->resize(p.row, &columns, &to);
        }
        em_planes_convert(&planes, y, kernels);
    }
    return EM_OK;
}

int em_letterbox(const em_image *image, const em_geometry *g, const em_pixel_format *f,
                 void *out, void *scratch)
{
    return em_letterbox_at(EM_FASTEST, image, g, f, out, scratch);
}
