/* A stream of frames, for either tracker: a few walkers with noise and misses, rows of garbage, gaps
 * and odd times. */
#include "input.h"

#include <math.h>
#include <string.h>

enum { WALKERS = 8, MOST_FRAMES = 60 };

typedef struct {
    em_tracker *tracker;
    em_bytetrack *byte; /* the one that is not NULL runs */
    void *memory, *before;
    size_t size;
    em_tracks_out out;
    em_frame_info frame;
    float walker[WALKERS][6]; /* x, y, speed in x and y, side, score */
    double camera[6];
    int32_t capacity, dim, n_walkers;
} scene;

static void check_tracks(input *in, const scene *s, int t, const em_rows *rows)
{
    const em_tracks_out *out = &s->out;
    REQUIRE(t >= 0 && t <= s->capacity);
    for (int i = 0; i < t; ++i) {
        const float *box = out->boxes + 4 * (size_t)i;
        uint8_t id = (uint8_t)out->ids[i], seen = (uint8_t)(out->det_index[i] + 1);
        REQUIRE(out->ids[i] >= 1 && isfinite(out->scores[i]));
        REQUIRE(out->det_index[i] >= -1 && out->det_index[i] < rows->n);
        REQUIRE(box[2] > box[0] && box[3] > box[1]);
        if (s->byte != NULL) { /* whose boxes may reach beyond the picture */
            REQUIRE(box[0] >= -2e6f && box[1] >= -2e6f && box[2] <= 2e6f && box[3] <= 2e6f);
            REQUIRE(out->det_index[i] >= 0 && out->scores[i] == rows->scores[out->det_index[i]]);
        } else {
            REQUIRE(box[0] >= 0 && box[2] <= (float)s->frame.width);
            REQUIRE(box[1] >= 0 && box[3] <= (float)s->frame.height);
        }
        for (int k = 0; k < i; ++k) {
            REQUIRE(out->ids[k] != out->ids[i]);
            REQUIRE(out->det_index[k] != out->det_index[i] || out->det_index[i] < 0);
        }
        digest_bytes(in, &id, 1);
        digest_bytes(in, &seen, 1);
        digest_floats(in, box, 4);
    }
}

static int step(const scene *s, const em_rows *rows, const em_frame_info *frame)
{
    void *scratch = block(s->byte ? em_bytetrack_scratch(s->byte, rows->n)
                                  : em_tracker_scratch(s->tracker, rows->n));
    int t = s->byte ? em_bytetrack_step(s->byte, rows, frame->pts_ns, &s->out, scratch)
                    : em_tracker_step(s->tracker, rows, frame, &s->out, scratch);
    free(scratch);
    return t;
}

/* A time before the last one is refused and leaves every byte of the tracker as it was. */
static void step_back(const scene *s, const em_rows *rows)
{
    if (s->frame.pts_ns > INT64_MIN) {
        em_frame_info early = {s->frame.pts_ns - 1, 9, 9, NULL};
        memcpy(s->before, s->memory, s->size);
        REQUIRE(step(s, rows, &early) == EM_ETIME);
        REQUIRE(memcmp(s->before, s->memory, s->size) == 0);
    }
}

static float jitter(input *in) { return (float)pick(in, -8, 8) / 4.0f; }

/* The walkers that a detector saw in this frame. */
static em_rows pick_seen(input *in, const scene *s, double seconds)
{
    int32_t missed = pick(in, 0, 255), n = 0;
    float *boxes = block(16 * WALKERS), *scores = block(4 * WALKERS), *looks = NULL;
    int32_t *labels = block(4 * WALKERS);
    if (s->dim > 0) {
        looks = block(4 * WALKERS * (size_t)s->dim);
    }
    for (int32_t w = 0; w < s->n_walkers; ++w) {
        if (missed >> w & 1) {
            continue;
        }
        const float *at = s->walker[w];
        float x = at[0] + (float)(at[2] * seconds), y = at[1] + (float)(at[3] * seconds);
        float *box = boxes + 4 * (size_t)n;
        box[0] = x + jitter(in);
        box[1] = y + jitter(in);
        box[2] = x + at[4];
        box[3] = y + 2 * at[4];
        scores[n] = at[5];
        labels[n] = w % 2;
        for (int32_t k = 0; k < s->dim; ++k) {
            looks[n * s->dim + k] = k == w % s->dim ? 1.0f : 0.0f;
        }
        ++n;
    }
    return (em_rows){.boxes = boxes, .scores = scores, .labels = labels, .embeddings = looks,
                     .n = n, .dim = s->dim};
}

