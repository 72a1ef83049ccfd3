/* One tracker step: predict, two associations, update, births and deaths. */
#include "tracker.h"

#include <math.h>
#include <string.h>

#define MAX_PIXELS 1e6f
#define HEIGHT_NOISE 1.5     /* in sizes a tall object's height is measured worse than its width */
#define CLASS_MEMORY 10.0f   /* sum of scores beyond which a class is not surer */
#define MOST_HITS 10000      /* counted before half of them are forgotten */
#define SURE 0.985           /* odds beyond are not told apart */
#define COAST_CAMERA 1.5     /* a moving camera, sizes / s, shortens what is shown unseen */

static size_t align16(size_t bytes) { return (bytes + 15u) & ~(size_t)15u; }

#define SCORES_SIZE align16((EM_TRACKER_CLASSES + 1) * sizeof(score_mean))

size_t em_tracker_size(int32_t capacity, int32_t dim)
{
    return align16(sizeof(em_tracker)) + SCORES_SIZE + align16((size_t)capacity * sizeof(track)) +
           align16((size_t)capacity * (size_t)dim * sizeof(float));
}

em_tracker *em_tracker_init(void *memory, const em_tracker_config *config, int32_t capacity,
                            int32_t dim)
{
    em_tracker *t = memory;
    uint8_t *base = (uint8_t *)memory + align16(sizeof(em_tracker));
    *t = (em_tracker){.config = *config, .capacity = capacity, .dim = dim};
    t->noise = (em_kalman_noise){.position = config->position_noise,
                                 .width = config->size_noise,
                                 .height = HEIGHT_NOISE * config->size_noise,
                                 .acceleration = config->acceleration_noise,
                                 .initial_speed = config->initial_speed,
                                 .shape = config->shape_noise};
    t->scores = (score_mean *)(void *)base;
    base += SCORES_SIZE;
    t->tracks = (track *)(void *)base;
    t->embeddings = (float *)(void *)(base + align16((size_t)capacity * sizeof(track)));
    em_tracker_reset(t);
    return t;
}

void em_tracker_reset(em_tracker *t)
{
    t->n_tracks = 0;
    t->next_id = 1;
    t->started = 0;
    t->refused = 0;
    t->camera_speed = 0.0;
    t->n_scores = 0;
    for (int32_t k = 0; k <= EM_TRACKER_CLASSES; ++k) {
        t->scores[k] = (score_mean){0.0, 0.0};
    }
}

int64_t em_tracker_refused(const em_tracker *t) { return t->refused; }

static size_t lay_out(size_t tracks, size_t n, uint8_t *base, work *w)
{
    size_t per_track = n < MAX_PAIRS ? n : MAX_PAIRS, pairs = tracks * per_track;
    size_t assign = em_assign_scratch((int32_t)tracks, (int32_t)n, (int32_t)pairs);
    size_t sizes[16] = {n * 32,     pairs * 8,  pairs * 8,  n * 16,      tracks * 8, tracks * 8,
                        tracks * 4 + 4, pairs * 4, tracks * 4, tracks * 4, n * 4,     n * 4,
                        n,          (2 * n + 2) * 4, n * 4, assign};
    size_t at[17] = {0};
    for (int i = 0; i < 16; ++i) {
        at[i + 1] = at[i] + align16(sizes[i]);
    }
    if (base != NULL) {
        w->measured = (double(*)[4])(void *)(base + at[0]);
        w->cost = (double *)(void *)(base + at[1]);
        w->unlike = (double *)(void *)(base + at[2]);
        w->nearest = (double *)(void *)(base + at[3]);
        w->value = (double *)(void *)(base + at[4]);
        w->deviation = (double *)(void *)(base + at[5]);
        w->start = (int32_t *)(void *)(base + at[6]);
        w->column = (int32_t *)(void *)(base + at[7]);
        w->partner = (int32_t *)(void *)(base + at[8]);
        w->rows = (int32_t *)(void *)(base + at[9]);
        w->columns = (int32_t *)(void *)(base + at[10]);
        w->column_cell = (int32_t *)(void *)(base + at[11]);
        w->kind = base + at[12];
        w->cells.first = (int32_t *)(void *)(base + at[13]);
        w->cells.item = (int32_t *)(void *)(base + at[14]);
        w->assign = base + at[15];
        w->per_track = (int32_t)per_track;
    }
    return at[16];
}

size_t em_tracker_scratch(const em_tracker *t, int32_t n)
{
    return lay_out((size_t)t->n_tracks, (size_t)n, NULL, NULL);
}

