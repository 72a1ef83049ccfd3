/* Sparse and dense assignment against dynamic programming over subsets of columns. */
#include "input.h"
#include "neighbours.h"

#include <math.h>
#include <string.h>

enum { SMALL = 7, LARGE = 40 };

/* Costs as they come from the bytes; NaN where a pair is forbidden. Half the cases have whole
 * numbers, whose sums are exact, so that nothing but the very optimum passes. (What all costs have in
 * common, base, is left out of the sums: they stay small, and where all rows have their price or the
 * pairs' number is the same, it changes nothing.) */
typedef struct {
    double *cost; /* [n][m] */
    double max_cost, price, base;
    int32_t n, m;
    int exact;
} problem;

static problem pick_problem(input *in)
{
    static const double scales[] = {1.0, 1e7, 1e15 / 4.0, 1e-6};
    int32_t most = one_in(in, 2) ? SMALL : LARGE;
    problem p = {.n = pick(in, 0, most)};
    p.m = pick(in, 0, most);
    p.exact = pick(in, 0, 1);
    double scale = scales[pick(in, 0, p.exact ? 2 : 3)];
    double base = p.base = pick(in, 0, 2) * scale;
    int32_t spread = pick(in, 1, 9);
    p.cost = block(8 * (size_t)p.n * (size_t)p.m);
    for (int32_t i = 0; i < p.n * p.m; ++i) {
        p.cost[i] = p.exact ? base + pick(in, -spread, spread)
                            : (double)pick_wild(in, -1, 9) * scale;
        p.cost[i] = one_in(in, 3) ? (double)NAN : p.cost[i];
    }
    p.max_cost = one_in(in, 2) ? INFINITY : base + pick(in, -spread, spread);
    p.price = one_in(in, 2) ? INFINITY : base + pick(in, -20, 20);
    return p;
}

static int allowed(const problem *p, double cost)
{
    return fabs(cost) < 1e200 && cost <= p->max_cost;
}

/* Pairs and cost of a way to match; a row that stays alone costs the price, if there is one. */
typedef struct {
    double cost;
    int pairs;
} value;

static int better(const problem *p, value a, value b)
{
    return (isinf(p->price) && a.pairs != b.pairs) ? a.pairs > b.pairs : a.cost < b.cost;
}

/* best[used]: of all ways to match the rows so far with exactly these columns. */
static value optimum(const problem *p)
{
    value best[1 << SMALL], next[1 << SMALL];
    size_t sets = (size_t)1 << p->m;
    double alone = isinf(p->price) ? 0.0 : p->price - p->base;
    for (size_t used = 0; used < sets; ++used) {
        best[used] = (value){used == 0 ? 0.0 : INFINITY, 0};
    }
    for (int32_t i = 0; i < p->n; ++i) {
        for (size_t used = 0; used < sets; ++used) {
            next[used] = (value){best[used].cost + alone, best[used].pairs};
            for (int32_t j = 0; j < p->m; ++j) {
                value from = best[used & ~((size_t)1 << j)];
                value to = {from.cost + (p->cost[i * p->m + j] - p->base), from.pairs + 1};
                if (used >> j & 1 && allowed(p, p->cost[i * p->m + j]) &&
                    to.cost < next[used].cost) {
                    next[used] = to;
                }
            }
        }
        memcpy(best, next, sizeof best);
    }
    value least = best[0];
    for (size_t used = 1; used < sets; ++used) {
        if (isfinite(best[used].cost) && better(p, best[used], least)) {
            least = best[used];
        }
    }
    return least;
}

static value check_legal(const problem *p, const int32_t *columns, int pairs)
{
    value total = {0.0, 0};
    for (int32_t i = 0; i < p->n; ++i) {
        int32_t j = columns[i];
        REQUIRE(j >= -1 && j < p->m);
        if (j < 0) {
            total.cost += isinf(p->price) ? 0.0 : p->price - p->base;
            continue;
        }
        REQUIRE(allowed(p, p->cost[i * p->m + j]));
        total.cost += p->cost[i * p->m + j] - p->base;
        ++total.pairs;
        for (int32_t k = 0; k < i; ++k) {
            REQUIRE(columns[k] != j);
        }
    }
    REQUIRE(total.pairs == pairs);
    return total;
}

static void check_best(const problem *p, value got, value want)
{
    double size = isinf(p->price) ? 1.0 : fabs(p->price);
    for (int32_t i = 0; i < p->n * p->m; ++i) {
        size = allowed(p, p->cost[i]) ? fmax(size, fabs(p->cost[i])) : size;
    }
    REQUIRE(isfinite(p->price) || got.pairs == want.pairs);
    REQUIRE(got.cost <= want.cost + (p->exact ? 0.0 : 1e-12 * size));
}

