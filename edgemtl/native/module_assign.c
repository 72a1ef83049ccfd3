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
    if (!PyArg_ParseTuple(args, "OOd(dddd)O", &measured_object, &dt_object, &trust,
                          &noise.position, &noise.acceleration, &noise.initial_speed,
                          &noise.shape, &out_object)) {
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
    {"kalman", py_kalman, METH_VARARGS, kalman_doc},
    {NULL, NULL, 0, NULL},
};
