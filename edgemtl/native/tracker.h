/* The tracker's insides, shared by tracker*.c; not part of the public interface. */
#ifndef EDGEMTL_TRACKER_H
#define EDGEMTL_TRACKER_H

#include "edgemtl.h"

/* The most candidates that a track keeps in an association: its cheapest. */
#define MAX_PAIRS 32

typedef enum { TENTATIVE, CONFIRMED } status;

/* What a detection is to this frame. */
enum { IGNORED = 0, STRONG = 1, WEAK = 2, USED = 3 };

typedef struct {
    em_kalman filter;
    double seen_x, seen_y;   /* centre measured last */
    double size, doubt;      /* of this frame's prediction: root of the area; sd of the centre, px */
    double spread;           /* log-volume of its uncertainty, in sizes */
    int64_t id, seen_ns;
    float evidence;          /* sum of the scores of these hits, each a share of its label's scale */
    float score, label_weight;
    int32_t hits;            /* detections so far; of very many, the later half */
    int32_t label, det_index;
    uint8_t state, has_embedding;
} track;

/* What the scores of one class, or of all classes without a place of their own, add up to. */
typedef struct {
    double sum, weight;
} score_mean;

struct em_tracker {
    em_tracker_config config;
    em_kalman_noise noise;
    track *tracks;     /* [capacity], the live ones first, in order of birth */
    float *embeddings; /* [capacity][dim] */
    score_mean *scores; /* [EM_TRACKER_CLASSES + 1]: of the classes without one, then of label 0 ... */
    int64_t next_id, last_ns, refused;
    double camera_speed;          /* common motion of late, sizes / s */
    int32_t capacity, dim, n_tracks;
    int32_t n_scores;             /* entries of `scores` from the first that may not be zero */
    uint8_t started;
};

/* A uniform grid over the centres of the detections of one association. */
typedef struct {
    int32_t *first; /* [nx * ny + 1] */
    int32_t *item;  /* [columns] */
    double left, top, cell;
    int32_t nx, ny;
} grid;

/* Working memory of one step. */
typedef struct {
    double (*measured)[4]; /* [n] centre x, centre y, width, height */
    double *cost;          /* [tracks * per_track] */
    double *unlike;        /* [tracks * per_track] 1 - cosine, -1 where unknown */
    double *nearest;       /* [n][2] the two smallest of a detection's `unlike` */
    double *value;         /* [tracks] for medians */
    double *deviation;     /* [tracks] */
    int32_t *start;        /* [tracks + 1] */
    int32_t *column;       /* [tracks * per_track] */
    int32_t *partner;      /* [tracks] */
    int32_t *rows;         /* [tracks] track of a row */
    int32_t *columns;      /* [n] detection of a column */
    int32_t *column_cell;  /* [n] */
    uint8_t *kind;         /* [n] */
    grid cells;
    void *assign;
    int32_t per_track;     /* room for pairs of one track */
} work;

/* Seconds between two stamps in order, however far apart they are. */
static inline double em_seconds(int64_t from, int64_t to)
{
    return (double)((uint64_t)to - (uint64_t)from) * 1e-9;
}

/* numeric.c: the same last bit on every machine, which libm does not promise. */
double em_exp_minus(double x);         /* e^-x for x >= 0, within 1e-9 */
double em_log(double x);               /* of a finite x > 0, within 1e-9 */
double em_median(double *values, int32_t n); /* n >= 1; reorders */

/* tracker_motion.c */
void em_track_scores(em_tracker *t, const em_rows *d, const work *w, double dt);
double em_score_scale(const em_tracker *t, int32_t label); /* what a clear object of it is given */
void em_track_predict(em_tracker *t, const em_frame_info *frame, double dt);
void em_track_common_motion(em_tracker *t, work *w, double dt);
void em_track_told_motion(em_tracker *t, work *w, const em_frame_info *frame, double dt);

/* tracker_cost.c */
double em_trust(const em_tracker *t, const em_rows *d, int32_t i);
double em_strong_reach(const em_tracker *t, const track *tr); /* px between the centres */
double em_strong_cost(const em_tracker *t, const track *tr, const double m[4], int32_t label);
double em_weak_cost(const em_tracker *t, const track *tr, const double m[4], int32_t label);
double em_unlikeness(const em_tracker *t, int32_t k, const em_rows *d, int32_t i);
void em_learn_appearance(em_tracker *t, int32_t k, const em_rows *d, int32_t i);

/* tracker_pairs.c */
void em_associate(em_tracker *t, const em_rows *d, uint8_t kind, int64_t now, work *w);

#endif