/* The same problem in compressed rows, columns from right to left, some pairs twice. */
static int solve_sparse(input *in, const problem *p, int32_t *columns)
{
    size_t n = (size_t)p->n, cells = n * (size_t)p->m, twice = (size_t)pick(in, 0, 1);
    int32_t *start = block(4 * (n + 1)), *column = block(8 * cells), k = 0;
    double *cost = block(16 * cells);
    for (int32_t i = 0; i < p->n; ++i) {
        start[i] = k;
        for (int32_t j = p->m - 1; j >= 0; --j) {
            double c = p->cost[i * p->m + j];
            for (size_t again = 0; allowed(p, c) && again <= twice; ++again) {
                column[k] = j;
                cost[k++] = again ? c + 1.0 : c;
            }
        }
    }
    start[n] = k;
    em_pairs pairs = {start, column, cost, p->n, p->m};
    void *scratch = block(em_assign_scratch(p->n, p->m, k));
    int matched = em_assign(&pairs, p->price, columns, scratch);
    free(start);
    free(column);
    free(cost);
    free(scratch);
    return matched;
}

static double pixel_iou(const double a[4], const double b[4])
{
    double w = fmin(a[2], b[2]) - fmax(a[0], b[0]) + 1, h = fmin(a[3], b[3]) - fmax(a[1], b[1]) + 1;
    double areas = (a[2] - a[0] + 1) * (a[3] - a[1] + 1) + (b[2] - b[0] + 1) * (b[3] - b[1] + 1);
    return w > 0 && h > 0 ? w * h / (areas - w * h) : 0.0;
}

static em_neighbour pick_neighbour(input *in, uint64_t *series, int32_t index, double spread)
{
    em_neighbour made = {.weight = one_in(in, 2) ? 1.0 : pick_real(in, 0, 1), .index = index};
    for (int k = 0; k < 4; ++k) {
        double share = (double)(next_bits(series) >> 11) / 9007199254740992.0;
        made.box[k] = k < 2 ? share * spread : made.box[k - 2] + 1 + share * 40;
    }
    made.box[2] += one_in(in, 9) ? 300 : 0;
    return made;
}

/* The pairs that a tracker offers: all that overlap enough, or the best of them. */
static void check_neighbours(input *in)
{
    int32_t n = one_in(in, 3) ? pick(in, 0, 3) : pick(in, 0, 300), all_near = 0, better = 0;
    int32_t most = n < EM_MOST_NEIGHBOURS ? n : EM_MOST_NEIGHBOURS;
    em_neighbours all = {block((size_t)n * sizeof(em_neighbour)), n, 0.0};
    double spread = one_in(in, 3) ? 20 : 600, worst = 0.0, *cost = block((size_t)most * 8);
    double limit = pick_real(in, 0, 1);
    int32_t *place = block((size_t)most * 4);
    uint64_t series = pick_seed(in);
    for (int32_t i = 0; i < n; ++i) {
        all.at[i] = pick_neighbour(in, &series, i, spread);
    }
    em_neighbour mine = pick_neighbour(in, &series, 0, spread);
    em_neighbours_sort(&all);
    int32_t found = em_neighbours_of(&all, mine.box, limit, place, cost);
    for (int32_t k = 0; k < found; ++k) {
        const em_neighbour *it = &all.at[place[k]];
        REQUIRE(fabs(cost[k] - (1.0 - pixel_iou(mine.box, it->box) * it->weight)) < 1e-12);
        worst = fmax(worst, cost[k]);
    }
    for (int32_t i = 0; i < n; ++i) {
        double likeness = pixel_iou(mine.box, all.at[i].box);
        double c = 1.0 - likeness * all.at[i].weight;
        all_near += likeness > 0 && c <= limit;
        better += likeness > 0 && c < worst;
    }
    REQUIRE(found == (all_near < most ? all_near : most) && better <= found);
    digest_bytes(in, place, (size_t)found * 4);
    free(all.at);
    free(place);
    free(cost);
}

void fuzz_assign(input *in)
{
    problem p = pick_problem(in);
    size_t rows = (size_t)p.n;
    int32_t *dense = block(4 * rows), *sparse = block(4 * rows);
    void *scratch = block(em_assign_dense_scratch(p.n, p.m));
    int pairs = em_assign_dense(p.cost, p.n, p.m, p.max_cost, p.price, dense, scratch);
    value got = check_legal(&p, dense, pairs);
    value also = check_legal(&p, sparse, solve_sparse(in, &p, sparse));
    check_best(&p, got, also);
    check_best(&p, also, got);
    if (p.m <= SMALL) {
        check_best(&p, got, optimum(&p));
    }
    for (int32_t i = 0; i < p.n; ++i) {
        uint8_t low = (uint8_t)dense[i];
        digest_bytes(in, &low, 1);
    }
    check_neighbours(in);
    free(p.cost);
    free(dense);
    free(sparse);
    free(scratch);
}
