/* Exact assignment on a sparse graph by shortest augmenting paths. */
#include "edgemtl.h"

#include <math.h>

/* Sums of costs below this many stay finite whatever the size of the problem. */
#define MAX_COST 1e200

/* A length of a path: first by level, then by value. Level 1 stands for a price of staying alone
 * that no sum of costs outweighs, and is kept apart from the values, which it would round off. */
typedef struct {
    double value;
    int32_t column; /* of the entry in the heap */
    int32_t level;
} length;

/* The search from one row. Every row has a private way out, "stay unmatched". A row's dual follows
 * from its pair: cost - column_dual. */
typedef struct {
    double *pair_cost;   /* [n] of the matched pair */
    double *column_dual; /* [m] */
    double *distance;    /* [m], INFINITY where not reached */
    length *heap;        /* [pairs], with outdated entries */
    int32_t *row_of;     /* [m] partner, -1 if free */
    int32_t *from;       /* [m] row before this column on the path */
    int32_t *reached;    /* [m] columns with a distance, in order of discovery */
    double *from_cost;   /* [m] of the pair of the two */
    uint8_t *closed;     /* [m] */
    uint8_t *level;      /* [m] 1: no way leads from here to a free column; part of the dual */
    double unmatched;
    int32_t heap_size, n_reached, alone; /* alone: the level of unmatched */
} search;

static size_t align16(size_t bytes) { return (bytes + 15u) & ~(size_t)15u; }

static size_t lay_out(size_t n, size_t m, size_t pairs, uint8_t *base, search *s)
{
    size_t sizes[10] = {n * 8, m * 8, m * 8, pairs * sizeof(length), m * 4,
                        m * 4, m * 4, m * 8, m,                      m};
    size_t at[11] = {0};
    for (int i = 0; i < 10; ++i) {
        at[i + 1] = at[i] + align16(sizes[i]);
    }
    if (base != NULL) {
        s->pair_cost = (double *)(void *)(base + at[0]);
        s->column_dual = (double *)(void *)(base + at[1]);
        s->distance = (double *)(void *)(base + at[2]);
        s->heap = (length *)(void *)(base + at[3]);
        s->row_of = (int32_t *)(void *)(base + at[4]);
        s->from = (int32_t *)(void *)(base + at[5]);
        s->reached = (int32_t *)(void *)(base + at[6]);
        s->from_cost = (double *)(void *)(base + at[7]);
        s->closed = base + at[8];
        s->level = base + at[9];
    }
    return at[10];
}

size_t em_assign_scratch(int32_t n, int32_t m, int32_t pairs)
{
    return lay_out((size_t)n, (size_t)m, (size_t)pairs, NULL, NULL);
}

static int before(length a, length b)
{
    return a.level != b.level ? a.level < b.level : a.value < b.value;
}

static void heap_push(search *s, length entry)
{
    int32_t at = s->heap_size++;
    while (at > 0) {
        int32_t parent = (at - 1) / 2;
        if (!before(entry, s->heap[parent])) {
            break;
        }
        s->heap[at] = s->heap[parent];
        at = parent;
    }
    s->heap[at] = entry;
}

static length heap_pop(search *s)
{
    length top = s->heap[0], last = s->heap[--s->heap_size];
    int32_t at = 0;
    for (;;) {
        int32_t child = 2 * at + 1;
        if (child >= s->heap_size) {
            break;
        }
        if (child + 1 < s->heap_size && before(s->heap[child + 1], s->heap[child])) {
            ++child;
        }
        if (!before(s->heap[child], last)) {
            break;
        }
        s->heap[at] = s->heap[child];
        at = child;
    }
    if (s->heap_size > 0) {
        s->heap[at] = last;
    }
    return top;
}

/* On from a row with this dual, as far as the end. The levels of a way cancel but for its last
 * column's own. */
static void relax(search *s, const em_pairs *p, int32_t row, double dual, double travelled,
                  length end)
{
    for (int32_t k = p->start[row]; k < p->start[row + 1]; ++k) {
        int32_t j = p->column[k];
        if (s->closed[j]) {
            continue;
        }
        double d = travelled + (p->cost[k] - s->column_dual[j] - dual);
        if (d < s->distance[j] && before((length){d, j, s->level[j]}, end)) {
            if (isinf(s->distance[j])) {
                s->reached[s->n_reached++] = j;
            }
            s->distance[j] = d;
            s->from[j] = row;
            s->from_cost[j] = p->cost[k];
            heap_push(s, (length){d, j, s->level[j]});
        }
    }
}

/* The nearest column that is still open; column -1 where there is none. */
static length next_column(search *s)
{
    while (s->heap_size > 0) {
        length e = heap_pop(s);
        if (!s->closed[e.column] && e.value <= s->distance[e.column]) {
            return e;
        }
    }
    return (length){INFINITY, -1, 1};
}

/* Keep every reduced cost at or above zero, and the matched ones at zero. */
static void update_duals(search *s, length end)
{
    for (int32_t k = 0; k < s->n_reached; ++k) {
        int32_t j = s->reached[k];
        if (s->closed[j]) {
            s->column_dual[j] -= end.value - s->distance[j];
            s->level[j] = (uint8_t)end.level;
        }
        s->distance[j] = INFINITY;
        s->closed[j] = 0;
    }
}

