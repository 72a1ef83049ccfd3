/* ByteTrack (Zhang et al. 2022, arXiv 2110.06864): every step is one frame, whatever its time. */
#include "edgemtl.h"
#include "neighbours.h"

#include <math.h>
#include <string.h>

#define MAX_PIXELS 1e6f
#define SECOND_LIMIT 0.5 /* largest 1 - IoU of a weak detection and a track, */
#define FRESH_LIMIT 0.7  /* and of a detection and a track that is not confirmed */
#define DUPLICATE 0.15   /* nearer than this (1 - IoU), a tracked and a lost object are one */

/* Bits, so that an association can name several. A fresh track waits for its second detection. */
enum { FRESH = 1, TRACKED = 2, LOST = 4, GONE = 8 };

typedef struct {
    em_frame_kalman filter;
    double box[4]; /* what detections are compared with */
    int64_t id, born, seen; /* frames */
    float score;
    int32_t label, det_index;
    uint8_t state, doubled;
} track;

struct em_bytetrack {
    em_bytetrack_config config;
    track *tracks; /* [capacity], the live ones first, in order of birth */
    int64_t next_id, frame, last_ns, refused;
    int32_t capacity, n_tracks;
};

/* Of detections. */
enum { IGNORED = 0, HIGH = 1, LOW = 2, USED = 3 };

/* Who meets whom, how unlike they may be, and whether the score weighs the overlap. */
typedef struct {
    unsigned states;
    uint8_t kind;
    double limit;
    int fuse;
} association;

/* Working memory of one step. */
typedef struct {
    int32_t *start;        /* [tracks + 1] */
    int32_t *column;       /* [tracks * min(n, EM_MOST_NEIGHBOURS)] */
    double *cost;          /* the same */
    int32_t *partner;      /* [tracks] */
    int32_t *rows;         /* [tracks] track of a row */
    em_neighbours columns; /* [max(n, tracks)] detections of an association, or lost tracks */
    uint8_t *kind;         /* [n] */
    void *assign;
} work;

static size_t align16(size_t bytes) { return (bytes + 15u) & ~(size_t)15u; }

size_t em_bytetrack_size(int32_t capacity)
{
    return align16(sizeof(em_bytetrack)) + (size_t)capacity * sizeof(track);
}

em_bytetrack *em_bytetrack_init(void *memory, const em_bytetrack_config *config, int32_t capacity)
{
    em_bytetrack *t = memory;
    uint8_t *base = (uint8_t *)memory + align16(sizeof(em_bytetrack));
    *t = (em_bytetrack){.config = *config, .capacity = capacity};
    t->tracks = (track *)(void *)base;
    em_bytetrack_reset(t);
    return t;
}

void em_bytetrack_reset(em_bytetrack *t)
{
    t->n_tracks = 0;
    t->next_id = 1;
    t->frame = 0;
    t->refused = 0;
}

int64_t em_bytetrack_refused(const em_bytetrack *t) { return t->refused; }

static size_t lay_out(size_t tracks, size_t n, uint8_t *base, work *w)
{
    size_t pairs = tracks * (n < EM_MOST_NEIGHBOURS ? n : EM_MOST_NEIGHBOURS);
    size_t most = n > tracks ? n : tracks;
    size_t assign = em_assign_scratch((int32_t)tracks, (int32_t)n, (int32_t)pairs);
    size_t sizes[8] = {(tracks + 1) * 4, pairs * 4,  pairs * 8, tracks * 4, tracks * 4,
                       most * sizeof(em_neighbour), n, assign};
    size_t at[9] = {0};
    for (int i = 0; i < 8; ++i) {
        at[i + 1] = at[i] + align16(sizes[i]);
    }
    if (base != NULL) {
        w->start = (int32_t *)(void *)(base + at[0]);
        w->column = (int32_t *)(void *)(base + at[1]);
        w->cost = (double *)(void *)(base + at[2]);
        w->partner = (int32_t *)(void *)(base + at[3]);
        w->rows = (int32_t *)(void *)(base + at[4]);
        w->columns.at = (em_neighbour *)(void *)(base + at[5]);
        w->kind = base + at[6];
        w->assign = base + at[7];
    }
    return at[8];
}

