/* The inner loops of pre-processing with AVX2. Compiled for every x86-64, called where it runs. */
#include "rows.h"

#ifdef EM_HAS_AVX2

#include <immintrin.h>
#include <string.h>

#define WITH_AVX2 __attribute__((target("avx2")))
#define ALWAYS __attribute__((target("avx2"), always_inline)) static inline

/* n values in two halves: each 16 bytes of one vector make 16 values. */
typedef struct {
    __m256i low, high;
} halves;

ALWAYS __m256i load(const void *at) { return _mm256_loadu_si256((const __m256i *)at); }

/* level << 7 | 64 in 16 bits: the byte lands in the upper half of a word, over 128. */
ALWAYS halves widen(__m256i bytes)
{
    const __m256i below = _mm256_set1_epi8(-128);
    halves h;
    h.low = _mm256_srli_epi16(_mm256_unpacklo_epi8(below, bytes), 1);
    h.high = _mm256_srli_epi16(_mm256_unpackhi_epi8(below, bytes), 1);
    return h;
}

/* Undo the order within 128-bit lanes that unpacking left. */
ALWAYS void store_halves(int16_t *out, halves h)
{
    _mm_storeu_si128((__m128i *)(void *)out, _mm256_castsi256_si128(h.low));
    _mm_storeu_si128((__m128i *)(void *)(out + 8), _mm256_castsi256_si128(h.high));
    _mm_storeu_si128((__m128i *)(void *)(out + 16), _mm256_extracti128_si256(h.low, 1));
    _mm_storeu_si128((__m128i *)(void *)(out + 24), _mm256_extracti128_si256(h.high, 1));
}

ALWAYS void blend_32(const uint8_t *upper, const uint8_t *lower, __m256i weight, int16_t *out)
{
    halves u = widen(load(upper)), l = widen(load(lower));
    /* mulhrs is (a * b + (1 << 14)) >> 15 */
    u.low = _mm256_add_epi16(u.low, _mm256_mulhrs_epi16(_mm256_sub_epi16(l.low, u.low), weight));
    u.high =
        _mm256_add_epi16(u.high, _mm256_mulhrs_epi16(_mm256_sub_epi16(l.high, u.high), weight));
    store_halves(out, u);
}

WITH_AVX2 static void blend(const uint8_t *upper, const uint8_t *lower, int32_t weight, int32_t n,
                            int16_t *out)
{
    if (n < 32) {
        em_rows_portable.blend(upper, lower, weight, n, out);
        return;
    }
    __m256i w = _mm256_set1_epi16((int16_t)weight);
    for (int32_t i = 0; i < n - 32; i += 32) {
        blend_32(upper + i, lower + i, w, out + i);
    }
    blend_32(upper + n - 32, lower + n - 32, w, out + n - 32);
}

/* Weights (left, right) of 8 pixels. */
ALWAYS __m256i weights_8(const int16_t *weight)
{
    __m256i right = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)weight));
    __m256i left = _mm256_sub_epi32(_mm256_set1_epi32(1 << EM_X_BITS), right);
    return _mm256_or_si256(left, _mm256_slli_epi32(right, 16));
}

/* Two pixels, one in each lane, as levels (b, g, r, 0) in 32 bits. */
ALWAYS __m256i two(const int16_t *one, const int16_t *other, __m256i weights)
{
    const __m256i pairs = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11, -1, -1, -1, -1));
    __m256i both = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)one)),
        _mm_loadu_si128((const __m128i *)(const void *)other), 1);
    __m256i sum = _mm256_madd_epi16(_mm256_shuffle_epi8(both, pairs), weights);
    return _mm256_srai_epi32(sum, EM_X_BITS + EM_ROW_BITS);
}

/* 8 pixels of 4 bytes to planes: b0-7, g0-7 in the lower lane, r0-7 in the upper. */
ALWAYS __m256i in_planes(__m256i bytes)
{
    const __m256i planes = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    return _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(bytes, planes),
                                       _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

ALWAYS __m256i resize_8(const int16_t *row, const int32_t *offset, const int16_t *weight)
{
    __m256i w = weights_8(weight);
    __m256i a = two(row + offset[0], row + offset[4], _mm256_shuffle_epi32(w, 0x00));
    __m256i b = two(row + offset[1], row + offset[5], _mm256_shuffle_epi32(w, 0x55));
    __m256i c = two(row + offset[2], row + offset[6], _mm256_shuffle_epi32(w, 0xaa));
    __m256i d = two(row + offset[3], row + offset[7], _mm256_shuffle_epi32(w, 0xff));
    return in_planes(
        _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d)));
}

