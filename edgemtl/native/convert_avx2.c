/* Blended luma and chroma to colours with AVX2. */
#include "avx2.h"

#include <string.h>

#ifdef EM_HAS_AVX2

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

WITH_AVX2 void em_convert_avx2(const int16_t *luma, const em_columns *luma_columns,
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

#endif
