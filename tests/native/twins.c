/* Seeded random cases of every kernel that has twins for vector instructions: all levels that this
 * processor has give the portable path's bits, over heap buffers of exactly the size needed.
 *
 *     cc -std=c11 -O2 -ffp-contract=off -Iedgemtl/native tests/native/twins.c \
 *         edgemtl/native/{convert_avx2,nv12,planes,preprocess,rows*}.c -lm -o twins
 *     ./twins ROUNDS SEED [LEVEL ...]      (a level named must be there; 2: AVX2, 3: NEON)
 *
 * Exits 1 at a difference. For aarch64: aarch64-linux-gnu-gcc -static, then qemu-aarch64 ./twins.
 */
#include "edgemtl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t chance_state;

/* splitmix64 */
static uint64_t bits(void)
{
    uint64_t z = (chance_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int32_t pick(int32_t low, int32_t high)
{
    return low + (int32_t)(bits() % (uint64_t)(high - low + 1));
}

static void *block(size_t bytes)
{
    unsigned char *memory = malloc(bytes);
    if (memory == NULL && bytes > 0) {
        fprintf(stderr, "no memory for %zu bytes\n", bytes);
        exit(2);
    }
    memset(memory, 0xa5, bytes);
    return memory;
}

/* Rows whose last ends with the memory (and whose first starts it, if upside down). */
typedef struct {
    uint8_t *memory;
    const uint8_t *first;
    ptrdiff_t stride;
} rows;

static rows any_rows(int32_t height, int32_t width)
{
    rows r;
    ptrdiff_t stride = width + pick(0, 5);
    size_t bytes = (size_t)(stride * (height - 1) + width);
    int kind = pick(0, 3);
    r.memory = block(bytes);
    for (size_t i = 0; i < bytes; ++i) {
        r.memory[i] = kind == 0 ? (uint8_t)(255 * pick(0, 1)) : (uint8_t)bits();
    }
    int upside_down = pick(0, 1);
    r.first = upside_down ? r.memory + stride * (height - 1) : r.memory;
    r.stride = upside_down ? -stride : stride;
    return r;
}

static em_pixel_format any_format(void)
{
    em_pixel_format f = {.dtype = (em_dtype)pick(0, 2), .swap_rb = pick(0, 1)};
    int plain = pick(0, 2) > 0;
    f.scale = plain ? 1.0f : (float)pick(-300, 300) / 128.0f;
    f.offset = plain && f.dtype == EM_INT8 ? -128.0f : plain ? 0.0f : (float)pick(-300, 300);
    f.pad = (uint8_t)bits();
    return f;
}

/* Sides up to 150; often an exact ratio, where kernels may take a shorter way. */
static em_geometry any_geometry(int32_t step)
{
    em_geometry g;
    int32_t height = step * pick(1, 60), times = pick(1, 4);
    int32_t width = step * (pick(0, 7) == 0 ? pick(1, 3) : pick(1, 150));
    int32_t net_h = pick(1, 90), net_w = pick(1, 150);
    switch (pick(0, 3)) {
    case 0: net_h = height, net_w = width; break;
    case 1: net_h = height * times, net_w = width * times; break;
    case 2:
        net_h = (height + times - 1) / times, net_w = (width + times - 1) / times;
        height = net_h * times + step - 1, width = net_w * times + step - 1;
        height -= height % step, width -= width % step;
        break;
    default: break;
    }
    em_letterbox_geometry(height, width, net_h, net_w, (em_align)pick(0, 1), &g);
    return g;
}

static const em_level LEVELS[] = {EM_FASTEST, EM_AVX2, EM_NEON};
enum { N_LEVELS = sizeof LEVELS / sizeof LEVELS[0] };

static int report(const char *kernel, em_level level, const em_geometry *g,
                  const em_pixel_format *f)
{
    fprintf(stderr, "%s at level %d differs: %dx%d to %dx%d in %dx%d, type %d\n", kernel,
            (int)level, g->src_w, g->src_h, g->width, g->height, g->net_w, g->net_h,
            (int)f->dtype);
    return 1;
}

/* Runs either kernel; which is the one whose source is not NULL. */
static int run(em_level level, const em_image *bgr, const em_nv12 *nv12, const em_geometry *g,
               const em_pixel_format *f, void *out)
{
    size_t bytes = bgr ? em_letterbox_scratch(g) : em_letterbox_nv12_scratch(g);
    void *scratch = block(bytes);
    int status = bgr ? em_letterbox_at(level, bgr, g, f, out, scratch)
                     : em_letterbox_nv12_at(level, nv12, g, f, out, scratch);
    free(scratch);
    return status;
}

static int compare(const char *name, const em_image *bgr, const em_nv12 *nv12,
                   const em_geometry *g)
{
    em_pixel_format f = any_format();
    size_t bytes = 3 * (size_t)g->net_h * (size_t)g->net_w * (f.dtype == EM_FLOAT32 ? 4 : 1);
    void *truth = block(bytes), *out = block(bytes);
    int failed = run(EM_PORTABLE, bgr, nv12, g, &f, truth) != EM_OK;
    for (int i = 0; i < N_LEVELS && !failed; ++i) {
        if (em_has_level(LEVELS[i])) {
            memset(out, 0x5a, bytes);
            if (run(LEVELS[i], bgr, nv12, g, &f, out) != EM_OK || memcmp(truth, out, bytes) != 0) {
                failed = report(name, LEVELS[i], g, &f);
            }
        } else {
            failed = run(LEVELS[i], bgr, nv12, g, &f, out) != EM_EARG;
        }
    }
    free(truth);
    free(out);
    return failed;
}

static int compare_bgr(void)
{
    em_geometry g = any_geometry(1);
    rows r = any_rows(g.src_h, 3 * g.src_w);
    em_image image = {r.first, r.stride, g.src_h, g.src_w};
    int failed = compare("letterbox", &image, NULL, &g);
    free(r.memory);
    return failed;
}

static int compare_nv12(void)
{
    em_geometry g = any_geometry(2);
    g.src_h += g.src_h % 2;
    g.src_w += g.src_w % 2;
    rows y = any_rows(g.src_h, g.src_w), uv = any_rows(g.src_h / 2, g.src_w);
    em_nv12 image = {y.first, uv.first, y.stride, uv.stride, (em_matrix_kind)pick(0, 1)};
    int failed = compare("letterbox_nv12", NULL, &image, &g);
    free(y.memory);
    free(uv.memory);
    return failed;
}

int main(int argc, char **argv)
{
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 2000;
    long seed = argc > 2 ? strtol(argv[2], NULL, 10) : 1;
    for (int i = 3; i < argc; ++i) {
        if (!em_has_level((em_level)strtol(argv[i], NULL, 10))) {
            fprintf(stderr, "this processor lacks level %s\n", argv[i]);
            return 1;
        }
    }
    for (long k = 0; k < rounds; ++k) {
        chance_state = (uint64_t)seed * 1000003u + (uint64_t)k;
        if (compare_bgr() || compare_nv12()) {
            fprintf(stderr, "round %ld of seed %ld\n", k, seed);
            return 1;
        }
    }
    printf("%ld rounds alike\n", rounds);
    return 0;
}