static void augment(search *s, int32_t row, int32_t column, int32_t *row_to_column)
{
    for (;;) {
        int32_t i = s->from[column], next = row_to_column[i];
        s->row_of[column] = i;
        s->pair_cost[i] = s->from_cost[column];
        row_to_column[i] = column;
        if (i == row) {
            return;
        }
        column = next;
    }
}

/* A row whose best way is a free column, or to stay alone, needs no search: most rows. */
static int place_at_once(search *s, const em_pairs *p, int32_t row, int32_t *row_to_column)
{
    length best = {s->unmatched, -1, s->alone};
    double cost = 0.0;
    for (int32_t k = p->start[row]; k < p->start[row + 1]; ++k) {
        int32_t j = p->column[k];
        length way = {p->cost[k] - s->column_dual[j], j, s->level[j]};
        if (before(way, best)) {
            best = way;
            cost = p->cost[k];
        }
    }
    if (best.column >= 0 && s->row_of[best.column] >= 0) {
        return 0;
    }
    if (best.column >= 0) {
        s->row_of[best.column] = row;
        s->pair_cost[row] = cost;
        row_to_column[row] = best.column;
    }
    return 1;
}

static void insert_row(search *s, const em_pairs *p, int32_t row, int32_t *row_to_column)
{
    int32_t i = row, sink = -1, leaver = row;
    double travelled = 0.0, dual = 0.0;
    length end = {s->unmatched, -1, s->alone};
    s->heap_size = s->n_reached = 0;
    for (;;) {
        relax(s, p, i, dual, travelled, end);
        length next = next_column(s);
        int32_t j = next.column;
        if (j < 0 || !before(next, end)) {
            break;
        }
        s->closed[j] = 1;
        travelled = next.value;
        i = s->row_of[j];
        if (i < 0) {
            sink = j;
            end = next;
            break;
        }
        dual = s->pair_cost[i] - s->column_dual[j];
        if (travelled + (s->unmatched - dual) < end.value) {
            end.value = travelled + (s->unmatched - dual);
            leaver = i;
        }
    }
    update_duals(s, end);
    if (sink < 0 && leaver != row) {
        sink = row_to_column[leaver];
        row_to_column[leaver] = -1;
    }
    if (sink >= 0) {
        augment(s, row, sink, row_to_column);
    }
}

/* A price of staying alone that no rearrangement of the others can outweigh. */
static double dominating_cost(const em_pairs *p)
{
    double low = 0.0, high = 0.0;
    for (int32_t k = 0; k < p->start[p->n]; ++k) {
        low = fmin(low, p->cost[k]);
        high = fmax(high, p->cost[k]);
    }
    return high + (high - low + 1.0) * ((p->n < p->m ? p->n : p->m) + 1.0);
}

int em_assign(const em_pairs *p, double unmatched_cost, int32_t *row_to_column, void *scratch)
{
    search s = {0};
    lay_out((size_t)p->n, (size_t)p->m, (size_t)p->start[p->n], scratch, &s);
    s.alone = unmatched_cost >= dominating_cost(p);
    s.unmatched = s.alone ? 0.0 : unmatched_cost;
    for (int32_t j = 0; j < p->m; ++j) {
        s.column_dual[j] = 0.0;
        s.distance[j] = INFINITY;
        s.row_of[j] = -1;
        s.closed[j] = s.level[j] = 0;
    }
    for (int32_t i = 0; i < p->n; ++i) {
        row_to_column[i] = -1;
    }
    for (int32_t i = 0; i < p->n; ++i) {
        if (!place_at_once(&s, p, i, row_to_column)) {
            insert_row(&s, p, i, row_to_column);
        }
    }
    int matched = 0;
    for (int32_t i = 0; i < p->n; ++i) {
        matched += row_to_column[i] >= 0;
    }
    return matched;
}

size_t em_assign_dense_scratch(int32_t n, int32_t m)
{
    size_t pairs = (size_t)n * (size_t)m;
    return align16(((size_t)n + 1) * 4) + align16(pairs * 4) + align16(pairs * 8) +
           lay_out((size_t)n, (size_t)m, pairs, NULL, NULL);
}

int em_assign_dense(const double *cost, int32_t n, int32_t m, double max_cost,
                    double unmatched_cost, int32_t *row_to_column, void *scratch)
{
    size_t cells = (size_t)n * (size_t)m;
    uint8_t *base = scratch;
    int32_t *start = (int32_t *)(void *)base;
    base += align16(((size_t)n + 1) * 4);
    int32_t *column = (int32_t *)(void *)base;
    base += align16(cells * 4);
    double *kept = (double *)(void *)base;
    base += align16(cells * 8);
    int32_t pairs = 0;
    for (int32_t i = 0; i < n; ++i) {
        start[i] = pairs;
        for (int32_t j = 0; j < m; ++j) {
            double c = cost[(size_t)i * (size_t)m + (size_t)j];
            if (fabs(c) < MAX_COST && c <= max_cost) {
                column[pairs] = j;
                kept[pairs++] = c;
            }
        }
    }
    start[n] = pairs;
    em_pairs p = {.start = start, .column = column, .cost = kept, .n = n, .m = m};
    return em_assign(&p, unmatched_cost, row_to_column, base);
}
