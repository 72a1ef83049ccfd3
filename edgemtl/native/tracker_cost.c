/* What it costs to give a detection to a track. */
#include "tracker.h"

#include <math.h>

#define GATE_SIGMAS 3.0      /* the distance gate widens with the filter's own doubt ... */
#define GATE_MOST 2.2        /* ... up to this many times */
#define LIKELIHOOD_ZERO 2.0  /* half chi-square at which the likelihood term starts to cost ... */
#define LIKELIHOOD_UNIT 8.0  /* ... and what costs 1 */
#define DIRECTION_HITS 3     /* detections before a track has a direction */
#define DIRECTION_SPEED 0.3  /* sizes / s below which it has none */
#define DIRECTION_WAY 0.1    /* sizes moved below which nobody can tell */
#define EMBEDDING_KEEP 0.9f  /* share of the old appearance in each update */

/* Low scores come with loose boxes. */
double em_trust(const em_tracker *t, const em_rows *d, int32_t i)
{
    return fmin(fmax(1.5 - d->scores[i] / em_score_scale(t, d->labels[i]), 0.45), 1.7);
}

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

static double gate_of(const em_tracker *t, const track *tr)
{
    double widest = t->config.max_distance;
    return fmin(widest + GATE_SIGMAS * tr->doubt / tr->size, GATE_MOST * widest);
}

double em_strong_reach(const em_tracker *t, const track *tr) { return gate_of(t, tr) * tr->size; }

/* - log likelihood of the detection under the filter, in LIKELIHOOD_UNITs. */
static double surprise(const em_tracker *t, const track *tr, const double m[4])
{
    double q = 0.0;
    for (int k = 0; k < 4; ++k) {
        double off = m[k] - tr->filter.axis[k].x;
        double s = tr->filter.axis[k].pxx + em_kalman_measured(&tr->filter, k, &t->noise, 1.0);
        q += s > 0.0 ? off * off / s : 0.0;
    }
    return (0.5 * (q + tr->spread) + LIKELIHOOD_ZERO) / LIKELIHOOD_UNIT;
}

/* 0 for a detection straight ahead to 1 for one behind (OC-SORT's momentum, arXiv 2203.14360,
 * section 4.2, as (1 - cosine) / 2). */
static double turn(const track *tr, const double m[4])
{
    double vx = tr->filter.axis[0].v, vy = tr->filter.axis[1].v;
    double dx = m[0] - tr->seen_x, dy = m[1] - tr->seen_y;
    double speed = sqrt(vx * vx + vy * vy), way = sqrt(dx * dx + dy * dy);
    if (tr->hits < DIRECTION_HITS || speed <= DIRECTION_SPEED * tr->size ||
        way <= DIRECTION_WAY * tr->size) {
        return 0.0;
    }
    return (1.0 - (vx * dx + vy * dy) / (speed * way)) / 2.0;
}

/* Cost of a pair in the first association, or INFINITY where a gate refuses it. */
double em_strong_cost(const em_tracker *t, const track *tr, const double m[4], int32_t label)
{
    const em_tracker_config *c = &t->config;
    const em_axis *axis = tr->filter.axis;
    double ratio = axis[3].x < m[3] ? axis[3].x / m[3] : m[3] / axis[3].x;
    double dx = m[0] - axis[0].x, dy = m[1] - axis[1].x;
    double distance = sqrt(dx * dx + dy * dy) / tr->size, gate = gate_of(t, tr);
    if (!(ratio >= c->min_height_ratio && distance <= gate)) {
        return INFINITY;
    }
    double place = c->iou_weight * (1.0 - overlap(&tr->filter, m)) +
                   (1.0 - c->iou_weight) * (gate > 0.0 ? distance / gate : 0.0);
    double cost = (1.0 - c->likelihood_weight) * place +
                  c->likelihood_weight * surprise(t, tr, m) + c->direction_weight * turn(tr, m) +
                  c->height_weight * (1.0 - ratio);
    if (tr->state == TENTATIVE) {
        cost += c->tentative_penalty;
    }
    return tr->label == label ? cost : cost + c->class_penalty;
}

/* The same of the second: boxes must overlap. */
double em_weak_cost(const em_tracker *t, const track *tr, const double m[4], int32_t label)
{
    double shared = overlap(&tr->filter, m);
    if (shared <= 0.0) {
        return INFINITY;
    }
    return 1.0 - shared + (tr->label == label ? 0.0 : t->config.class_penalty);
}

/* 1 - cosine, or a negative number where either appearance is unknown. */
double em_unlikeness(const em_tracker *t, int32_t k, const em_rows *d, int32_t i)
{
    if (t->dim == 0 || d->embeddings == NULL || !t->tracks[k].has_embedding) {
        return -1.0;
    }
    const float *a = t->embeddings + (size_t)k * (size_t)t->dim;
    const float *b = d->embeddings + (size_t)i * (size_t)t->dim;
    double dot = 0.0, norm = 0.0;
    for (int32_t j = 0; j < t->dim; ++j) {
        dot += (double)a[j] * b[j];
        norm += (double)b[j] * b[j];
    }
    if (!(norm > 0.25 && isfinite(norm))) {
        return -1.0; /* em_decode writes zeros for "unknown" */
    }
    return fmin(fmax(1.0 - dot / sqrt(norm), 0.0), 2.0);
}

void em_learn_appearance(em_tracker *t, int32_t k, const em_rows *d, int32_t i)
{
    if (t->dim == 0 || d->embeddings == NULL) {
        return;
    }
    track *tr = &t->tracks[k];
    float *mine = t->embeddings + (size_t)k * (size_t)t->dim;
    const float *seen = d->embeddings + (size_t)i * (size_t)t->dim;
    /* A doubtful detection, often half hidden, teaches less. */
    float share = fminf(d->scores[i] / (float)em_score_scale(t, d->labels[i]), 1.0f);
    float keep = tr->has_embedding ? 1.0f - (1.0f - EMBEDDING_KEEP) * share : 0.0f;
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