static int usable(const em_rows *d, int32_t i)
{
    const float *box = d->boxes + 4 * (size_t)i;
    for (int k = 0; k < 4; ++k) {
        if (!(fabsf(box[k]) <= MAX_PIXELS)) {
            return 0;
        }
    }
    return box[2] > box[0] && box[3] > box[1] && isfinite(d->scores[i]);
}

static void measure(const em_rows *d, int32_t i, double out[4])
{
    const float *box = d->boxes + 4 * (size_t)i;
    out[0] = ((double)box[0] + box[2]) / 2.0;
    out[1] = ((double)box[1] + box[3]) / 2.0;
    out[2] = (double)box[2] - box[0];
    out[3] = (double)box[3] - box[1];
}

static void take_usable(const em_tracker *t, const em_rows *d, work *w)
{
    for (int32_t i = 0; i < d->n; ++i) {
        w->kind[i] = IGNORED;
        if (usable(d, i) && d->scores[i] >= t->config.min_score) {
            w->kind[i] = WEAK;
            measure(d, i, w->measured[i]);
        }
    }
}

static void pick_strong(const em_tracker *t, const em_rows *d, work *w)
{
    for (int32_t i = 0; i < d->n; ++i) {
        if (w->kind[i] == WEAK &&
            d->scores[i] >= t->config.strong_score * em_score_scale(t, d->labels[i])) {
            w->kind[i] = STRONG;
        }
    }
}

/* The class of a track is the one with the most score behind it (a running majority vote). */
static void vote(track *tr, int32_t label, float score)
{
    if (label == tr->label) {
        tr->label_weight = fminf(tr->label_weight + score, CLASS_MEMORY);
        return;
    }
    tr->label_weight -= score;
    if (tr->label_weight < 0.0f) {
        tr->label = label;
        tr->label_weight = -tr->label_weight;
    }
}

static void confirm_if_sure(em_tracker *t, track *tr)
{
    if (tr->state == TENTATIVE && tr->evidence >= t->config.confirm_score) {
        tr->state = CONFIRMED;
        tr->id = t->next_id++;
    }
}

/* What a detection tells of an object beyond its place. */
static void witness(em_tracker *t, int32_t k, const em_rows *d, int32_t i, const double m[4],
                    int64_t now)
{
    track *tr = &t->tracks[k];
    em_learn_appearance(t, k, d, i);
    /* A share: alike for all classes, whichever of them the votes will settle on. */
    float share = d->scores[i] / (float)em_score_scale(t, d->labels[i]);
    tr->evidence = fminf(tr->evidence + share, MAX_PIXELS);
    if (++tr->hits >= MOST_HITS) { /* the mean of the scores stays */
        tr->hits /= 2;
        tr->evidence /= 2.0f;
    }
    tr->score = d->scores[i];
    tr->det_index = i;
    tr->seen_ns = now;
    tr->seen_x = m[0];
    tr->seen_y = m[1];
    confirm_if_sure(t, tr);
}

static void update(em_tracker *t, int32_t k, const em_rows *d, const work *w, int64_t now)
{
    track *tr = &t->tracks[k];
    int32_t i = tr->det_index;
    em_kalman_update(&tr->filter, w->measured[i], &t->noise, em_trust(t, d, i));
    vote(tr, d->labels[i], d->scores[i]);
    witness(t, k, d, i, w->measured[i], now);
}

static int left_the_picture(const track *tr, const em_frame_info *frame)
{
    double x = tr->filter.axis[0].x, y = tr->filter.axis[1].x;
    return x < 0.0 || y < 0.0 || x > frame->width || y > frame->height;
}

static int is_over(const em_tracker *t, const track *tr, const em_frame_info *frame)
{
    double unseen = em_seconds(tr->seen_ns, frame->pts_ns);
    if (unseen <= 0.0) {
        return 0;
    }
    if (tr->state == TENTATIVE) {
        return unseen > t->config.tentative_s;
    }
    return unseen > t->config.lost_s * (left_the_picture(tr, frame) ? 0.5 : 1.0);
}

static int is_forgotten(const em_tracker *t, const track *tr, const em_frame_info *frame)
{
    return em_seconds(tr->seen_ns, frame->pts_ns) > fmax(t->config.lost_s, t->config.tentative_s);
}

