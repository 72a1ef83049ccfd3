/* What moves tracks between detections: time, the camera; and the scales of the scores. */
#include "tracker.h"

#include <math.h>

#define SCALE_MEMORY_S 10.0  /* a score scale forgets with this time constant */
#define SCALE_PRIOR 0.7      /* before anything was seen it is this, ... */
#define SCALE_PRIOR_COUNT 2  /* ... with the weight of so many detections of that score */
#define SCALE_LEAST 0.35     /* a picture of nothing but noise does not make noise count */
#define SCALE_NOTHING 1e-30  /* a weight below adds no bit to that of the prior */
#define MIN_COMMON 6         /* matched tracks before a common shift is believed, ... */
#define COMMON_SIGMAS 2.7    /* ... and how many sd / sqrt(n) it must be away from none */
#define SD_OF_MAD 1.4826     /* sd of a normal variable over its median absolute deviation */
#define CAMERA_MEMORY_S 1.0

static int32_t score_entry(int32_t label)
{
    return label >= 0 && label < EM_TRACKER_CLASSES ? label + 1 : 0;
}

/* The mean of a class's scores, each weighted by its own cube: near the clear objects' scores
 * whatever the number of weak detections. */
double em_score_scale(const em_tracker *t, int32_t label)
{
    const score_mean *mean = &t->scores[score_entry(label)];
    double cube = SCALE_PRIOR * SCALE_PRIOR * SCALE_PRIOR;
    double scale = (mean->sum + SCALE_PRIOR_COUNT * cube * SCALE_PRIOR) /
                   (mean->weight + SCALE_PRIOR_COUNT * cube);
    return scale > SCALE_LEAST ? scale : SCALE_LEAST;
}

void em_track_scores(em_tracker *t, const em_rows *d, const work *w, double dt)
{
    double keep = em_exp_minus(dt / SCALE_MEMORY_S);
    for (int32_t k = 0; k < t->n_scores; ++k) {
        score_mean *mean = &t->scores[k];
        mean->sum *= keep;
        mean->weight *= keep;
        if (mean->weight < SCALE_NOTHING) { /* denormal numbers are slow */
            *mean = (score_mean){0.0, 0.0};
        }
    }
    for (int32_t i = 0; i < d->n; ++i) {
        double s = d->scores[i];
        if (w->kind[i] != IGNORED && s > 0.0 && s <= 1e6) {
            int32_t k = score_entry(d->labels[i]);
            t->scores[k].weight += s * s * s;
            t->scores[k].sum += s * s * s * s;
            t->n_scores = k >= t->n_scores ? k + 1 : t->n_scores;
        }
    }
}

/* Move a track with the picture: p' = A p + b. Covariances grow with the scale alone, as the axes
 * stay independent: right for pans and zooms, near enough for small rotations. */
static void follow_camera(track *tr, const double a[6])
{
    em_kalman *f = &tr->filter;
    double sx = tr->seen_x, sy = tr->seen_y;
    tr->seen_x = a[0] * sx + a[1] * sy + a[2];
    tr->seen_y = a[3] * sx + a[4] * sy + a[5];
    double x = f->axis[0].x, y = f->axis[1].x, vx = f->axis[0].v, vy = f->axis[1].v;
    f->axis[0].x = a[0] * x + a[1] * y + a[2];
    f->axis[1].x = a[3] * x + a[4] * y + a[5];
    f->axis[0].v = a[0] * vx + a[1] * vy;
    f->axis[1].v = a[3] * vx + a[4] * vy;
    double area = fabs(a[0] * a[4] - a[1] * a[3]), zoom = sqrt(area);
    for (int k = 0; k < 4; ++k) {
        em_axis *axis = &f->axis[k];
        if (k >= 2) {
            axis->x *= zoom;
            axis->v *= zoom;
        }
        axis->pxx *= area;
        axis->pxv *= area;
        axis->pvv *= area;
    }
}

static double most(double a, double b) { return a > b ? a : b; }

