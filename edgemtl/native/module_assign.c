/* CPython glue of assign.c and kalman.c. */
#include "glue.h"

#include <math.h>

PyDoc_STRVAR(assign_doc, "assign(cost, max_cost, unmatched_cost, out) -> number of pairs;\n"
                         "out [N] column of each row, -1 where unmatched");

static PyObject *py_assign(PyObject *self, PyObject *args)
{
    PyObject *cost_object, *out_object;
    double max_cost, unmatched_cost;
    buffers b = {.n = 0};
    int pairs = -1;
    (void)self;
    if (!PyArg_ParseTuple(args, "OddO", &cost_object, &max_cost, &unmatched_cost, &out_object)) {
        return NULL;
    }
    wanted matrix = named("cost", "d", 8, 2, 0), column = named("out", "il", 4, 1, 1);
    Py_buffer *cost = take(&b, cost_object, &matrix);
    Py_buffer *out = cost == NULL ? NULL : take_column(&b, out_object, &column, cost->shape[0]);
    if (out != NULL && (cost->shape[0] > 1000000 || cost->shape[1] > 1000000 ||
                        cost->shape[0] * cost->shape[1] > 100000000)) {
        PyErr_Format(PyExc_ValueError, "cost: expected at most 1e6 rows and columns and 1e8 "
                     "cells, got [%zd, %zd]", cost->shape[0], cost->shape[1]);
        out = NULL;
    }
    if (out != NULL && (isnan(max_cost) || isnan(unmatched_cost) || unmatched_cost == -INFINITY)) {
        PyErr_SetString(PyExc_ValueError, "max_cost, unmatched_cost: expected numbers");
        out = NULL;
    }
    if (out != NULL) {
        int32_t n = (int32_t)cost->shape[0], m = (int32_t)cost->shape[1];
        void *scratch = scratch_of(em_assign_dense_scratch(n, m));
        if (scratch != NULL) {
            Py_BEGIN_ALLOW_THREADS
            pairs = em_assign_dense(cost->buf, n, m, max_cost, unmatched_cost, out->buf, scratch);
            Py_END_ALLOW_THREADS
            PyMem_RawFree(scratch);
        }
    }
    release(&b);
    return pairs < 0 ? NULL : PyLong_FromLong(pairs);
}

PyDoc_STRVAR(assign_sparse_doc,
             "assign_sparse(start, column, cost, columns, unmatched_cost, out) -> number of pairs;\n"
             "row i may take column[k] at cost[k] for start[i] <= k < start[i + 1]");

/* 0, or -1 with an exception set: what em_assign trusts. */
static int check_pairs(const em_pairs *p, Py_ssize_t listed)
{
    if (p->start[0] != 0 || p->start[p->n] != listed) {
        PyErr_Format(PyExc_ValueError, "start: expected 0 to %zd, the number of pairs, got %d to "
                     "%d", listed, p->start[0], p->start[p->n]);
        return -1;
    }
    for (int32_t i = 0; i < p->n; ++i) {
        if (p->start[i] > p->start[i + 1]) {
            PyErr_Format(PyExc_ValueError, "start: expected growing numbers, got %d before %d",
                         p->start[i], p->start[i + 1]);
            return -1;
        }
    }
    for (Py_ssize_t k = 0; k < listed; ++k) {
        if (p->column[k] < 0 || p->column[k] >= p->m || !(fabs(p->cost[k]) < 1e200)) {
            PyErr_Format(PyExc_ValueError, "pair %zd: expected a column below %d and a cost below "
                         "1e200, got column %d", k, p->m, p->column[k]);
            return -1;
        }
    }
    return 0;
}

