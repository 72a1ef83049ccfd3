/* The inner loops of pre-processing with AVX2. Compiled for every x86-64, called where it runs. */
#include "avx2.h"

#include <string.h>

#ifdef EM_HAS_AVX2

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

/* 8 bytes of 4 pixels: (b0 b1 g0 g1 r0 r1 0 0) each, of the pixel and its neighbour. */
ALWAYS __m256i neighbours(const uint8_t *row, int32_t a, int32_t b, int32_t c, int32_t d)
{
    int64_t at[4];
    memcpy(&at[0], row + a, 8);
    memcpy(&at[1], row + b, 8);
    memcpy(&at[2], row + c, 8);
    memcpy(&at[3], row + d, 8);
    const __m256i pairs = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 3, 1, 4, 2, 5, -1, -1, 8, 11, 9, 12, 10, 13, -1, -1));
    return _mm256_shuffle_epi8(_mm256_setr_epi64x(at[0], at[1], at[2], at[3]), pairs);
}

/* Means of 4 pixels in 16 bits: (b, g, r, 0) each. */
ALWAYS __m256i mean_4(const uint8_t *upper, const uint8_t *lower, int32_t a, int32_t b, int32_t c,
                      int32_t d)
{
    const __m256i ones = _mm256_set1_epi8(1), two = _mm256_set1_epi16(2);
    __m256i u = _mm256_maddubs_epi16(neighbours(upper, a, b, c, d), ones);
    __m256i l = _mm256_maddubs_epi16(neighbours(lower, a, b, c, d), ones);
    return _mm256_srli_epi16(_mm256_add_epi16(_mm256_add_epi16(u, l), two), 2);
}

ALWAYS __m256i mean_8(const uint8_t *upper, const uint8_t *lower, const int32_t *o)
{
    return in_planes(_mm256_packus_epi16(mean_4(upper, lower, o[0], o[1], o[4], o[5]),
                                         mean_4(upper, lower, o[2], o[3], o[6], o[7])));
}

/* Loads 8 bytes of a pixel: never of the last, where a row may end after 6. */
WITH_AVX2 static void mean(const uint8_t *upper, const uint8_t *lower, const em_columns *columns,
                           const em_bytes *to)
{
    int32_t width = columns->width;
    if (width < 17) {
        em_mean_from(0, upper, lower, columns, to);
        return;
    }
    for (int32_t x = 0; x < width - 1; x += 16) {
        x = x < width - 17 ? x : width - 17;
        const int32_t *offset = columns->offset + x;
        store_planes(to, x, mean_8(upper, lower, offset), mean_8(upper, lower, offset + 8));
    }
    em_mean_from(width - 1, upper, lower, columns, to);
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
    em_floats(in + i, n - i, scale, offset, out + i);
}

const em_row_kernels em_rows_avx2 = {blend, resize, pick, mean, em_convert_avx2, floats};

#endif