/* What the costs of a track's pairs have in common. */
static void summarise(em_tracker *t, track *tr)
{
    const em_axis *axis = tr->filter.axis;
    double area = axis[2].x * axis[3].x;
    tr->size = sqrt(most(area, 1.0));
    tr->doubt = sqrt(most(axis[0].pxx, axis[1].pxx));
    double volume = 1.0;
    for (int k = 0; k < 4; ++k) {
        volume *= (axis[k].pxx + em_kalman_measured(&tr->filter, k, &t->noise, 1.0)) / area;
    }
    tr->spread = volume > 1e-300 ? em_log(volume < 1e300 ? volume : 1e300) : -690.0;
}

void em_track_predict(em_tracker *t, const em_frame_info *frame, double dt)
{
    double fade_s = most(t->config.fade_s, 1e-3), fade = em_exp_minus(dt / fade_s);
    double shortfall = dt - fade_s * (1.0 - fade); /* a fading speed goes v (dt - shortfall) */
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        track *tr = &t->tracks[k];
        em_axis *axis = tr->filter.axis;
        if (tr->seen_ns < t->last_ns) { /* unseen in the last frame already */
            axis[0].v *= fade;
            axis[1].v *= fade;
            axis[2].v = axis[3].v = 0.0;
        }
        if (frame->camera != NULL) {
            follow_camera(tr, frame->camera);
        }
        axis[0].x -= axis[0].v * shortfall;
        axis[1].x -= axis[1].v * shortfall;
        em_kalman_predict(&tr->filter, dt, &t->noise); /* keeps the sides above zero */
        tr->det_index = -1;
        summarise(t, tr);
    }
}

/* Median of what the matched, confirmed tracks were wrong by along an axis; 0 if it may be chance. */
static double common_shift(const em_tracker *t, work *w, int axis)
{
    int32_t n = 0;
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        const track *tr = &t->tracks[k];
        if (tr->det_index >= 0 && tr->state == CONFIRMED) {
            w->value[n++] = w->measured[tr->det_index][axis] - tr->filter.axis[axis].x;
        }
    }
    if (n < MIN_COMMON) {
        return 0.0;
    }
    double shift = em_median(w->value, n);
    for (int32_t i = 0; i < n; ++i) {
        w->deviation[i] = fabs(w->value[i] - shift);
    }
    double error = SD_OF_MAD * em_median(w->deviation, n) / sqrt(n);
    return fabs(shift) < COMMON_SIGMAS * error ? 0.0 : shift;
}

static double typical_size(const em_tracker *t, work *w)
{
    int32_t n = 0;
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        if (t->tracks[k].state == CONFIRMED) {
            w->value[n++] = t->tracks[k].size;
        }
    }
    return n > 0 ? em_median(w->value, n) : 1.0;
}

static void learn_camera_speed(em_tracker *t, work *w, const double shift[2], double dt)
{
    if (dt > 0.0) {
        double length = sqrt(shift[0] * shift[0] + shift[1] * shift[1]);
        double speed = length > 0.0 ? length / typical_size(t, w) / most(dt, 1e-3) : 0.0;
        double share = 1.0 - em_exp_minus(dt / CAMERA_MEMORY_S);
        t->camera_speed += share * (speed - t->camera_speed);
    }
}

/* How fast a camera moves whose motion is told: by the middle of the picture. */
void em_track_told_motion(em_tracker *t, work *w, const em_frame_info *frame, double dt)
{
    const double *a = frame->camera;
    double x = frame->width / 2.0, y = frame->height / 2.0;
    double shift[2] = {a[0] * x + a[1] * y + a[2] - x, a[3] * x + a[4] * y + a[5] - y};
    learn_camera_speed(t, w, shift, dt);
}

/* What all matched tracks were wrong by is the camera's doing: the others moved by it too. */
void em_track_common_motion(em_tracker *t, work *w, double dt)
{
    double shift[2] = {common_shift(t, w, 0), common_shift(t, w, 1)};
    learn_camera_speed(t, w, shift, dt);
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        track *tr = &t->tracks[k];
        if (tr->det_index < 0) {
            tr->filter.axis[0].x += shift[0];
            tr->filter.axis[1].x += shift[1];
        }
    }
}
