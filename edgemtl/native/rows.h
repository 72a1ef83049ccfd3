/* One row of a picture on its way into the network: the inner loops of preprocess.c and nv12.c,
 * portable (rows.c) and for the vector instructions of some processors (rows_avx2.c, ...). Every
 * twin gives the same bits. Not part of the interface: edgemtl.h is.
 */
#ifndef EDGEMTL_ROWS_H
#define EDGEMTL_ROWS_H

#include "edgemtl.h"

/* A blended row holds level << EM_ROW_BITS plus half a level, so that what rounds to whole levels
 * later only has to cut off: 255 << 7 | 64 still fits int16. */
#define EM_ROW_BITS 7
#define EM_ROW_HALF (1 << (EM_ROW_BITS - 1))
/* Horizontal weights have 14 bits, so that a product with a row value fits int32. */
#define EM_X_BITS 14
#define EM_Y_BITS 15
/* Values behind a row's last that a kernel may load, and never uses. */
#define EM_ROW_SLACK 8

/* What all weights of a row are: any, none (each pixel is one of the source), or one half, the
 * pixels then lying at least two apart, which is what an even ratio gives. */
typedef enum { EM_ANY = 0, EM_NONE = 1, EM_HALF = 2 } em_weights;

/* Where the pixels of an output row come from. */
typedef struct {
    const int32_t *offset; /* [width] index of the left neighbour's first value in a row */
    const int16_t *weight; /* [width] of the right neighbour, 0 to 1 << EM_X_BITS */
    int32_t width;
    em_weights weights;
} em_columns;

/* Where a row of bytes goes: three planes, in the order B, G, R; shift is added to each byte. */
typedef struct {
    uint8_t *plane[3];
    uint8_t shift;
} em_bytes;

/* Y'CbCr of limited range to RGB in 16 bits: level = luma * (Y - 16) + ..., factors << 14, the
 * blue one halved because it is above 2. */
typedef struct {
    int16_t luma, red_v, green_u, green_v, half_blue_u;
} em_matrix;

typedef struct {
    /* n values of two rows into one, weight (of lower) 0 to INT16_MAX. */
    void (*blend)(const uint8_t *upper, const uint8_t *lower, int32_t weight, int32_t n,
                  int16_t *out);
    /* A blended BGR row into planes. */
    void (*resize)(const int16_t *row, const em_columns *columns, const em_bytes *to);
    /* The same straight from bytes [src_w][3], where no weights are. */
    void (*pick)(const uint8_t *row, const em_columns *columns, const em_bytes *to);
    /* The same from two rows, where all weights are one half: means of 2 x 2 pixels. */
    void (*mean)(const uint8_t *upper, const uint8_t *lower, const em_columns *columns,
                 const em_bytes *to);
    /* Blended luma and chroma rows into planes; both columns have the same width. */
    void (*convert)(const int16_t *luma, const em_columns *luma_columns, const int16_t *chroma,
                    const em_columns *chroma_columns, const em_matrix *matrix,
                    const em_bytes *to);
    void (*floats)(const uint8_t *in, int32_t n, float scale, float offset, float *out);
} em_row_kernels;

extern const em_row_kernels em_rows_portable;

/* The columns of one row of network pixels: width neighbours among src_w pixels of `values` values,
 * ratio source pixels apart. */
void em_fill_columns(int32_t width, double ratio, int32_t src_w, int32_t values,
                     int32_t *offset, int16_t *weight, em_columns *columns);

/* The upper (or left) neighbour of output i, and the fraction of the way to the next one. */
int32_t em_source_of(int32_t i, double ratio, int32_t src_size, double *fraction);

/* The same for rows: the weight of the row below `top`, 0 to INT16_MAX. */
int32_t em_row_weight(int32_t y, double ratio, int32_t src_h, int32_t *top);

/* Bytes of a part of scratch, so that the next part is aligned too. */
static inline size_t em_align16(size_t bytes) { return (bytes + 15u) & ~(size_t)15u; }

/* The network input while rows are written into it. */
typedef struct {
    const em_geometry *geometry;
    const em_pixel_format *format;
    void *out;
    uint8_t *bytes; /* [3][width], where a row waits for its conversion */
    uint8_t levels[256]; /* what each level becomes in the 8-bit types */
    int32_t shift_only; /* 1: levels[p] = p + levels[0] */
} em_planes;

/* Fill the levels and write the border. */
void em_planes_start(em_planes *planes);
/* Where kernels put row y of the resized picture; em_planes_convert does what then remains. */
em_bytes em_planes_row(const em_planes *planes, int32_t y);
void em_planes_convert(const em_planes *planes, int32_t y, const em_row_kernels *kernels);

/* Kernels of a level, the fastest for EM_FASTEST; NULL where this processor has none of it. */
const em_row_kernels *em_rows_of(em_level level);

/* The rest of a row from pixel x on, for twins whose vectors do not come out even. */
void em_resize_from(int32_t x, const int16_t *row, const em_columns *columns,
                    const em_bytes *to);
void em_pick_from(int32_t x, const uint8_t *row, const em_columns *columns, const em_bytes *to);
void em_mean_from(int32_t x, const uint8_t *upper, const uint8_t *lower,
                  const em_columns *columns, const em_bytes *to);
void em_convert_from(int32_t x, const int16_t *luma, const em_columns *luma_columns,
                     const int16_t *chroma, const em_columns *chroma_columns,
                     const em_matrix *matrix, const em_bytes *to);

/* em_row_kernels.floats: compilers make NEON of it as it is. */
void em_floats(const uint8_t *in, int32_t n, float scale, float offset, float *out);

#if defined(__GNUC__) && defined(__x86_64__)
#define EM_HAS_AVX2 1
extern const em_row_kernels em_rows_avx2;
#endif
#if defined(__GNUC__) && defined(__aarch64__)
#define EM_HAS_NEON 1
extern const em_row_kernels em_rows_neon;
#endif

#endif