size_t em_bytetrack_scratch(const em_bytetrack *t, int32_t n)
{
    return lay_out((size_t)t->n_tracks, (size_t)n, NULL, NULL);
}

static void measured(const em_rows *d, int32_t i, double out[4])
{
    const float *box = d->boxes + 4 * (size_t)i;
    out[0] = ((double)box[0] + box[2]) / 2;
    out[1] = ((double)box[1] + box[3]) / 2;
    out[3] = (double)box[3] - box[1];
    out[2] = ((double)box[2] - box[0]) / out[3];
}

static void note_detection(track *tr, const em_rows *d, int32_t i, int64_t frame)
{
    tr->score = d->scores[i];
    tr->label = d->labels[i];
    tr->det_index = i;
    tr->seen = frame;
    em_frame_kalman_box(&tr->filter, tr->box);
}

static void predict(em_bytetrack *t)
{
    for (int32_t i = 0; i < t->n_tracks; ++i) {
        track *tr = &t->tracks[i];
        tr->det_index = -1;
        if (tr->state == FRESH) { /* the original looks for these where they were born */
            continue;
        }
        if (tr->state == LOST) {
            tr->filter.axis[3].v = 0.0;
        }
        em_frame_kalman_predict(&tr->filter);
        if (t->config.match_predicted) {
            em_frame_kalman_box(&tr->filter, tr->box);
        }
    }
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

static void sort_out(const em_bytetrack *t, const em_rows *d, uint8_t *kind)
{
    for (int32_t i = 0; i < d->n; ++i) {
        kind[i] = IGNORED;
        if (usable(d, i) && d->scores[i] >= t->config.track_thresh) {
            kind[i] = HIGH;
        } else if (usable(d, i) && d->scores[i] >= t->config.min_score) {
            kind[i] = LOW;
        }
    }
}

static void gather(const em_rows *d, const association *who, work *w)
{
    w->columns.n = 0;
    for (int32_t i = 0; i < d->n; ++i) {
        if (w->kind[i] == who->kind) {
            em_neighbour *c = &w->columns.at[w->columns.n++];
            for (int k = 0; k < 4; ++k) {
                c->box[k] = d->boxes[4 * (size_t)i + (size_t)k];
            }
            c->weight = who->fuse ? d->scores[i] : 1.0;
            c->index = i;
        }
    }
    em_neighbours_sort(&w->columns);
}

/* The original prices each row and column that stays alone at limit / 2. That is the least sum of
 * cost - limit over the pairs, and so is a price of limit for each row. */
static void associate(em_bytetrack *t, const em_rows *d, const association *who, work *w)
{
    int32_t n_rows = 0, n_pairs = 0;
    gather(d, who, w);
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        const track *tr = &t->tracks[k];
        if ((tr->state & who->states) && tr->det_index < 0) {
            w->rows[n_rows] = k;
            w->start[n_rows++] = n_pairs;
            n_pairs += em_neighbours_of(&w->columns, tr->box, who->limit, w->column + n_pairs,
                                        w->cost + n_pairs);
        }
    }
    w->start[n_rows] = n_pairs;
    em_pairs pairs = {w->start, w->column, w->cost, n_rows, w->columns.n};
    em_assign(&pairs, who->limit, w->partner, w->assign);
    for (int32_t r = 0; r < n_rows; ++r) {
        if (w->partner[r] >= 0) {
            int32_t i = w->columns.at[w->partner[r]].index;
            track *tr = &t->tracks[w->rows[r]];
            double m[4];
            measured(d, i, m);
            em_frame_kalman_update(&tr->filter, m);
            tr->state = TRACKED;
            note_detection(tr, d, i, t->frame);
            w->kind[i] = USED;
        }
    }
}

static void end_unseen(em_bytetrack *t)
{
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        track *tr = &t->tracks[k];
        if (tr->det_index >= 0) {
            continue;
        }
        int over = tr->state == FRESH || t->frame - tr->seen > t->config.track_buffer;
        tr->state = over ? GONE : LOST;
    }
}

