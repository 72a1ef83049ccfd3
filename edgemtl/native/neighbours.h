/* Boxes in the order of their left edges: those that overlap another box are found among a few of
 * them. Not part of the interface: edgemtl.h is.
 */
#ifndef EDGEMTL_NEIGHBOURS_H
#define EDGEMTL_NEIGHBOURS_H

#include <stdint.h>

/* So many of the best are listed for a box. An assignment stays exact as long as no more rows than
 * these compete for the same columns: the others can take but so many of a row's best. */
#define EM_MOST_NEIGHBOURS 64

typedef struct {
    double box[4];
    double weight; /* of its overlaps; 1 as a rule */
    int32_t index; /* the caller's number */
} em_neighbour;

typedef struct {
    em_neighbour *at; /* [n] */
    int32_t n;
    double widest;
} em_neighbours;

/* Puts them in order (heap sort); boxes are finite. */
void em_neighbours_sort(em_neighbours *all);

/* Lists those that overlap box with 1 - IoU * weight <= limit: their places in all->at and these
 * costs, [EM_MOST_NEIGHBOURS] or [n] if that is less. Widths and heights are counted in whole
 * pixels, x2 - x1 + 1. Returns their number. */
int32_t em_neighbours_of(const em_neighbours *all, const double box[4], double limit,
                         int32_t *place, double *cost);

#endif
