/* Selection of rows by score, for trackers that are full. */
#include "edgemtl.h"

#include <string.h>

static int32_t kept_from(const float *scores, int32_t n, const uint8_t *keep, float score)
{
    int32_t kept = 0;
    for (int32_t i = 0; i < n; ++i) {
        kept += keep[i] && scores[i] >= score;
    }
    return kept;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Bisects over floats from 0, whose bits are in the order of their values. */
int32_t em_keep_best(const float *scores, int32_t n, int32_t room, uint8_t *keep)
{
    uint32_t below = 0, from = 0x7f800000u; /* 0 and infinity */
    int32_t wanted = kept_from(scores, n, keep, 0.0f);
    if (wanted <= room) {
        return 0;
    }
    while (from - below > 1) {
        uint32_t middle = below + (from - below) / 2;
        if (kept_from(scores, n, keep, float_of(middle)) <= room) {
            from = middle;
        } else {
            below = middle;
        }
    }
    int32_t equals = room - kept_from(scores, n, keep, float_of(from));
    for (int32_t i = 0; i < n; ++i) {
        if (keep[i] && scores[i] < float_of(from) &&
            !(scores[i] == float_of(below) && equals-- > 0)) {
            keep[i] = 0;
        }
    }
    return wanted - room;
}
