/* One tracker step: predict, two associations, update, births and deaths. */
#include "edgemtl.h"

#include <math.h>
#include <string.h>

#define MAX_PIXELS 1e6f
#define MIN_COMMON 4          /* matched tracks before a common shift is believed */
#define LOST_SPEED_S 0.8      /* an unseen object's speed fades with this time constant */
#define GATE_SIGMAS 2.0       /* the distance gate widens with the filter's own doubt ... */
#define GATE_MOST 3.0         /* ... up to this many times */
#define SECOND_STAGE_S 1.0    /* weak detections continue tracks that were seen this recently */
#define EMBEDDING_KEEP 0.9f   /* share of the old appearance in each update */
#define CLASS_MEMORY 10.0f    /* sum of scores beyond which a class is not surer */

typedef enum { TENTATIVE, CONFIRMED } status;

typedef struct {
    em_kalman filter;
    int64_t id, seen_ns;
    float evidence;  /* sum of scores so far */
    float score, label_weight;
    int32_t label, det_index;
    uint8_t state, has_embedding;
} track;

struct em_tracker {
    em_tracker_config config;
    em_kalman_noise noise;
    track *tracks;     /* [capacity], the live ones first, in order of birth */
    float *embeddings; /* [capacity][dim] */
    int64_t next_id, last_ns, refused;
    int32_t capacity, dim, n_tracks;
    uint8_t started;
};

/* Working memory of one step. */
typedef struct {
    int32_t *start;       /* [tracks + 1] */
    int32_t *column;      /* [tracks * n] */
    double *cost;         /* [tracks * n] */
    int32_t *partner;     /* [tracks] */
    int32_t *rows;        /* [tracks] track of a row */
    int32_t *columns;     /* [n] detection of a column */
    uint8_t *kind;        /* [n] */
    double *residual;     /* [tracks] */
    void *assign;
} work;

enum { IGNORED = 0, STRONG = 1, WEAK = 2, USED = 3 };

static size_t align16(size_t bytes) { return (bytes + 15u) & ~(size_t)15u; }

size_t em_tracker_size(int32_t capacity, int32_t dim)
{
    return align16(sizeof(em_tracker)) + align16((size_t)capacity * sizeof(track)) +
           align16((size_t)capacity * (size_t)dim * sizeof(float));
}

em_tracker *em_tracker_init(void *memory, const em_tracker_config *config, int32_t capacity,
                            int32_t dim)
{
    em_tracker *t = memory;
    uint8_t *base = (uint8_t *)memory + align16(sizeof(em_tracker));
    *t = (em_tracker){.config = *config, .capacity = capacity, .dim = dim};
    t->noise = (em_kalman_noise){.position = config->position_noise,
                                 .acceleration = config->acceleration_noise,
                                 .initial_speed = config->initial_speed,
                                 .shape = config->shape_noise};
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
}

int64_t em_tracker_refused(const em_tracker *t) { return t->refused; }

static size_t lay_out(size_t tracks, size_t n, uint8_t *base, work *w)
{
    size_t pairs = tracks * n;
    size_t assign = em_assign_scratch((int32_t)tracks, (int32_t)n, (int32_t)pairs);
    size_t sizes[9] = {(tracks + 1) * 4, pairs * 4, pairs * 8, tracks * 4, tracks * 4,
                       n * 4,            n,         tracks * 8, assign};
    size_t at[10] = {0};
    for (int i = 0; i < 9; ++i) {
        at[i + 1] = at[i] + align16(sizes[i]);
    }
    if (base != NULL) {
        w->start = (int32_t *)(void *)(base + at[0]);
        w->column = (int32_t *)(void *)(base + at[1]);
        w->cost = (double *)(void *)(base + at[2]);
        w->partner = (int32_t *)(void *)(base + at[3]);
        w->rows = (int32_t *)(void *)(base + at[4]);
        w->columns = (int32_t *)(void *)(base + at[5]);
        w->kind = base + at[6];
        w->residual = (double *)(void *)(base + at[7]);
        w->assign = base + at[8];
    }
    return at[9];
}

size_t em_tracker_scratch(const em_tracker *t, int32_t n)
{
    return lay_out((size_t)t->n_tracks, (size_t)n, NULL, NULL);
}

