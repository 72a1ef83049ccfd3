/* Overlapping boxes without comparing all with all. */
#include "neighbours.h"

static int before(const em_neighbour *a, const em_neighbour *b)
{
    return a->box[0] < b->box[0] || (a->box[0] == b->box[0] && a->index < b->index);
}

/* The largest of the heap at[0..n - 1] whose root alone may be out of place comes to the top. */
static void sift(em_neighbour *at, int32_t root, int32_t n)
{
    em_neighbour moved = at[root];
    for (int32_t child = 2 * root + 1; child < n; child = 2 * root + 1) {
        if (child + 1 < n && before(&at[child], &at[child + 1])) {
            ++child;
        }
        if (!before(&moved, &at[child])) {
            break;
        }
        at[root] = at[child];
        root = child;
    }
    at[root] = moved;
}

void em_neighbours_sort(em_neighbours *all)
{
    all->widest = 0.0;
    for (int32_t i = 0; i < all->n; ++i) {
        double width = all->at[i].box[2] - all->at[i].box[0];
        all->widest = width > all->widest ? width : all->widest;
    }
    for (int32_t i = all->n / 2; i-- > 0;) {
        sift(all->at, i, all->n);
    }
    for (int32_t last = all->n - 1; last > 0; --last) {
        em_neighbour largest = all->at[0];
        all->at[0] = all->at[last];
        all->at[last] = largest;
        sift(all->at, 0, last);
    }
}

static int32_t first_from(const em_neighbours *all, double left)
{
    int32_t low = 0, high = all->n;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (all->at[middle].box[0] < left) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static double least(double a, double b) { return a < b ? a : b; }

static double most(double a, double b) { return a > b ? a : b; }

static double area(const double box[4]) { return (box[2] - box[0] + 1) * (box[3] - box[1] + 1); }

static double overlap(const double a[4], const double b[4])
{
    double w = least(a[2], b[2]) - most(a[0], b[0]) + 1;
    double h = least(a[3], b[3]) - most(a[1], b[1]) + 1;
    return w <= 0 || h <= 0 ? 0.0 : w * h / (area(a) + area(b) - w * h);
}

static int32_t dearest(const double *cost)
{
    int32_t found = 0;
    for (int32_t k = 1; k < EM_MOST_NEIGHBOURS; ++k) {
        found = cost[k] > cost[found] ? k : found;
    }
    return found;
}

int32_t em_neighbours_of(const em_neighbours *all, const double box[4], double limit,
                         int32_t *place, double *cost)
{
    int32_t n = 0;
    for (int32_t j = first_from(all, box[0] - all->widest - 1);
         j < all->n && all->at[j].box[0] < box[2] + 1; ++j) {
        double likeness = overlap(box, all->at[j].box), c = 1.0 - likeness * all->at[j].weight;
        if (likeness <= 0.0 || c > limit) {
            continue;
        }
        int full = n == EM_MOST_NEIGHBOURS;
        int32_t to = full ? dearest(cost) : n++;
        if (full && c >= cost[to]) {
            continue;
        }
        place[to] = j;
        cost[to] = c;
    }
    return n;
}