/* 16 pixels from twice 8 in_planes. */
ALWAYS void store_planes(const em_bytes *to, int32_t x, __m256i first, __m256i second)
{
    __m256i shift = _mm256_set1_epi8((char)to->shift);
    __m256i blue_red = _mm256_add_epi8(_mm256_unpacklo_epi64(first, second), shift);
    __m256i green = _mm256_add_epi8(_mm256_unpackhi_epi64(first, second), shift);
    _mm_storeu_si128((__m128i *)(void *)(to->plane[0] + x), _mm256_castsi256_si128(blue_red));
    _mm_storeu_si128((__m128i *)(void *)(to->plane[1] + x), _mm256_castsi256_si128(green));
    _mm_storeu_si128((__m128i *)(void *)(to->plane[2] + x),
                     _mm256_extracti128_si256(blue_red, 1));
}

WITH_AVX2 static void resize(const int16_t *row, const em_columns *columns, const em_bytes *to)
{
    int32_t width = columns->width;
    if (width < 16) {
        em_resize_from(0, row, columns, to);
        return;
    }
    for (int32_t x = 0; x < width; x += 16) {
        x = x < width - 16 ? x : width - 16; /* the last pixels once more */
        const int32_t *offset = columns->offset + x;
        const int16_t *weight = columns->weight + x;
        store_planes(to, x, resize_8(row, offset, weight), resize_8(row, offset + 8, weight + 8));
    }
}

ALWAYS __m128i four_bytes(const uint8_t *row, const int32_t *offset)
{
    int32_t pixel[4];
    for (int i = 0; i < 4; ++i) {
        memcpy(&pixel[i], row + offset[i], 4);
    }
    return _mm_setr_epi32(pixel[0], pixel[1], pixel[2], pixel[3]);
}

/* 8 pixels in_planes. */
ALWAYS __m256i pick_8(const uint8_t *row, const int32_t *offset)
{
    __m256i bytes = _mm256_inserti128_si256(_mm256_castsi128_si256(four_bytes(row, offset)),
                                            four_bytes(row, offset + 4), 1);
    return in_planes(bytes);
}

/* Loads 4 bytes of a pixel: never of the last, where a row may end after 3. */
WITH_AVX2 static void pick(const uint8_t *row, const em_columns *columns, const em_bytes *to)
{
    int32_t width = columns->width;
    if (width < 17) {
        em_pick_from(0, row, columns, to);
        return;
    }
    for (int32_t x = 0; x < width - 1; x += 16) {
        x = x < width - 17 ? x : width - 17;
        const int32_t *offset = columns->offset + x;
        store_planes(to, x, pick_8(row, offset), pick_8(row, offset + 8));
    }
    em_pick_from(width - 1, row, columns, to);
}

/* Sums of madd to row values in 32 bits. */
ALWAYS __m256i rounded(__m256i sum)
{
    const __m256i half = _mm256_set1_epi32(1 << (EM_X_BITS - 1));
    return _mm256_srai_epi32(_mm256_add_epi32(sum, half), EM_X_BITS);
}

ALWAYS int32_t pair_at(const int16_t *row, int32_t offset)
{
    int32_t pair;
    memcpy(&pair, row + offset, 4);
    return pair;
}

/* 8 luma values in 32 bits. */
ALWAYS __m256i luma_8(const int16_t *row, const int32_t *o, const int16_t *weight)
{
    __m256i pairs = _mm256_setr_epi32(pair_at(row, o[0]), pair_at(row, o[1]), pair_at(row, o[2]),
                                      pair_at(row, o[3]), pair_at(row, o[4]), pair_at(row, o[5]),
                                      pair_at(row, o[6]), pair_at(row, o[7]));
    return rounded(_mm256_madd_epi16(pairs, weights_8(weight)));
}

/* (u0 v0 u1 v1) of four pixels, two in each lane. */
ALWAYS __m256i four_chroma(const int16_t *row, int32_t a, int32_t b, int32_t c, int32_t d)
{
    int64_t at[4];
    memcpy(&at[0], row + a, 8);
    memcpy(&at[1], row + b, 8);
    memcpy(&at[2], row + c, 8);
    memcpy(&at[3], row + d, 8);
    const __m256i pairs = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    return _mm256_shuffle_epi8(_mm256_setr_epi64x(at[0], at[1], at[2], at[3]), pairs);
}

/* 8 pixels of (u, v), 16 bits each. */
ALWAYS __m256i chroma_8(const int16_t *row, const int32_t *o, const int16_t *weight)
{
    __m256i w = weights_8(weight);
    __m256i a = _mm256_madd_epi16(four_chroma(row, o[0], o[1], o[4], o[5]),
                                  _mm256_unpacklo_epi32(w, w));
    __m256i b = _mm256_madd_epi16(four_chroma(row, o[2], o[3], o[6], o[7]),
                                  _mm256_unpackhi_epi32(w, w));
    return _mm256_packs_epi32(rounded(a), rounded(b));
}