static PyObject *py_assign_sparse(PyObject *self, PyObject *args)
{
    PyObject *objects[3], *out_object;
    double unmatched_cost;
    int columns, pairs = -1;
    buffers b = {.n = 0};
    (void)self;
    if (!PyArg_ParseTuple(args, "OOOidO", &objects[0], &objects[1], &objects[2], &columns,
                          &unmatched_cost, &out_object)) {
        return NULL;
    }
    wanted starts = named("start", "il", 4, 1, 0), indices = named("column", "il", 4, 1, 0);
    wanted costs = named("cost", "d", 8, 1, 0), result = named("out", "il", 4, 1, 1);
    Py_buffer *start = take_column(&b, objects[0], &starts, 1);
    Py_buffer *column = start == NULL ? NULL : take(&b, objects[1], &indices);
    Py_buffer *cost = column == NULL ? NULL : take_column(&b, objects[2], &costs,
                                                          column->shape[0]);
    Py_buffer *out = cost == NULL ? NULL : take_column(&b, out_object, &result,
                                                       start->shape[0] - 1);
    if (out != NULL && (start->shape[0] - 1 > 1000000 || columns < 0 || columns > 1000000 ||
                        isnan(unmatched_cost) || unmatched_cost == -INFINITY)) {
        PyErr_Format(PyExc_ValueError, "expected at most 1e6 rows and columns and a number for "
                     "unmatched_cost, got %zd rows, %d columns", start->shape[0] - 1, columns);
        out = NULL;
    }
    if (out != NULL) {
        em_pairs p = {start->buf, column->buf, cost->buf, (int32_t)(start->shape[0] - 1),
                      columns};
        void *scratch = NULL;
        if (check_pairs(&p, column->shape[0]) == 0) {
            scratch = scratch_of(em_assign_scratch(p.n, p.m, p.start[p.n]));
        }
        if (scratch != NULL) {
            Py_BEGIN_ALLOW_THREADS
            pairs = em_assign(&p, unmatched_cost, out->buf, scratch);
            Py_END_ALLOW_THREADS
            PyMem_RawFree(scratch);
        }
    }
    release(&b);
    return pairs < 0 ? NULL : PyLong_FromLong(pairs);
}

PyDoc_STRVAR(kalman_doc,
             "kalman(measured, dt, trust, noise, out): runs one filter over [N, 4] float64\n"
             "centres and sizes; rows of NaN are not measured. out [N, 4]: the boxes");

static PyObject *py_kalman(PyObject *self, PyObject *args)
{
    PyObject *measured_object, *dt_object, *out_object;
    double trust;
    em_kalman_noise noise;
    buffers b = {.n = 0};
    int done = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOd(dddddd)O", &measured_object, &dt_object, &trust,
                          &noise.position, &noise.width, &noise.height, &noise.acceleration,
                          &noise.initial_speed, &noise.shape, &out_object)) {
        return NULL;
    }
    wanted rows = named("measured", "d", 8, 2, 0), steps = named("dt", "d", 8, 1, 0);
    wanted result = named("out", "d", 8, 2, 1);
    Py_buffer *m = take(&b, measured_object, &rows);
    Py_buffer *dt = m == NULL ? NULL : take_column(&b, dt_object, &steps, m->shape[0]);
    Py_buffer *out = dt == NULL ? NULL : take_column(&b, out_object, &result, m->shape[0]);
    if (out != NULL && (m->shape[1] != 4 || out->shape[1] != 4)) {
        PyErr_SetString(PyExc_ValueError, "measured, out: expected shape [N, 4]");
    } else if (out != NULL) {
        em_kalman filter;
        for (Py_ssize_t i = 0; i < m->shape[0]; ++i) {
            const double *row = (const double *)m->buf + 4 * i;
            if (i == 0) {
                em_kalman_start(&filter, row, &noise, trust);
            } else {
                em_kalman_predict(&filter, ((const double *)dt->buf)[i], &noise);
                if (isfinite(row[0])) {
                    em_kalman_update(&filter, row, &noise, trust);
                }
            }
            em_kalman_box(&filter, (double *)out->buf + 4 * i);
        }
        done = 1;
    }
    release(&b);
    if (!done) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef assign_functions[] = {
    {"assign", py_assign, METH_VARARGS, assign_doc},
    {"assign_sparse", py_assign_sparse, METH_VARARGS, assign_sparse_doc},
    {"kalman", py_kalman, METH_VARARGS, kalman_doc},
    {NULL, NULL, 0, NULL},
};
