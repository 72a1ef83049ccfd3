/* Letterbox of an NV12 picture: luma and chroma are resized on their own, each from its own
 * resolution, and become colours at the resolution of the network. */
#include "rows.h"

#include <string.h>

/* ITU-R BT.601 and BT.709, luma 16 to 235 and chroma 16 to 240; see em_matrix. */
static const em_matrix MATRICES[] = {
    [EM_BT601] = {19077, 26149, -6419, -13320, 16525},
    [EM_BT709] = {19077, 29372, -3494, -8731, 17305},
};

typedef struct {
    const uint8_t *data;
    ptrdiff_t row_stride;
    int32_t height, width; /* of values */
} plane_of;

/* Scratch, in this order. */
typedef struct {
    int32_t *luma_offset, *chroma_offset; /* [width] each */
    int16_t *luma_weight, *chroma_weight; /* [width] each */
    int16_t *luma;   /* [src_w + 1], the last pixel twice */
    int16_t *chroma; /* [src_w + 2], the last pixel twice */
    uint8_t *bytes;  /* [3][width] */
} parts;

static size_t lay_out(const em_geometry *g, uint8_t *base, parts *p)
{
    size_t width = (size_t)g->width, src_w = (size_t)g->src_w;
    size_t offsets = em_align16(width * sizeof(int32_t));
    size_t weights = em_align16(width * sizeof(int16_t));
    size_t luma = 2 * offsets + 2 * weights;
    size_t chroma = luma + em_align16((src_w + 1) * sizeof(int16_t));
    size_t bytes = chroma + em_align16((src_w + 2) * sizeof(int16_t));
    if (base != NULL) {
        p->luma_offset = (int32_t *)(void *)base;
        p->chroma_offset = (int32_t *)(void *)(base + offsets);
        p->luma_weight = (int16_t *)(void *)(base + 2 * offsets);
        p->chroma_weight = (int16_t *)(void *)(base + 2 * offsets + weights);
        p->luma = (int16_t *)(void *)(base + luma);
        p->chroma = (int16_t *)(void *)(base + chroma);
        p->bytes = base + bytes;
    }
    return bytes + em_align16(3 * width);
}

size_t em_letterbox_nv12_scratch(const em_geometry *g) { return lay_out(g, NULL, NULL); }

/* The row of a plane that lies under output row y, its last `values` values twice. */
static void blend_row(const em_row_kernels *kernels, const plane_of *plane, int32_t y,
                      double ratio, int32_t values, int16_t *row)
{
    int32_t top, weight = em_row_weight(y, ratio, plane->height, &top);
    const uint8_t *upper = plane->data + top * plane->row_stride;
    int32_t n = plane->width;
    kernels->blend(upper, weight == 0 ? upper : upper + plane->row_stride, weight, n, row);
    memcpy(row + n, row + n - values, (size_t)values * sizeof(int16_t));
}

int em_letterbox_nv12_at(em_level level, const em_nv12 *image, const em_geometry *g,
                         const em_pixel_format *f, void *out, void *scratch)
{
    const em_row_kernels *kernels = em_rows_of(level);
    if (kernels == NULL) {
        return EM_EARG;
    }
    parts p = {0};
    em_columns luma, chroma;
    double ratio = (double)g->src_w / g->width, down = (double)g->src_h / g->height;
    const plane_of y_plane = {image->y, image->y_stride, g->src_h, g->src_w};
    const plane_of uv_plane = {image->uv, image->uv_stride, g->src_h / 2, g->src_w};
    lay_out(g, scratch, &p);
    em_fill_columns(g->width, ratio, g->src_w, 1, p.luma_offset, p.luma_weight, &luma);
    em_fill_columns(g->width, ratio / 2, g->src_w / 2, 2, p.chroma_offset, p.chroma_weight,
                    &chroma);
    em_planes planes = {.geometry = g, .format = f, .out = out, .bytes = p.bytes};
    em_planes_start(&planes);
    for (int32_t y = 0; y < g->height; ++y) {
        em_bytes to = em_planes_row(&planes, y);
        blend_row(kernels, &y_plane, y, down, 1, p.luma);
        blend_row(kernels, &uv_plane, y, down / 2, 2, p.chroma);
        kernels->convert(p.luma, &luma, p.chroma, &chroma, &MATRICES[image->matrix], &to);
        em_planes_convert(&planes, y, kernels);
    }
    return EM_OK;
}

int em_letterbox_nv12(const em_nv12 *image, const em_geometry *g, const em_pixel_format *f,
                      void *out, void *scratch)
{
    return em_letterbox_nv12_at(EM_FASTEST, image, g, f, out, scratch);
}
