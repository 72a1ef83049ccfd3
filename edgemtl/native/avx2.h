/* What the files with AVX2 share. Not part of the interface. */
#ifndef EDGEMTL_AVX2_H
#define EDGEMTL_AVX2_H

#include "rows.h"

#ifdef EM_HAS_AVX2

#include <immintrin.h>

/* Compiled for every x86-64 without options of the compiler, called where the processor has it. */
#define WITH_AVX2 __attribute__((target("avx2")))
#define ALWAYS __attribute__((target("avx2"), always_inline)) static inline

/* em_row_kernels.convert */
void em_convert_avx2(const int16_t *luma, const em_columns *luma_columns, const int16_t *chroma,
                     const em_columns *chroma_columns, const em_matrix *matrix,
                     const em_bytes *to);

/* Weights (left, right) of 8 pixels. */
ALWAYS __m256i weights_8(const int16_t *weight)
{
    __m256i right = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)weight));
    __m256i left = _mm256_sub_epi32(_mm256_set1_epi32(1 << EM_X_BITS), right);
    return _mm256_or_si256(left, _mm256_slli_epi32(right, 16));
}

#endif
#endif
