/* The inner loops of pre-processing with NEON, which every aarch64 has. */
#include "rows.h"

#ifdef EM_HAS_NEON

#include <arm_neon.h>

/* level << 7 | 64 in 16 bits */
static inline int16x8_t widen(uint8x8_t bytes)
{
    return vreinterpretq_s16_u16(
        vorrq_u16(vshll_n_u8(bytes, EM_ROW_BITS), vdupq_n_u16(EM_ROW_HALF)));
}

static inline void blend_8(uint8x8_t upper, uint8x8_t lower, int16_t weight, int16_t *out)
{
    int16x8_t u = widen(upper);
    /* vqrdmulh is (2 * a * b + (1 << 15)) >> 16 */
    vst1q_s16(out, vaddq_s16(u, vqrdmulhq_n_s16(vsubq_s16(widen(lower), u), weight)));
}

static inline void blend_16(const uint8_t *upper, const uint8_t *lower, int16_t weight,
                            int16_t *out)
{
    uint8x16_t u = vld1q_u8(upper), l = vld1q_u8(lower);
    blend_8(vget_low_u8(u), vget_low_u8(l), weight, out);
    blend_8(vget_high_u8(u), vget_high_u8(l), weight, out + 8);
}

static void blend(const uint8_t *upper, const uint8_t *lower, int32_t weight, int32_t n,
                  int16_t *out)
{
    if (n < 16) {
        em_rows_portable.blend(upper, lower, weight, n, out);
        return;
    }
    for (int32_t i = 0; i < n - 16; i += 16) {
        blend_16(upper + i, lower + i, (int16_t)weight, out + i);
    }
    blend_16(upper + n - 16, lower + n - 16, (int16_t)weight, out + n - 16);
}

/* 16 pixels of 4 bytes (b, g, r, any) into planes. */
static inline void store_planes(const em_bytes *to, int32_t x, const uint8x16_t four[4])
{
    uint8x16_t shift = vdupq_n_u8(to->shift);
    uint8x16_t even = vuzp1q_u8(four[0], four[1]), even2 = vuzp1q_u8(four[2], four[3]);
    uint8x16_t odd = vuzp2q_u8(four[0], four[1]), odd2 = vuzp2q_u8(four[2], four[3]);
    vst1q_u8(to->plane[0] + x, vaddq_u8(vuzp1q_u8(even, even2), shift));
    vst1q_u8(to->plane[1] + x, vaddq_u8(vuzp1q_u8(odd, odd2), shift));
    vst1q_u8(to->plane[2] + x, vaddq_u8(vuzp2q_u8(even, even2), shift));
}

/* One pixel as level << 5. */
static inline int16x4_t one_pixel(const int16_t *at, int16_t weight)
{
    int32x4_t sum = vmull_n_s16(vld1_s16(at), (int16_t)((1 << EM_X_BITS) - weight));
    return vshrn_n_s32(vmlal_n_s16(sum, vld1_s16(at + 3), weight), 16);
}

static inline uint8x16_t resize_4(const int16_t *row, const int32_t *o, const int16_t *w)
{
    enum { REST = EM_X_BITS + EM_ROW_BITS - 16 }; /* to clang a const int is no constant */
    int16x8_t a = vcombine_s16(one_pixel(row + o[0], w[0]), one_pixel(row + o[1], w[1]));
    int16x8_t b = vcombine_s16(one_pixel(row + o[2], w[2]), one_pixel(row + o[3], w[3]));
    return vcombine_u8(vqshrun_n_s16(a, REST), vqshrun_n_s16(b, REST));
}

static void resize(const int16_t *row, const em_columns *columns, const em_bytes *to)
{
    int32_t width = columns->width;
    if (width < 16) {
        em_resize_from(0, row, columns, to);
        return;
    }
    for (int32_t x = 0; x < width; x += 16) {
        x = x < width - 16 ? x : width - 16; /* the last pixels once more */
        uint8x16_t four[4];
        for (int32_t k = 0; k < 4; ++k) {
            four[k] = resize_4(row, columns->offset + x + 4 * k, columns->weight + x + 4 * k);
        }
        store_planes(to, x, four);
    }
}