static void bury(em_bytetrack *t)
{
    int32_t kept = 0;
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        if (t->tracks[k].state != GONE) {
            t->tracks[kept++] = t->tracks[k];
        }
    }
    t->n_tracks = kept;
}

/* Mark the births, as many as there is room for. */
static void admit(em_bytetrack *t, const em_rows *d, uint8_t *kind)
{
    for (int32_t i = 0; i < d->n; ++i) {
        kind[i] = kind[i] == HIGH && d->scores[i] >= t->config.high_thresh;
    }
    t->refused += em_keep_best(d->scores, d->n, t->capacity - t->n_tracks, kind);
}

static void give_birth(em_bytetrack *t, const em_rows *d, const uint8_t *admitted)
{
    for (int32_t i = 0; i < d->n; ++i) {
        if (!admitted[i]) {
            continue;
        }
        track *tr = &t->tracks[t->n_tracks++];
        double m[4];
        measured(d, i, m);
        *tr = (track){.id = t->next_id++, .born = t->frame};
        tr->state = t->frame == 1 ? TRACKED : FRESH;
        em_frame_kalman_start(&tr->filter, m);
        note_detection(tr, d, i, t->frame);
    }
}

static void gather_lost(const em_bytetrack *t, em_neighbours *lost)
{
    lost->n = 0;
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        const track *tr = &t->tracks[k];
        if (tr->state == LOST) {
            em_neighbour *c = &lost->at[lost->n++];
            memcpy(c->box, tr->box, sizeof tr->box);
            c->weight = 1.0;
            c->index = k;
        }
    }
    em_neighbours_sort(lost);
}

/* Of a tracked and a lost object at one place, the one that was followed for longer stays. */
static void drop_doubles(em_bytetrack *t, em_neighbours *lost)
{
    int32_t near[EM_MOST_NEIGHBOURS];
    double cost[EM_MOST_NEIGHBOURS];
    gather_lost(t, lost);
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        track *seen = &t->tracks[k];
        int32_t n = 0;
        if (seen->state != LOST) {
            n = em_neighbours_of(lost, seen->box, DUPLICATE, near, cost);
        }
        for (int32_t i = 0; i < n; ++i) {
            track *other = &t->tracks[lost->at[near[i]].index];
            int longer = seen->seen - seen->born > other->seen - other->born;
            (longer ? other : seen)->doubled = 1;
        }
    }
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        if (t->tracks[k].doubled) {
            t->tracks[k].state = GONE;
        }
    }
}

static int fits_float(const double box[4])
{
    int fits = 1;
    for (int side = 0; side < 4; ++side) {
        fits = fits && fabs(box[side]) <= 2.0 * MAX_PIXELS;
    }
    return fits;
}

static int32_t report(const em_bytetrack *t, const em_tracks_out *out)
{
    int32_t n = 0;
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        const track *tr = &t->tracks[k];
        float *to = out->boxes + 4 * (size_t)n;
        if (tr->state != TRACKED || !fits_float(tr->box)) {
            continue;
        }
        for (int side = 0; side < 4; ++side) {
            to[side] = (float)tr->box[side];
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

int em_bytetrack_step(em_bytetrack *t, const em_rows *d, int64_t pts_ns, const em_tracks_out *out,
                      void *scratch)
{
    const em_bytetrack_config *c = &t->config;
    const association first = {TRACKED | LOST, HIGH, c->match_thresh, c->fuse_score};
    const association second = {TRACKED, LOW, SECOND_LIMIT, 0};
    const association fresh = {FRESH, HIGH, FRESH_LIMIT, c->fuse_score};
    work w = {0};
    if (t->frame > 0 && pts_ns < t->last_ns) {
        return EM_ETIME;
    }
    lay_out((size_t)t->n_tracks, (size_t)d->n, scratch, &w);
    t->last_ns = pts_ns;
    ++t->frame;
    predict(t);
    sort_out(t, d, w.kind);
    associate(t, d, &first, &w);
    associate(t, d, &second, &w);
    associate(t, d, &fresh, &w);
    end_unseen(t);
    bury(t);
    admit(t, d, w.kind);
    give_birth(t, d, w.kind);
    drop_doubles(t, &w.columns);
    bury(t);
    return report(t, out);
}