/* Seconds between two stamps in order, however far apart they are. */
static double seconds(int64_t from, int64_t to)
{
    return (double)((uint64_t)to - (uint64_t)from) * 1e-9;
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

static void sort_out(const em_tracker *t, const em_rows *d, uint8_t *kind)
{
    for (int32_t i = 0; i < d->n; ++i) {
        kind[i] = IGNORED;
        if (usable(d, i) && d->scores[i] >= t->config.min_score) {
            kind[i] = d->scores[i] >= t->config.split_score ? STRONG : WEAK;
        }
    }
}

static void measured(const em_rows *d, int32_t i, double out[4])
{
    const float *box = d->boxes + 4 * (size_t)i;
    out[0] = ((double)box[0] + box[2]) / 2.0;
    out[1] = ((double)box[1] + box[3]) / 2.0;
    out[2] = (double)box[2] - box[0];
    out[3] = (double)box[3] - box[1];
}

/* Low scores come with loose boxes. */
static double trust_of(float score) { return fmin(fmax(1.7 - score, 0.7), 1.7); }

static double overlap(const em_kalman *f, const double m[4])
{
    double box[4];
    em_kalman_box(f, box);
    double w = fmin(box[2], m[0] + m[2] / 2) - fmax(box[0], m[0] - m[2] / 2);
    double h = fmin(box[3], m[1] + m[3] / 2) - fmax(box[1], m[1] - m[3] / 2);
    if (w <= 0.0 || h <= 0.0) {
        return 0.0;
    }
    double both = w * h;
    return both / ((box[2] - box[0]) * (box[3] - box[1]) + m[2] * m[3] - both);
}

/* 1 - cosine, or a negative number where either appearance is unknown. */
static double unlikeness(const em_tracker *t, int32_t track_index, const em_rows *d, int32_t i)
{
    if (t->dim == 0 || d->embeddings == NULL || !t->tracks[track_index].has_embedding) {
        return -1.0;
    }
    const float *a = t->embeddings + (size_t)track_index * (size_t)t->dim;
    const float *b = d->embeddings + (size_t)i * (size_t)t->dim;
    double dot = 0.0, norm = 0.0;
    for (int32_t k = 0; k < t->dim; ++k) {
        dot += (double)a[k] * b[k];
        norm += (double)b[k] * b[k];
    }
    if (!(norm > 0.25 && isfinite(norm))) {
        return -1.0; /* em_decode writes zeros for "unknown" */
    }
    return fmin(fmax(1.0 - dot / sqrt(norm), 0.0), 2.0);
}

/* Cost of a pair in the first association, or INFINITY where a gate refuses it. */
static double pair_cost(const em_tracker *t, int32_t k, const em_rows *d, int32_t i)
{
    const em_tracker_config *c = &t->config;
    const track *tr = &t->tracks[k];
    double m[4];
    measured(d, i, m);
    double w = tr->filter.axis[2].x, h = tr->filter.axis[3].x;
    double ratio = h < m[3] ? h / m[3] : m[3] / h;
    if (ratio < c->min_height_ratio) {
        return INFINITY;
    }
    double size = sqrt(fmax(w * h, 1.0));
    double dx = m[0] - tr->filter.axis[0].x, dy = m[1] - tr->filter.axis[1].x;
    double distance = sqrt(dx * dx + dy * dy) / size;
    double doubt = sqrt(fmax(tr->filter.axis[0].pxx, tr->filter.axis[1].pxx)) / size;
    double gate = fmin(c->max_distance + GATE_SIGMAS * doubt, GATE_MOST * c->max_distance);
    if (distance > gate) {
        return INFINITY;
    }
    double cost = c->iou_weight * (1.0 - overlap(&tr->filter, m)) +
                  (1.0 - c->iou_weight) * distance / gate;
    if (tr->label != d->labels[i]) {
        cost += c->class_penalty;
    }
    double unlike = unlikeness(t, k, d, i);
    if (unlike >= 0.0) {
        cost = (1.0 - c->appearance_weight) * cost + c->appearance_weight * unlike;
    }
    return cost;
}

static double weak_cost(const em_tracker *t, int32_t k, const em_rows *d, int32_t i)
{
    double m[4];
    measured(d, i, m);
    double cost = 1.0 - overlap(&t->tracks[k].filter, m);
    return t->tracks[k].label == d->labels[i] ? cost : cost + t->config.class_penalty;
}

static void learn_appearance(em_tracker *t, int32_t k, const em_rows *d, int32_t i)
{
    if (t->dim == 0 || d->embeddings == NULL) {
        return;
    }
    track *tr = &t->tracks[k];
    float *mine = t->embeddings + (size_t)k * (size_t)t->dim;
    const float *seen = d->embeddings + (size_t)i * (size_t)t->dim;
    /* A doubtful detection, often half hidden, teaches less. */
    float keep = tr->has_embedding ? 1.0f - (1.0f - EMBEDDING_KEEP) * fminf(d->scores[i], 1.0f)
                                   : 0.0f;
    float norm = 0.0f, known = 0.0f;
    for (int32_t j = 0; j < t->dim; ++j) {
        known += seen[j] * seen[j];
    }
    if (!(known > 0.25f && isfinite(known))) {
        return;
    }
    for (int32_t j = 0; j < t->dim; ++j) {
        float old = tr->has_embedding ? mine[j] : 0.0f; /* what lies there may be another's */
        mine[j] = keep * old + (1.0f - keep) * seen[j];
        norm += mine[j] * mine[j];
    }
    norm = sqrtf(norm) > 1e-6f ? 1.0f / sqrtf(norm) : 0.0f;
    for (int32_t j = 0; j < t->dim; ++j) {
        mine[j] *= norm;
    }
    tr->has_embedding = norm > 0.0f;
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

static void update(em_tracker *t, int32_t k, const em_rows *d, int32_t i, int64_t now)
{
    track *tr = &t->tracks[k];
    double m[4];
    measured(d, i, m);
    em_kalman_update(&tr->filter, m, &t->noise, trust_of(d->scores[i]));
    vote(tr, d->labels[i], d->scores[i]);
    learn_appearance(t, k, d, i);
    tr->evidence = fminf(tr->evidence + d->scores[i], MAX_PIXELS);
    tr->score = d->scores[i];
    tr->det_index = i;
    tr->seen_ns = now;
    confirm_if_sure(t, tr);
}

/* Build the pairs of unmatched tracks and detections of a kind, solve, and note the partners.
 * w->partner[k]: detection of track k, -1 if none. */
static void associate(em_tracker *t, const em_rows *d, uint8_t kind, int64_t now, work *w)
{
    int32_t n_rows = 0, n_columns = 0, n_pairs = 0;
    double limit = kind == STRONG ? t->config.max_cost : t->config.max_cost_second;
    for (int32_t i = 0; i < d->n; ++i) {
        if (w->kind[i] == kind) {
            w->columns[n_columns++] = i;
        }
    }
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        const track *tr = &t->tracks[k];
        double unseen = seconds(tr->seen_ns, now);
        if (tr->det_index >= 0 || (kind == WEAK && unseen > SECOND_STAGE_S)) {
            continue;
        }
        w->rows[n_rows] = k;
        w->start[n_rows++] = n_pairs;
        for (int32_t j = 0; j < n_columns; ++j) {
            int32_t i = w->columns[j];
            double cost = kind == STRONG ? pair_cost(t, k, d, i) : weak_cost(t, k, d, i);
            if (cost <= limit) {
                w->column[n_pairs] = j;
                w->cost[n_pairs++] = cost;
            }
        }
    }
    w->start[n_rows] = n_pairs;
    em_pairs pairs = {w->start, w->column, w->cost, n_rows, n_columns};
    em_assign(&pairs, limit, w->partner, w->assign);
    for (int32_t r = 0; r < n_rows; ++r) {
        if (w->partner[r] >= 0) {
            int32_t i = w->columns[w->partner[r]];
            t->tracks[w->rows[r]].det_index = i;
            w->kind[i] = USED;
        }
    }
}

static double median(double *values, int32_t n)
{
    for (int32_t i = 1; i < n; ++i) { /* n is the number of tracks in a frame: small */
        double v = values[i];
        int32_t j = i;
        for (; j > 0 && values[j - 1] > v; --j) {
            values[j] = values[j - 1];
        }
        values[j] = v;
    }
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2.0;
}

/* What all matched tracks were wrong by is the camera's doing: the others moved by it too. */
static void correct_common_motion(em_tracker *t, const em_rows *d, work *w)
{
    for (int axis = 0; axis < 2; ++axis) {
        int32_t n = 0;
        for (int32_t k = 0; k < t->n_tracks; ++k) {
            if (t->tracks[k].det_index >= 0 && t->tracks[k].state == CONFIRMED) {
                double m[4];
                measured(d, t->tracks[k].det_index, m);
                w->residual[n++] = m[axis] - t->tracks[k].filter.axis[axis].x;
            }
        }
        if (n < MIN_COMMON) {
            return;
        }
        double shift = median(w->residual, n);
        for (int32_t k = 0; k < t->n_tracks; ++k) {
            if (t->tracks[k].det_index < 0) {
                t->tracks[k].filter.axis[axis].x += shift;
            }
        }
    }
}

static void predict(em_tracker *t, int64_t now)
{
    double dt = t->started ? seconds(t->last_ns, now) : 0.0;
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        track *tr = &t->tracks[k];
        if (tr->seen_ns < t->last_ns) { /* unseen in the last frame already */
            double fade = exp(-dt / LOST_SPEED_S);
            for (int axis = 0; axis < 4; ++axis) {
                tr->filter.axis[axis].v *= axis < 2 ? fade : 0.0;
            }
        }
        em_kalman_predict(&tr->filter, dt, &t->noise);
        tr->det_index = -1;
    }
}

