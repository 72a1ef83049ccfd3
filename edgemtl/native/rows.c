/* The portable inner loops of pre-processing, the truth for all twins, and the choice of a twin. */
#include "rows.h"

static void blend(const uint8_t *restrict upper, const uint8_t *restrict lower, int32_t weight,
                  int32_t n, int16_t *restrict out)
{
    for (int32_t i = 0; i < n; ++i) {
        int16_t step = (int16_t)((lower[i] - upper[i]) * (1 << EM_ROW_BITS));
        int16_t part = (int16_t)((step * weight + (1 << (EM_Y_BITS - 1))) >> EM_Y_BITS);
        out[i] = (int16_t)((upper[i] << EM_ROW_BITS) + EM_ROW_HALF + part);
    }
}

void em_resize_from(int32_t x, const int16_t *row, const em_columns *columns, const em_bytes *to)
{
    uint8_t *restrict blue = to->plane[0], *restrict green = to->plane[1];
    uint8_t *restrict red = to->plane[2];
    for (; x < columns->width; ++x) {
        const int16_t *at = row + columns->offset[x];
        int32_t right = columns->weight[x], left = (1 << EM_X_BITS) - right;
        const int bits = EM_X_BITS + EM_ROW_BITS;
        blue[x] = (uint8_t)(((at[0] * left + at[3] * right) >> bits) + to->shift);
        green[x] = (uint8_t)(((at[1] * left + at[4] * right) >> bits) + to->shift);
        red[x] = (uint8_t)(((at[2] * left + at[5] * right) >> bits) + to->shift);
    }
}

static void resize(const int16_t *row, const em_columns *columns, const em_bytes *to)
{
    em_resize_from(0, row, columns, to);
}

void em_pick_from(int32_t x, const uint8_t *row, const em_columns *columns, const em_bytes *to)
{
    for (; x < columns->width; ++x) {
        const uint8_t *at = row + columns->offset[x];
        to->plane[0][x] = (uint8_t)(at[0] + to->shift);
        to->plane[1][x] = (uint8_t)(at[1] + to->shift);
        to->plane[2][x] = (uint8_t)(at[2] + to->shift);
    }
}

static void pick(const uint8_t *row, const em_columns *columns, const em_bytes *to)
{
    em_pick_from(0, row, columns, to);
}

void em_mean_from(int32_t x, const uint8_t *upper, const uint8_t *lower,
                  const em_columns *columns, const em_bytes *to)
{
    for (; x < columns->width; ++x) {
        const uint8_t *u = upper + columns->offset[x], *l = lower + columns->offset[x];
        for (int c = 0; c < 3; ++c) {
            int32_t mean = (u[c] + u[c + 3] + l[c] + l[c + 3] + 2) >> 2;
            to->plane[c][x] = (uint8_t)(mean + to->shift);
        }
    }
}

static void mean(const uint8_t *upper, const uint8_t *lower, const em_columns *columns,
                 const em_bytes *to)
{
    em_mean_from(0, upper, lower, columns, to);
}

/* A value between two neighbours with EM_ROW_BITS bits, less the rows' half and zero. */
static int32_t between(int32_t left, int32_t right, int32_t weight, int32_t zero)
{
    int32_t sum = left * ((1 << EM_X_BITS) - weight) + right * weight;
    return ((sum + (1 << (EM_X_BITS - 1))) >> EM_X_BITS) - EM_ROW_HALF - zero * (1 << EM_ROW_BITS);
}

static int32_t times(int32_t value, int32_t factor) { return (value * factor + (1 << 14)) >> 15; }

static uint8_t level_of(int32_t value, uint8_t shift)
{
    value = (value + 32) >> 6;
    value = value < 0 ? 0 : value > 255 ? 255 : value;
    return (uint8_t)(value + shift);
}

void em_convert_from(int32_t x, const int16_t *luma, const em_columns *luma_columns,
                     const int16_t *chroma, const em_columns *chroma_columns,
                     const em_matrix *matrix, const em_bytes *to)
{
    for (; x < luma_columns->width; ++x) {
        const int16_t *l = luma + luma_columns->offset[x];
        const int16_t *c = chroma + chroma_columns->offset[x];
        int32_t weight = chroma_columns->weight[x];
        int32_t y = between(l[0], l[1], luma_columns->weight[x], 16);
        int32_t u = between(c[0], c[2], weight, 128), v = between(c[1], c[3], weight, 128);
        y = times(y < 0 ? 0 : y, matrix->luma);
        int32_t blue = y + times(2 * u, matrix->half_blue_u);
        int32_t green = y + times(u, matrix->green_u) + times(v, matrix->green_v);
        to->plane[0][x] = level_of(blue, to->shift);
        to->plane[1][x] = level_of(green, to->shift);
        to->plane[2][x] = level_of(y + times(v, matrix->red_v), to->shift);
    }
}

static void convert(const int16_t *luma, const em_columns *luma_columns, const int16_t *chroma,
                    const em_columns *chroma_columns, const em_matrix *matrix, const em_bytes *to)
{
    em_convert_from(0, luma, luma_columns, chroma, chroma_columns, matrix, to);
}

void em_floats(const uint8_t *restrict in, int32_t n, float scale, float offset,
               float *restrict out)
{
    for (int32_t i = 0; i < n; ++i) {
        out[i] = (float)in[i] * scale + offset;
    }
}

const em_row_kernels em_rows_portable = {blend, resize, pick, mean, convert, em_floats};

static const em_row_kernels *avx2(void)
{
#ifdef EM_HAS_AVX2
    return __builtin_cpu_supports("avx2") ? &em_rows_avx2 : NULL;
#else
    return NULL;
#endif
}

static const em_row_kernels *neon(void)
{
#ifdef EM_HAS_NEON
    return &em_rows_neon;
#else
    return NULL;
#endif
}

const em_row_kernels *em_rows_of(em_level level)
{
    switch (level) {
    case EM_PORTABLE: return &em_rows_portable;
    case EM_AVX2: return avx2();
    case EM_NEON: return neon();
    case EM_FASTEST: break;
    default: return NULL;
    }
    const em_row_kernels *found = avx2();
    found = found == NULL ? neon() : found;
    return found == NULL ? &em_rows_portable : found;
}

int em_has_level(em_level level) { return em_rows_of(level) != NULL; }