/* The first 4 bytes of each. */
static inline uint8x16_t first_4(uint8x8_t a, uint8x8_t b, uint8x8_t c, uint8x8_t d)
{
    uint32x2_t ab = vzip1_u32(vreinterpret_u32_u8(a), vreinterpret_u32_u8(b));
    uint32x2_t cd = vzip1_u32(vreinterpret_u32_u8(c), vreinterpret_u32_u8(d));
    return vreinterpretq_u8_u32(vcombine_u32(ab, cd));
}

static inline uint8x16_t pick_4(const uint8_t *row, const int32_t *o)
{
    return first_4(vld1_u8(row + o[0]), vld1_u8(row + o[1]), vld1_u8(row + o[2]),
                   vld1_u8(row + o[3]));
}

/* Loads 8 bytes of a pixel: never of the last two, where a row may end after 3. */
static void pick(const uint8_t *row, const em_columns *columns, const em_bytes *to)
{
    int32_t width = columns->width;
    if (width < 18) {
        em_pick_from(0, row, columns, to);
        return;
    }
    for (int32_t x = 0; x < width - 2; x += 16) {
        x = x < width - 18 ? x : width - 18;
        uint8x16_t four[4];
        for (int32_t k = 0; k < 4; ++k) {
            four[k] = pick_4(row, columns->offset + x + 4 * k);
        }
        store_planes(to, x, four);
    }
    em_pick_from(width - 2, row, columns, to);
}

/* Mean of a pixel, its neighbour and those below: b, g, r and five of no meaning. */
static inline uint8x8_t one_mean(const uint8_t *upper, const uint8_t *lower)
{
    uint16x8_t both = vaddl_u8(vld1_u8(upper), vld1_u8(lower));
    return vrshrn_n_u16(vaddq_u16(both, vextq_u16(both, both, 3)), 2);
}

static inline uint8x16_t mean_4(const uint8_t *upper, const uint8_t *lower, const int32_t *o)
{
    return first_4(one_mean(upper + o[0], lower + o[0]), one_mean(upper + o[1], lower + o[1]),
                   one_mean(upper + o[2], lower + o[2]), one_mean(upper + o[3], lower + o[3]));
}

/* Loads 8 bytes of a pixel: never of the last, where a row may end after 6. */
static void mean(const uint8_t *upper, const uint8_t *lower, const em_columns *columns,
                 const em_bytes *to)
{
    int32_t width = columns->width;
    if (width < 17) {
        em_mean_from(0, upper, lower, columns, to);
        return;
    }
    for (int32_t x = 0; x < width - 1; x += 16) {
        x = x < width - 17 ? x : width - 17;
        uint8x16_t four[4];
        for (int32_t k = 0; k < 4; ++k) {
            four[k] = mean_4(upper, lower, columns->offset + x + 4 * k);
        }
        store_planes(to, x, four);
    }
    em_mean_from(width - 1, upper, lower, columns, to);
}

/* Luma between its neighbours, 4 pixels. */
static inline int16x4_t luma_4(const int16_t *row, const int32_t *o, const int16_t *weight)
{
    int16x4_t ab = vset_lane_s16(row[o[0]], vdup_n_s16(0), 0);
    ab = vset_lane_s16(row[o[1]], ab, 1);
    ab = vset_lane_s16(row[o[2]], ab, 2);
    ab = vset_lane_s16(row[o[3]], ab, 3);
    int16x4_t next = vset_lane_s16(row[o[0] + 1], vdup_n_s16(0), 0);
    next = vset_lane_s16(row[o[1] + 1], next, 1);
    next = vset_lane_s16(row[o[2] + 1], next, 2);
    next = vset_lane_s16(row[o[3] + 1], next, 3);
    int16x4_t right = vld1_s16(weight), left = vsub_s16(vdup_n_s16(1 << EM_X_BITS), right);
    return vrshrn_n_s32(vmlal_s16(vmull_s16(ab, left), next, right), EM_X_BITS);
}