ALWAYS __m256i times(__m256i value, int16_t factor)
{
    return _mm256_mulhrs_epi16(value, _mm256_set1_epi16(factor));
}

/* Two colours of 16 pixels as bytes: one in each lane. */
ALWAYS __m256i levels_16(__m256i one, __m256i other, __m256i shift)
{
    const __m256i half = _mm256_set1_epi16(32);
    one = _mm256_srai_epi16(_mm256_adds_epi16(one, half), 6);
    other = _mm256_srai_epi16(_mm256_adds_epi16(other, half), 6);
    __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(one, other),
                                                _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    return _mm256_add_epi8(bytes, shift);
}

/* y, u, v of 16 pixels (0-3, 8-11, 4-7, 12-15: the order that packing 32 bits gives). */
ALWAYS void convert_16(__m256i y, __m256i u, __m256i v, const em_matrix *m, const em_bytes *to,
                       int32_t x)
{
    __m256i shift = _mm256_set1_epi8((char)to->shift);
    y = times(_mm256_max_epi16(y, _mm256_setzero_si256()), m->luma);
    /* Sums beyond 16 bits are far above level 255, where saturation does not show. */
    __m256i blue = _mm256_adds_epi16(y, times(_mm256_slli_epi16(u, 1), m->half_blue_u));
    __m256i green = _mm256_adds_epi16(
        y, _mm256_adds_epi16(times(u, m->green_u), times(v, m->green_v)));
    __m256i red = _mm256_adds_epi16(y, times(v, m->red_v));
    __m256i both = levels_16(blue, green, shift);
    red = levels_16(red, red, shift);
    _mm_storeu_si128((__m128i *)(void *)(to->plane[0] + x), _mm256_castsi256_si128(both));
    _mm_storeu_si128((__m128i *)(void *)(to->plane[1] + x), _mm256_extracti128_si256(both, 1));
    _mm_storeu_si128((__m128i *)(void *)(to->plane[2] + x), _mm256_castsi256_si128(red));
}

WITH_AVX2 static void convert(const int16_t *luma, const em_columns *luma_columns,
                              const int16_t *chroma, const em_columns *chroma_columns,
                              const em_matrix *matrix, const em_bytes *to)
{
    int32_t width = luma_columns->width;
    if (width < 16) {
        em_convert_from(0, luma, luma_columns, chroma, chroma_columns, matrix, to);
        return;
    }
    const __m256i luma_zero = _mm256_set1_epi16(EM_ROW_HALF + (16 << EM_ROW_BITS));
    const __m256i chroma_zero = _mm256_set1_epi16(EM_ROW_HALF + (128 << EM_ROW_BITS));
    for (int32_t x = 0; x < width; x += 16) {
        x = x < width - 16 ? x : width - 16; /* the last pixels once more */
        const int32_t *lo = luma_columns->offset + x, *co = chroma_columns->offset + x;
        const int16_t *lw = luma_columns->weight + x, *cw = chroma_columns->weight + x;
        __m256i y = _mm256_packs_epi32(luma_8(luma, lo, lw), luma_8(luma, lo + 8, lw + 8));
        __m256i first = _mm256_sub_epi16(chroma_8(chroma, co, cw), chroma_zero);
        __m256i second = _mm256_sub_epi16(chroma_8(chroma, co + 8, cw + 8), chroma_zero);
        __m256i u = _mm256_packs_epi32(_mm256_srai_epi32(_mm256_slli_epi32(first, 16), 16),
                                       _mm256_srai_epi32(_mm256_slli_epi32(second, 16), 16));
        __m256i v =
            _mm256_packs_epi32(_mm256_srai_epi32(first, 16), _mm256_srai_epi32(second, 16));
        convert_16(_mm256_sub_epi16(y, luma_zero), u, v, matrix, to, x);
    }
}

WITH_AVX2 static void floats(const uint8_t *in, int32_t n, float scale, float offset, float *out)
{
    __m256 s = _mm256_set1_ps(scale), o = _mm256_set1_ps(offset);
    int32_t i = 0;
    for (; i <= n - 8; i += 8) {
        __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)(in + i));
        __m256 levels = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
        _mm256_storeu_ps(out + i, _mm256_add_ps(_mm256_mul_ps(levels, s), o));
    }
    em_rows_portable.floats(in + i, n - i, scale, offset, out + i);
}

const em_row_kernels em_rows_avx2 = {blend, resize, pick, convert, floats};

#endif
