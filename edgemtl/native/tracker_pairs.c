/* One association: candidates by a grid, their costs, the exact assignment. */
#include "tracker.h"

#include <math.h>

#define WEAK_S 2.0           /* weak detections continue tracks that were seen this recently */
#define GRID_FROM 24         /* detections from which a grid pays */
#define GRID_SIDE 512        /* the most cells along an axis */
#define AMBIGUOUS 0.1        /* two tracks as alike as this leave a detection's appearance mute */

/* The candidates of one track. */
typedef struct {
    int32_t *column;
    double *cost, *unlike;
    int32_t n, room;
} candidates;

/* Keep the cheapest. */
static void offer(candidates *c, int32_t column, double cost, double unlike)
{
    int32_t at = c->n;
    if (c->n < c->room) {
        ++c->n;
    } else {
        at = 0;
        for (int32_t i = 1; i < c->n; ++i) {
            at = c->cost[i] > c->cost[at] ? i : at;
        }
        if (!(cost < c->cost[at])) {
            return;
        }
    }
    c->column[at] = column;
    c->cost[at] = cost;
    c->unlike[at] = unlike;
}

/* NaN is in the first cell. */
static int32_t cell_along(double at, double cell, int32_t cells)
{
    double index = at / cell;
    return !(index >= 0.0) ? 0 : index >= cells ? cells - 1 : (int32_t)index;
}

/* About one cell for each of n columns. Their centres are finite and within 1e6 pixels. */
static void build_grid(work *w, int32_t n)
{
    grid *g = &w->cells;
    double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    for (int32_t j = 0; j < n; ++j) {
        for (int axis = 0; axis < 2; ++axis) {
            double at = w->measured[w->columns[j]][axis];
            low[axis] = fmin(low[axis], at);
            high[axis] = fmax(high[axis], at);
        }
    }
    double wide = fmax(high[0] - low[0], 1.0), tall = fmax(high[1] - low[1], 1.0);
    g->cell = fmax(fmax(sqrt(wide * tall / n), fmax(wide, tall) / GRID_SIDE), 1.0);
    g->left = low[0];
    g->top = low[1];
    g->nx = (int32_t)(wide / g->cell) + 1;
    g->ny = (int32_t)(tall / g->cell) + 1;
    while ((int64_t)g->nx * g->ny > 2 * (int64_t)n) { /* a thin strip: coarser along it */
        g->cell *= 1.25;
        g->nx = (int32_t)(wide / g->cell) + 1;
        g->ny = (int32_t)(tall / g->cell) + 1;
    }
    int32_t cells = g->nx * g->ny;
    for (int32_t c = 0; c <= cells; ++c) {
        g->first[c] = 0;
    }
    for (int32_t j = 0; j < n; ++j) {
        const double *m = w->measured[w->columns[j]];
        w->column_cell[j] = cell_along(m[1] - g->top, g->cell, g->ny) * g->nx +
                            cell_along(m[0] - g->left, g->cell, g->nx);
        ++g->first[w->column_cell[j] + 1];
    }
    for (int32_t c = 0; c < cells; ++c) {
        g->first[c + 1] += g->first[c];
    }
    for (int32_t j = n - 1; j >= 0; --j) { /* backwards: `first` counts down to its own cell */
        g->item[--g->first[w->column_cell[j] + 1]] = j;
    }
    for (int32_t c = 0; c < cells; ++c) {
        g->first[c] = g->first[c + 1];
    }
    g->first[cells] = n;
}

typedef struct {
    const em_tracker *t;
    const em_rows *d;
    work *w;
    uint8_t kind;
    double limit; /* on a pair's cost without its appearance */
} association;

static void consider(const association *a, int32_t k, int32_t column, candidates *c)
{
    const em_tracker *t = a->t;
    int32_t i = a->w->columns[column];
    const double *m = a->w->measured[i];
    const track *tr = &t->tracks[k];
    double cost = a->kind == STRONG ? em_strong_cost(t, tr, m, a->d->labels[i])
                                    : em_weak_cost(t, tr, m, a->d->labels[i]);
    if (cost <= a->limit) {
        offer(c, column, cost, a->kind == STRONG ? em_unlikeness(t, k, a->d, i) : -1.0);
    }
}

/* Offer the columns whose centre is within reach of the track's. */
static void search(const association *a, int32_t k, const double reach[2], candidates *c)
{
    const grid *g = &a->w->cells;
    const em_axis *axis = a->t->tracks[k].filter.axis;
    int32_t x0 = cell_along(axis[0].x - reach[0] - g->left, g->cell, g->nx);
    int32_t x1 = cell_along(axis[0].x + reach[0] - g->left, g->cell, g->nx);
    int32_t y0 = cell_along(axis[1].x - reach[1] - g->top, g->cell, g->ny);
    int32_t y1 = cell_along(axis[1].x + reach[1] - g->top, g->cell, g->ny);
    for (int32_t y = y0; y <= y1; ++y) {
        for (int32_t at = g->first[y * g->nx + x0]; at < g->first[y * g->nx + x1 + 1]; ++at) {
            const double *m = a->w->measured[a->w->columns[g->item[at]]];
            if (fabs(m[0] - axis[0].x) <= reach[0] && fabs(m[1] - axis[1].x) <= reach[1]) {
                consider(a, k, g->item[at], c);
            }
        }
    }
}