static void advance(input *in, scene *s)
{
    static const int64_t steps[] = {40000000, 40000000, 33366700, 100000000, 0, 1,
                                    500000000, 2000000000, 5000000000, INT64_MAX / 2};
    int64_t by = steps[pick(in, 0, 9)];
    int64_t room = s->frame.pts_ns < 0 ? INT64_MAX : INT64_MAX - s->frame.pts_ns;
    s->frame.pts_ns += by < room ? by : room;
}

/* Now and then somebody knows how the camera moved, or sends what the glue would refuse. */
static void pick_camera(input *in, scene *s)
{
    s->frame.camera = NULL;
    if (one_in(in, 6)) {
        double zoom = one_in(in, 8) ? 1e150 : pick_real(in, 0.05, 8);
        double roll = pick_real(in, -0.5, 0.5);
        double right = pick_real(in, -900, 900), down = pick_real(in, -900, 900);
        double motion[6] = {zoom, -roll, right, roll, zoom, down};
        memcpy(s->camera, motion, sizeof motion);
        s->frame.camera = s->camera;
    }
}

static void run_frames(input *in, scene *s)
{
    int64_t first = s->frame.pts_ns;
    for (int i = 0; i < MOST_FRAMES && has_more(in); ++i) {
        int32_t kind = pick(in, 0, 15);
        double seconds = (double)((uint64_t)s->frame.pts_ns - (uint64_t)first) * 1e-9;
        int32_t n = kind == 0 || kind > 3 ? 0 : pick(in, 0, 40);
        em_rows rows = kind > 3 ? pick_seen(in, s, fmin(seconds, 1e4))
                                : pick_rows(in, n, kind == 1 ? -1 : s->dim);
        pick_camera(in, s);
        check_tracks(in, s, step(s, &rows, &s->frame), &rows);
        step_back(s, &rows);
        drop_rows(&rows);
        advance(in, s);
        if (one_in(in, 40)) {
            s->byte ? em_bytetrack_reset(s->byte) : em_tracker_reset(s->tracker);
        }
    }
    int64_t refused = s->byte ? em_bytetrack_refused(s->byte) : em_tracker_refused(s->tracker);
    REQUIRE(refused >= 0);
}

static em_tracker_config pick_config(input *in)
{
    em_tracker_config config = {
        .min_score = 0.1f, .strong_score = 0.7f, .birth_score = 0.8f, .confirm_score = 1.0f,
        .show_odds = 4.0f, .lost_s = 3.0f, .tentative_s = 0.25f, .coast_s = 0.1f, .fade_s = 2.0f,
        .position_noise = 0.1f, .size_noise = 0.2f, .acceleration_noise = 0.4f,
        .initial_speed = 2.0f, .shape_noise = 0.5f, .max_distance = 1.0f, .iou_weight = 0.6f,
        .likelihood_weight = 0.3f, .direction_weight = 0.1f, .height_weight = 0.3f,
        .min_height_ratio = 0.5f, .tentative_penalty = 0.2f, .class_penalty = 0.3f,
        .appearance_weight = 0.25f, .max_cost = 0.9f, .max_cost_second = 0.6f,
        .camera_motion = 1.0f,
    };
    float *values = (float *)(void *)&config;
    int32_t last = (int32_t)(sizeof config / sizeof config.min_score) - 1;
    for (int32_t i = pick(in, 0, 4); i > 0; --i) {
        int32_t which = pick(in, 0, last);
        values[which] = (float)pick_real(in, 0, 2);
    }
    return config;
}

static em_bytetrack_config pick_byte_config(input *in)
{
    double share[4];
    pick_reals(in, share, 4, 0, 1);
    em_bytetrack_config config = {(float)share[0] / 2, (float)share[1], (float)share[2],
                                  (float)share[3],     0,               0,
                                  0};
    config.track_buffer = pick(in, 0, 9);
    config.fuse_score = pick(in, 0, 1);
    config.match_predicted = pick(in, 0, 1);
    return config;
}

