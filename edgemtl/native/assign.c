/* Exact assignment on a sparse graph by shortest augmenting paths. */
#include "edgemtl.h"

#include <math.h>
#include <string.h>

/* Sums of costs below this many stay finite whatever the size of the problem. */
#define MAX_COST 1e200

typedef struct {
    double key;
    int32_t column;
} entry;

/* The search from one row. Every row has a private way out, "stay unmatched". */
typedef struct {
    double *row_dual, *column_dual; /* [n], [m] */
    double *distance;               /* [m], INFINITY where not reached */
    entry *heap;                    /* [pairs], with outdated entries */
    int32_t *row_of;                /* [m] partner, -1 if free */
    int32_t *from;                  /* [m] row before this column on the path */
    int32_t *reached;               /* [m] columns with a distance, in order of discovery */
    uint8_t *closed;                /* [m] */
    int32_t heap_size, n_reached;
} search;

static size_t align16(size_t bytes) { return (bytes + 15u) & ~(size_t)15u; }

static size_t lay_out(size_t n, size_t m, size_t pairs, uint8_t *base, search *s)
{
    size_t sizes[8] = {n * 8, m * 8, m * 8, pairs * sizeof(entry), m * 4, m * 4, m * 4, m};
    size_t at[9] = {0};
    for (int i = 0; i < 8; ++i) {
        at[i + 1] = at[i] + align16(sizes[i]);
    }
    if (base != NULL) {
        s->row_dual = (double *)(void *)(base + at[0]);
        s->column_dual = (double *)(void *)(base + at[1]);
        s->distance = (double *)(void *)(base + at[2]);
        s->heap = (entry *)(void *)(base + at[3]);
        s->row_of = (int32_t *)(void *)(base + at[4]);
        s->from = (int32_t *)(void *)(base + at[5]);
        s->reached = (int32_t *)(void *)(base + at[6]);
        s->closed = base + at[7];
    }
    return at[8];
}

size_t em_assign_scratch(int32_t n, int32_t m, int32_t pairs)
{
    return lay_out((size_t)n, (size_t)m, (size_t)pairs, NULL, NULL);
}

static void heap_push(search *s, double key, int32_t column)
{
    int32_t at = s->heap_size++;
    while (at > 0) {
        int32_t parent = (at - 1) / 2;
        if (s->heap[parent].key <= key) {
            break;
        }
        s->heap[at] = s->heap[parent];
        at = parent;
    }
    s->heap[at] = (entry){key, column};
}

static entry heap_pop(search *s)
{
    entry top = s->heap[0], last = s->heap[--s->heap_size];
    int32_t at = 0;
    for (;;) {
        int32_t child = 2 * at + 1;
        if (child >= s->heap_size) {
            break;
        }
        if (child + 1 < s->heap_size && s->heap[child + 1].key < s->heap[child].key) {
            ++child;
        }
        if (last.key <= s->heap[child].key) {
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

static void relax(search *s, const em_pairs *p, int32_t row, double travelled)
{
    for (int32_t k = p->start[row]; k < p->start[row + 1]; ++k) {
        int32_t j = p->column[k];
        if (s->closed[j]) {
            continue;
        }
        double d = travelled + (p->cost[k] - s->row_dual[row] - s->column_dual[j]);
        if (d < s->distance[j]) {
            if (isinf(s->distance[j])) {
                s->reached[s->n_reached++] = j;
            }
            s->distance[j] = d;
            s->from[j] = row;
            heap_push(s, d, j);
        }
    }
}

/* The nearest column that is still open, or -1. */
static int32_t next_column(search *s)
{
    while (s->heap_size > 0) {
        entry e = heap_pop(s);
        if (!s->closed[e.column] && e.key <= s->distance[e.column]) {
            return e.column;
        }
    }
    return -1;
}

/* Keep every reduced cost at or above zero, and the matched ones at zero. */
static void update_duals(search *s, int32_t row, double length)
{
    s->row_dual[row] += length;
    for (int32_t k = 0; k < s->n_reached; ++k) {
        int32_t j = s->reached[k];
        if (s->closed[j]) {
            double change = length - s->distance[j];
            s->column_dual[j] -= change;
            if (s->row_of[j] >= 0) {
                s->row_dual[s->row_of[j]] += change;
            }
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
        row_to_column[i] = column;
        if (i == row) {
            return;
        }
        column = next;
    }
}

static void insert_row(search *s, const em_pairs *p, int32_t row, double unmatched,
                       int32_t *row_to_column)
{
    int32_t i = row, sink = -1, leaver = row;
    double travelled = 0.0, exit_length = unmatched - s->row_dual[row];
    s->heap_size = s->n_reached = 0;
    for (;;) {
        relax(s, p, i, travelled);
        int32_t j = next_column(s);
        if (j < 0 || s->distance[j] >= exit_length) {
            travelled = exit_length;
            break;
        }
        s->closed[j] = 1;
        travelled = s->distance[j];
        if (s->row_of[j] < 0) {
            sink = j;
            break;
        }
        i = s->row_of[j];
        double through = travelled + (unmatched - s->row_dual[i]);
        if (through < exit_length) {
            exit_length = through;
            leaver = i;
        }
    }
    update_duals(s, row, travelled);
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
    double most = dominating_cost(p);
    double unmatched = unmatched_cost < most ? unmatched_cost : most;
    memset(s.closed, 0, (size_t)p->m);
    for (int32_t j = 0; j < p->m; ++j) {
        s.column_dual[j] = 0.0;
        s.distance[j] = INFINITY;
        s.row_of[j] = -1;
    }
    for (int32_t i = 0; i < p->n; ++i) {
        s.row_dual[i] = 0.0;
        row_to_column[i] = -1;
    }
    int matched = 0;
    for (int32_t i = 0; i < p->n; ++i) {
        insert_row(&s, p, i, unmatched, row_to_column);
    }
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