/* (u, v) of one pixel, 32 bits each, times 1 << EM_X_BITS. */
static inline int32x2_t one_chroma(const int16_t *at, int16_t weight)
{
    int16_t left = (int16_t)((1 << EM_X_BITS) - weight);
    int16x4_t weights = vext_s16(vdup_n_s16(left), vdup_n_s16(weight), 2); /* left twice, right */
    int32x4_t products = vmull_s16(vld1_s16(at), weights);
    return vadd_s32(vget_low_s32(products), vget_high_s32(products));
}

/* (u, v) of 4 pixels */
static inline int16x8_t chroma_4(const int16_t *row, const int32_t *o, const int16_t *w)
{
    int32x4_t a = vcombine_s32(one_chroma(row + o[0], w[0]), one_chroma(row + o[1], w[1]));
    int32x4_t b = vcombine_s32(one_chroma(row + o[2], w[2]), one_chroma(row + o[3], w[3]));
    int16x8_t both = vcombine_s16(vrshrn_n_s32(a, EM_X_BITS), vrshrn_n_s32(b, EM_X_BITS));
    return vsubq_s16(both, vdupq_n_s16(EM_ROW_HALF + (128 << EM_ROW_BITS)));
}

static inline void store_level(uint8_t *out, int16x8_t value, uint8_t shift)
{
    vst1_u8(out, vadd_u8(vqrshrun_n_s16(value, 6), vdup_n_u8(shift)));
}

static inline void convert_8(int16x8_t y, int16x8_t u, int16x8_t v, const em_matrix *m,
                             const em_bytes *to, int32_t x)
{
    y = vqrdmulhq_n_s16(vmaxq_s16(y, vdupq_n_s16(0)), m->luma);
    /* Sums beyond 16 bits are far above level 255, where saturation does not show. */
    int16x8_t blue = vqaddq_s16(y, vqrdmulhq_n_s16(vshlq_n_s16(u, 1), m->half_blue_u));
    int16x8_t green = vqaddq_s16(
        y, vqaddq_s16(vqrdmulhq_n_s16(u, m->green_u), vqrdmulhq_n_s16(v, m->green_v)));
    store_level(to->plane[0] + x, blue, to->shift);
    store_level(to->plane[1] + x, green, to->shift);
    store_level(to->plane[2] + x, vqaddq_s16(y, vqrdmulhq_n_s16(v, m->red_v)), to->shift);
}

static void convert(const int16_t *luma, const em_columns *luma_columns, const int16_t *chroma,
                    const em_columns *chroma_columns, const em_matrix *matrix, const em_bytes *to)
{
    int32_t width = luma_columns->width;
    if (width < 8) {
        em_convert_from(0, luma, luma_columns, chroma, chroma_columns, matrix, to);
        return;
    }
    const int16x8_t luma_zero = vdupq_n_s16(EM_ROW_HALF + (16 << EM_ROW_BITS));
    for (int32_t x = 0; x < width; x += 8) {
        x = x < width - 8 ? x : width - 8; /* the last pixels once more */
        const int32_t *lo = luma_columns->offset + x, *co = chroma_columns->offset + x;
        const int16_t *lw = luma_columns->weight + x, *cw = chroma_columns->weight + x;
        int16x8_t y = vcombine_s16(luma_4(luma, lo, lw), luma_4(luma, lo + 4, lw + 4));
        int16x8_t a = chroma_4(chroma, co, cw), b = chroma_4(chroma, co + 4, cw + 4);
        convert_8(vsubq_s16(y, luma_zero), vuzp1q_s16(a, b), vuzp2q_s16(a, b), matrix, to, x);
    }
}

const em_row_kernels em_rows_neon = {blend, resize, pick, mean, convert, em_floats};

#endif