/* Let appearances speak: each pair's cost becomes the mix of place and looks, except where two
 * tracks look the same to a detection. */
static void mix_appearance(const association *a, int32_t n_columns, int32_t n_pairs)
{
    work *w = a->w;
    double share = a->t->config.appearance_weight;
    for (int32_t j = 0; j < n_columns; ++j) {
        w->nearest[2 * j] = w->nearest[2 * j + 1] = INFINITY;
    }
    for (int32_t p = 0; p < n_pairs; ++p) {
        double *two = w->nearest + 2 * w->column[p], unlike = w->unlike[p];
        if (unlike >= 0.0 && unlike < two[0]) {
            two[1] = two[0];
            two[0] = unlike;
        } else if (unlike >= 0.0 && unlike < two[1]) {
            two[1] = unlike;
        }
    }
    for (int32_t p = 0; p < n_pairs; ++p) {
        const double *two = w->nearest + 2 * w->column[p];
        if (w->unlike[p] >= 0.0 && !(two[1] - two[0] < AMBIGUOUS)) {
            w->cost[p] = (1.0 - share) * w->cost[p] + share * w->unlike[p];
        }
    }
}

/* Drop the pairs beyond the limit, keeping rows and their order. */
static int32_t keep_affordable(work *w, int32_t n_rows, double limit)
{
    int32_t kept = 0, from = 0;
    for (int32_t r = 0; r < n_rows; ++r) {
        int32_t end = w->start[r + 1];
        w->start[r] = kept;
        for (; from < end; ++from) {
            if (w->cost[from] <= limit) {
                w->column[kept] = w->column[from];
                w->cost[kept++] = w->cost[from];
            }
        }
    }
    w->start[n_rows] = kept;
    return kept;
}

/* Weak detections need an overlap: centres at most half of both sides apart. */
static void reach_of(const association *a, const track *tr, const double widest[2], double out[2])
{
    if (a->kind == STRONG) {
        out[0] = out[1] = em_strong_reach(a->t, tr);
        return;
    }
    for (int axis = 0; axis < 2; ++axis) {
        out[axis] = (tr->filter.axis[2 + axis].x + widest[axis]) / 2.0;
    }
}

/* Match unmatched tracks and detections of a kind, and note the partners. */
void em_associate(em_tracker *t, const em_rows *d, uint8_t kind, int64_t now, work *w)
{
    const em_tracker_config *c = &t->config;
    double limit = kind == STRONG ? c->max_cost : c->max_cost_second;
    int looks = kind == STRONG && t->dim > 0 && d->embeddings != NULL;
    association a = {t, d, w, kind, looks ? limit / fmax(1.0 - c->appearance_weight, 0.1) : limit};
    int32_t n_rows = 0, n_columns = 0, n_pairs = 0;
    double widest[2] = {0.0, 0.0}, reach[2];
    for (int32_t i = 0; i < d->n; ++i) {
        if (w->kind[i] == kind) {
            w->columns[n_columns++] = i;
            widest[0] = fmax(widest[0], w->measured[i][2]);
            widest[1] = fmax(widest[1], w->measured[i][3]);
        }
    }
    if (n_columns == 0 || t->n_tracks == 0) {
        return;
    }
    if (n_columns >= GRID_FROM) {
        build_grid(w, n_columns);
    }
    for (int32_t k = 0; k < t->n_tracks; ++k) {
        const track *tr = &t->tracks[k];
        if (tr->det_index >= 0 || (kind == WEAK && em_seconds(tr->seen_ns, now) > WEAK_S)) {
            continue;
        }
        candidates mine = {w->column + n_pairs, w->cost + n_pairs, w->unlike + n_pairs, 0,
                           w->per_track};
        if (n_columns >= GRID_FROM) {
            reach_of(&a, tr, widest, reach);
            search(&a, k, reach, &mine);
        } else {
            for (int32_t j = 0; j < n_columns; ++j) {
                consider(&a, k, j, &mine);
            }
        }
        w->rows[n_rows] = k;
        w->start[n_rows++] = n_pairs;
        n_pairs += mine.n;
    }
    w->start[n_rows] = n_pairs;
    if (looks) {
        mix_appearance(&a, n_columns, n_pairs);
        keep_affordable(w, n_rows, limit);
    }
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