static void bury(em_tracker *t, const em_frame_info *frame,
                 int (*gone)(const em_tracker *, const track *, const em_frame_info *))
{
    int32_t kept = 0;
    size_t dim = (size_t)t->dim;
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        if (gone(t, &t->tracks[k], frame)) {
            continue;
        }
        if (kept != k) {
            t->tracks[kept] = t->tracks[k];
            memcpy(t->embeddings + (size_t)kept * dim, t->embeddings + (size_t)k * dim,
                   dim * sizeof(float));
        }
        ++kept;
    }
    t->n_tracks = kept;
}

static void give_birth(em_tracker *t, const em_rows *d, work *w, int64_t now)
{
    uint8_t *born = w->kind;
    for (int32_t i = 0; i < d->n; ++i) {
        born[i] = (w->kind[i] == STRONG || w->kind[i] == WEAK) && d->scores[i] >= 0.0f &&
                  d->scores[i] >= t->config.birth_score * em_score_scale(t, d->labels[i]);
    }
    t->refused += em_keep_best(d->scores, d->n, t->capacity - t->n_tracks, born);
    for (int32_t i = 0; i < d->n; ++i) {
        if (born[i]) {
            int32_t k = t->n_tracks++;
            track *tr = &t->tracks[k];
            *tr = (track){.state = TENTATIVE, .label = d->labels[i], .label_weight = d->scores[i]};
            em_kalman_start(&tr->filter, w->measured[i], &t->noise, em_trust(t, d, i));
            witness(t, k, d, i, w->measured[i], now);
        }
    }
}

static double odds(double p) { return p / (1.0 - p); }

/* A track of nothing but doubtful detections is followed, not shown. */
static int is_credible(const em_tracker *t, const track *tr)
{
    double scale = em_score_scale(t, tr->label), mean = (double)tr->evidence / tr->hits * scale;
    return odds(fmin(mean, 0.995)) * t->config.show_odds >= odds(fmin(scale, SURE));
}

/* Unseen, it may be behind something for a moment; at the border it has left. */
static int may_coast(const em_tracker *t, const track *tr, const double box[4],
                     const em_frame_info *frame)
{
    double unseen = em_seconds(tr->seen_ns, frame->pts_ns);
    double longest = t->config.coast_s / (1.0 + COAST_CAMERA * t->camera_speed);
    return unseen <= longest && box[0] > 0.0 && box[1] > 0.0 && box[2] < frame->width &&
           box[3] < frame->height;
}

static int32_t report(const em_tracker *t, const em_frame_info *frame, const em_tracks_out *out)
{
    int32_t n = 0;
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        const track *tr = &t->tracks[k];
        if (tr->state != CONFIRMED || !is_credible(t, tr)) {
            continue;
        }
        double box[4];
        em_kalman_box(&tr->filter, box);
        if (tr->det_index < 0 && !may_coast(t, tr, box, frame)) {
            continue;
        }
        float *to = out->boxes + 4 * (size_t)n;
        for (int side = 0; side < 4; ++side) {
            double most = side % 2 ? frame->height : frame->width;
            to[side] = (float)fmin(fmax(box[side], 0.0), most);
        }
        if (!(to[2] > to[0] && to[3] > to[1])) {
            continue;
        }
        out->ids[n] = tr->id;
        out->scores[n] = tr->score;
        out->labels[n] = tr->label;
        out->det_index[n++] = tr->det_index;
    }
    return n;
}

int em_tracker_step(em_tracker *t, const em_rows *d, const em_frame_info *frame,
                    const em_tracks_out *out, void *scratch)
{
    work w = {0};
    if (t->started && frame->pts_ns < t->last_ns) {
        return EM_ETIME;
    }
    double dt = t->started ? em_seconds(t->last_ns, frame->pts_ns) : 0.0;
    lay_out((size_t)t->n_tracks, (size_t)d->n, scratch, &w);
    /* After a gap in the stream nobody continues an identity whose time is over. */
    bury(t, frame, is_forgotten);
    take_usable(t, d, &w);
    em_track_scores(t, d, &w, dt);
    pick_strong(t, d, &w);
    em_track_predict(t, frame, dt);
    em_associate(t, d, STRONG, frame->pts_ns, &w);
    if (frame->camera != NULL) {
        em_track_told_motion(t, &w, frame, dt);
    } else if (t->config.camera_motion > 0.0f) {
        em_track_common_motion(t, &w, dt);
    }
    em_associate(t, d, WEAK, frame->pts_ns, &w);
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        if (t->tracks[k].det_index >= 0) {
            update(t, k, d, &w, frame->pts_ns);
        }
    }
    bury(t, frame, is_over);
    give_birth(t, d, &w, frame->pts_ns);
    t->last_ns = frame->pts_ns;
    t->started = 1;
    return report(t, frame, out);
}