static void start_tracker(input *in, scene *s)
{
    if (one_in(in, 3)) {
        em_bytetrack_config config = pick_byte_config(in);
        s->size = em_bytetrack_size(s->capacity);
        s->memory = block(s->size);
        s->byte = em_bytetrack_init(s->memory, &config, s->capacity);
    } else {
        em_tracker_config config = pick_config(in);
        s->size = em_tracker_size(s->capacity, s->dim);
        s->memory = block(s->size);
        s->tracker = em_tracker_init(s->memory, &config, s->capacity, s->dim);
    }
    s->before = block(s->size);
}

static void pick_walkers(input *in, scene *s)
{
    s->n_walkers = pick(in, 0, WALKERS);
    for (int32_t w = 0; w < s->n_walkers; ++w) {
        float *at = s->walker[w];
        at[0] = (float)pick(in, 0, 639);
        at[1] = (float)pick(in, 0, 479);
        at[2] = (float)pick(in, -100, 100);
        at[3] = (float)pick(in, -60, 60);
        at[4] = (float)pick(in, 1, 90);
        at[5] = (float)pick(in, 0, 10) / 10.0f;
    }
}

static void kalman(input *in)
{
    double strength[6], at[4], box[4];
    pick_reals(in, strength, 6, 0, 3);
    pick_reals(in, at, 2, -900, 900);
    pick_reals(in, at + 2, 2, 0.1, 500);
    em_kalman_noise noise = {strength[0], strength[1], strength[2],
                             strength[3], strength[4], strength[5]};
    em_kalman filter;
    em_kalman_start(&filter, at, &noise, pick_real(in, 0.5, 2));
    for (int i = 0; i < 10; ++i) {
        em_kalman_predict(&filter, one_in(in, 3) ? 0.0 : pick_real(in, 0, 2), &noise);
        if (pick(in, 0, 1)) {
            int32_t k = pick(in, 0, 3);
            at[k] += pick_real(in, 0, 20);
            em_kalman_update(&filter, at, &noise, pick_real(in, 0.5, 2));
        }
        em_kalman_box(&filter, box);
        REQUIRE(box[2] - box[0] >= 0.999 && box[3] - box[1] >= 0.999);
        for (int k = 0; k < 4; ++k) {
            const em_axis *a = &filter.axis[k];
            double tolerance = 1e-6 * a->pxx * a->pvv + 1e-12;
            REQUIRE(isfinite(a->x) && isfinite(a->v) && a->pxx >= 0 && a->pvv >= 0);
            REQUIRE(a->pxx * a->pvv - a->pxv * a->pxv >= -tolerance);
        }
    }
}

/* The first of the best stay. */
static void keep_best(input *in)
{
    float scores[30], low = INFINITY;
    uint8_t keep[30], wanted[30];
    int32_t n = pick(in, 0, 30), kept = 0;
    int32_t room = pick(in, 0, 12);
    for (int32_t i = 0; i < n; ++i) {
        scores[i] = one_in(in, 2) ? (float)pick(in, 0, 3) : (float)pick_real(in, 0, 3);
        wanted[i] = keep[i] = (uint8_t)pick(in, 0, 1);
    }
    int32_t refused = em_keep_best(scores, n, room, keep);
    for (int32_t i = 0; i < n; ++i) {
        kept += keep[i];
        low = keep[i] ? fminf(low, scores[i]) : low;
    }
    REQUIRE(refused == 0 || kept == room);
    for (int32_t i = 0; i < n; ++i) {
        refused -= wanted[i] && !keep[i];
        REQUIRE(wanted[i] || !keep[i]);
        REQUIRE(!wanted[i] || keep[i] || scores[i] <= low);
    }
    REQUIRE(refused == 0);
}

void fuzz_tracker(input *in)
{
    scene s = {.capacity = one_in(in, 3) ? pick(in, 1, 4) : pick(in, 1, 80)};
    s.dim = one_in(in, 3) ? 0 : pick(in, 0, 9);
    s.frame.pts_ns = one_in(in, 4) ? INT64_MIN : 0;
    s.frame.height = pick(in, 1, 600);
    s.frame.width = pick(in, 1, 800);
    size_t n = (size_t)s.capacity;
    start_tracker(in, &s);
    s.out = (em_tracks_out){block(8 * n), block(16 * n), block(4 * n), block(4 * n), block(4 * n)};
    pick_walkers(in, &s);
    run_frames(in, &s);
    kalman(in);
    keep_best(in);
    free(s.memory);
    free(s.before);
    free(s.out.ids);
    free(s.out.boxes);
    free(s.out.scores);
    free(s.out.labels);
    free(s.out.det_index);
}
