/* Pictures of any size, stride and direction, against the plain bilinear formula; those of video
 * decoders (NV12) against the portable path. */
#include "input.h"

#include <math.h>
#include <string.h>

static int32_t pick_side(input *in)
{
    return one_in(in, 3) ? pick(in, 1, 3) : pick(in, 1, one_in(in, 6) ? 200 : 70);
}

/* Level of the plain bilinear formula at (y, x), inside the resized picture. */
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
                REQUIRE(fabs(got - want) <= (inside ? 0.52 : 0.001));
            }
        }
    }
}

/* Rows whose last ends with its buffer (and whose first starts it, if upside down). */
static uint8_t *pick_plane(input *in, int32_t height, ptrdiff_t row, const uint8_t **first,
                           ptrdiff_t *row_stride)
{
    ptrdiff_t stride = row + pick(in, 0, 5);
    size_t bytes = (size_t)(stride * (height - 1) + row);
    uint8_t *memory = block(bytes);
    int32_t kind = pick(in, 0, 3);
    int32_t upside_down = pick(in, 0, 1);
    uint64_t state = pick_seed(in);
    for (size_t i = 0; i < bytes; ++i) {
        uint8_t value = (uint8_t)next_bits(&state);
        memory[i] = kind == 0 ? (uint8_t)(255 * (value & 1)) : kind == 1 ? (uint8_t)i : value;
    }
    *first = upside_down ? memory + stride * (height - 1) : memory;
    *row_stride = upside_down ? -stride : stride;
    return memory;
}

static void check_place(const em_geometry *g)
{
    REQUIRE(g->height >= 1 && g->width >= 1 && g->top >= 0 && g->left >= 0);
    REQUIRE(g->top + g->height <= g->net_h && g->left + g->width <= g->net_w);
    REQUIRE(g->height == g->net_h || g->width == g->net_w);
}

static void digest_picture(input *in, const em_pixel_format *f, const void *out, size_t cells)
{
    if (f->dtype == EM_FLOAT32) {
        digest_floats(in, out, cells);
    } else {
        digest_bytes(in, out, cells);
    }
}

static em_pixel_format pick_format(input *in)
{
    em_pixel_format f = {.dtype = (em_dtype)pick(in, 0, 2)};
    f.swap_rb = pick(in, 0, 1);
    f.scale = f.dtype == EM_FLOAT32 ? 1.0f / 128.0f : 1.0f;
    f.offset = f.dtype == EM_FLOAT32 ? -1.0f : f.dtype == EM_INT8 ? -128.0f : 0.0f;
    f.pad = (uint8_t)pick(in, 0, 255);
    return f;
}

static void bgr(input *in)
{
    em_geometry g;
    em_image image = {.height = pick_side(in)};
    image.width = pick_side(in);
    int32_t net_h = pick_side(in);
    int32_t net_w = pick_side(in);
    em_pixel_format f = pick_format(in);
    REQUIRE(em_letterbox_geometry(image.height, image.width, net_h, net_w,
                                  (em_align)pick(in, 0, 1), &g) == EM_OK);
    check_place(&g);
    em_level level = pick(in, 0, 1) ? EM_PORTABLE : EM_FASTEST;
    uint8_t *memory = pick_plane(in, image.height, 3 * image.width, &image.data,
                                 &image.row_stride);
    size_t cells = 3 * (size_t)g.net_h * (size_t)g.net_w;
    void *out = block(cells * (f.dtype == EM_FLOAT32 ? 4 : 1));
    void *scratch = block(em_letterbox_scratch(&g));
    REQUIRE(em_letterbox_at(level, &image, &g, &f, out, scratch) == EM_OK);
    check_levels(&image, &g, &f, out);
    digest_picture(in, &f, out, cells);
    f.scale = (float)pick_real(in, -9, 9);
    f.offset = pick_wild(in, -500, 500);
    f.offset = isfinite(f.offset) ? f.offset : 3e38f;
    REQUIRE(em_letterbox(&image, &g, &f, out, scratch) == EM_OK);
    digest_picture(in, &f, out, cells);
    free(memory);
    free(out);
    free(scratch);
    REQUIRE(em_letterbox_geometry(pick(in, -9, 0), net_h, 1, 1, EM_CENTER, &g) == EM_EARG);
}

static void nv12(input *in)
{
    em_geometry g;
    em_nv12 image = {.matrix = (em_matrix_kind)pick(in, 0, 1)};
    int32_t height = 2 * ((pick_side(in) + 1) / 2);
    int32_t width = 2 * ((pick_side(in) + 1) / 2);
    int32_t net_h = pick_side(in);
    int32_t net_w = pick_side(in);
    em_pixel_format f = pick_format(in);
    REQUIRE(em_letterbox_geometry(height, width, net_h, net_w, (em_align)pick(in, 0, 1), &g) ==
            EM_OK);
    uint8_t *y = pick_plane(in, height, width, &image.y, &image.y_stride);
    uint8_t *uv = pick_plane(in, height / 2, width, &image.uv, &image.uv_stride);
    size_t cells = 3 * (size_t)g.net_h * (size_t)g.net_w;
    size_t bytes = cells * (f.dtype == EM_FLOAT32 ? 4 : 1);
    void *truth = block(bytes), *out = block(bytes);
    void *scratch = block(em_letterbox_nv12_scratch(&g));
    REQUIRE(em_letterbox_nv12_at(EM_PORTABLE, &image, &g, &f, truth, scratch) == EM_OK);
    REQUIRE(em_letterbox_nv12(&image, &g, &f, out, scratch) == EM_OK);
    REQUIRE(memcmp(truth, out, bytes) == 0);
    digest_picture(in, &f, out, cells);
    free(y);
    free(uv);
    free(truth);
    free(out);
    free(scratch);
}

void fuzz_letterbox(input *in)
{
    if (one_in(in, 3)) {
        nv12(in);
    } else {
        bgr(in);
    }
}