static int left_the_picture(const track *tr, const em_frame_info *frame)
{
    double x = tr->filter.axis[0].x, y = tr->filter.axis[1].x;
    return x < 0.0 || y < 0.0 || x > frame->width || y > frame->height;
}

static int is_over(const em_tracker *t, const track *tr, const em_frame_info *frame)
{
    double unseen = seconds(tr->seen_ns, frame->pts_ns);
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
    return seconds(tr->seen_ns, frame->pts_ns) > fmax(t->config.lost_s, t->config.tentative_s);
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

static int wants_birth(const em_tracker *t, const em_rows *d, const uint8_t *kind, int32_t i)
{
    return (kind[i] == STRONG || kind[i] == WEAK) && d->scores[i] >= t->config.birth_score;
}

static int32_t births_from(const em_tracker *t, const em_rows *d, const uint8_t *kind, float score)
{
    int32_t n = 0;
    for (int32_t i = 0; i < d->n; ++i) {
        n += wants_birth(t, d, kind, i) && d->scores[i] >= score;
    }
    return n;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Which births a tracker has room for. */
typedef struct {
    float all_from; /* every score from here on, */
    float some_at;  /* and of this score, the next lower one, */
    int32_t some;   /* the first few */
} admission;

/* Bisects over floats from 0, whose bits are in the order of their values. */
static admission admit(const em_tracker *t, const em_rows *d, const uint8_t *kind)
{
    int32_t room = t->capacity - t->n_tracks;
    uint32_t low = 0, high = 0x7f800000u; /* 0 and infinity */
    if (births_from(t, d, kind, 0.0f) <= room) {
        return (admission){.all_from = 0.0f};
    }
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (births_from(t, d, kind, float_of(middle)) <= room) {
            high = middle;
        } else {
            low = middle;
        }
    }
    float all_from = float_of(high);
    return (admission){all_from, float_of(low), room - births_from(t, d, kind, all_from)};
}

static void give_birth(em_tracker *t, const em_rows *d, int64_t now, const uint8_t *kind)
{
    admission admitted = admit(t, d, kind);
    for (int32_t i = 0; i < d->n; ++i) {
        if (!wants_birth(t, d, kind, i)) {
            continue;
        }
        if (d->scores[i] < admitted.all_from &&
            !(d->scores[i] == admitted.some_at && admitted.some-- > 0)) {
            ++t->refused;
            continue;
        }
        int32_t k = t->n_tracks++;
        track *tr = &t->tracks[k];
        double m[4];
        measured(d, i, m);
        *tr = (track){.seen_ns = now, .det_index = i, .state = TENTATIVE};
        tr->label = d->labels[i];
        tr->evidence = tr->score = tr->label_weight = d->scores[i];
        em_kalman_start(&tr->filter, m, &t->noise, trust_of(d->scores[i]));
        learn_appearance(t, k, d, i);
        confirm_if_sure(t, tr);
    }
}

static int32_t report(const em_tracker *t, const em_frame_info *frame, const em_tracks_out *out)
{
    int32_t n = 0;
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        const track *tr = &t->tracks[k];
        double unseen = seconds(tr->seen_ns, frame->pts_ns);
        if (tr->state != CONFIRMED || (tr->det_index < 0 && unseen > t->config.coast_s)) {
            continue;
        }
        double box[4];
        em_kalman_box(&tr->filter, box);
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
    lay_out((size_t)t->n_tracks, (size_t)d->n, scratch, &w);
    /* After a gap in the stream nobody continues an identity whose time is over. */
    bury(t, frame, is_forgotten);
    predict(t, frame->pts_ns);
    sort_out(t, d, w.kind);
    associate(t, d, STRONG, frame->pts_ns, &w);
    correct_common_motion(t, d, &w);
    associate(t, d, WEAK, frame->pts_ns, &w);
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        if (t->tracks[k].det_index >= 0) {
            update(t, k, d, t->tracks[k].det_index, frame->pts_ns);
        }
    }
    bury(t, frame, is_over);
    give_birth(t, d, frame->pts_ns, w.kind);
    t->last_ns = frame->pts_ns;
    t->started = 1;
    return report(t, frame, out);
}
