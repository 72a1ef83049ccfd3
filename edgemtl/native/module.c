/* CPython glue: checks every argument once, drops the GIL, calls the C core. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "edgemtl.h"

#include <math.h>
#include <string.h>

/* ---- arguments -------------------------------------------------------------------------- */

enum { MAX_VIEWS = 10 };

/* The buffers of one call, released together. */
typedef struct {
    Py_buffer views[MAX_VIEWS];
    int n;
} buffers;

static void release(buffers *b)
{
    while (b->n > 0) {
        PyBuffer_Release(&b->views[--b->n]);
    }
}

typedef struct {
    const char *name, *codes; /* struct codes that are accepted, and the dtype they stand for */
    const char *dtype;
    int itemsize, ndim, writable, strided;
} wanted;

/* The struct code of a view of plain numbers; '?' for all others, which no table below accepts. */
static char code_of(const Py_buffer *view)
{
    const char *format = view->format == NULL ? "B" : view->format;
    if (format[0] == '@' || format[0] == '=' || format[0] == '<') {
        ++format;
    }
    return strlen(format) == 1 ? format[0] : '?';
}

/* A view of an array of the wanted type and rank; NULL with an exception if it is another. */
static Py_buffer *take(buffers *b, PyObject *object, const wanted *w)
{
    Py_buffer *view = &b->views[b->n];
    int flags = PyBUF_FORMAT | (w->strided ? PyBUF_STRIDES : PyBUF_C_CONTIGUOUS) |
                (w->writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object, view, flags) < 0) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError, "%s: expected a %s%s array of %s, got %s", w->name,
                     w->writable ? "writable " : "", w->strided ? "strided" : "contiguous",
                     w->dtype, Py_TYPE(object)->tp_name);
        return NULL;
    }
    ++b->n;
    if (view->ndim != w->ndim || view->itemsize != w->itemsize ||
        strchr(w->codes, code_of(view)) == NULL) {
        PyErr_Format(PyExc_TypeError, "%s: expected %d-dimensional %s, got %d-dimensional '%s'",
                     w->name, w->ndim, w->dtype, view->ndim,
                     view->format == NULL ? "B" : view->format);
        return NULL;
    }
    return view;
}

static const wanted F32_ROWS = {"", "f", "float32", 4, 2, 0, 0};

static wanted named(const char *name, const char *codes, int itemsize, int ndim, int writable)
{
    const char *dtype = codes[0] == 'f'   ? "float32"
                        : codes[0] == 'd' ? "float64"
                        : itemsize == 8   ? "int64"
                                          : "int32";
    wanted w = {name, codes, dtype, itemsize, ndim, writable, 0};
    return w;
}

static int shape_error(const char *name, Py_ssize_t expected, Py_ssize_t got)
{
    PyErr_Format(PyExc_ValueError, "%s: expected %zd rows, got %zd", name, expected, got);
    return -1;
}

static int check_boxes(const char *name, const Py_buffer *view)
{
    if (view->shape[1] != 4) {
        PyErr_Format(PyExc_ValueError, "%s: expected shape [N, 4], got [%zd, %zd]", name,
                     view->shape[0], view->shape[1]);
        return -1;
    }
    if (view->shape[0] > INT32_MAX) {
        PyErr_Format(PyExc_ValueError, "%s: expected fewer than 2^31 rows, got %zd", name,
                     view->shape[0]);
        return -1;
    }
    return 0;
}

/* boxes [N, 4] as a view, or NULL. */
static Py_buffer *take_boxes(buffers *b, PyObject *object, const char *name, int writable)
{
    wanted w = F32_ROWS;
    w.name = name;
    w.writable = writable;
    Py_buffer *view = take(b, object, &w);
    return view == NULL || check_boxes(name, view) < 0 ? NULL : view;
}

static Py_buffer *take_column(buffers *b, PyObject *object, const wanted *w, Py_ssize_t rows)
{
    Py_buffer *view = take(b, object, w);
    if (view != NULL && view->shape[0] < rows) {
        shape_error(w->name, rows, view->shape[0]);
        return NULL;
    }
    return view;
}

static void *scratch_of(size_t bytes)
{
    void *memory = PyMem_RawMalloc(bytes == 0 ? 16 : bytes);
    if (memory == NULL) {
        PyErr_NoMemory();
    }
    return memory;
}

/* ---- pictures --------------------------------------------------------------------------- */

PyDoc_STRVAR(geometry_doc, "letterbox_geometry(src_h, src_w, net_h, net_w, top_left)\n"
                           "-> (top, left, height, width) of the resized picture");

static PyObject *py_geometry(PyObject *self, PyObject *args)
{
    int src_h, src_w, net_h, net_w, top_left;
    em_geometry g;
    (void)self;
    if (!PyArg_ParseTuple(args, "iiiip", &src_h, &src_w, &net_h, &net_w, &top_left)) {
        return NULL;
    }
    if (em_letterbox_geometry(src_h, src_w, net_h, net_w, top_left ? EM_TOP_LEFT : EM_CENTER,
                              &g) != EM_OK) {
        return PyErr_Format(PyExc_ValueError,
                            "sizes: expected at least 1 pixel, got source %dx%d, network %dx%d",
                            src_h, src_w, net_h, net_w);
    }
    return Py_BuildValue("iiii", g.top, g.left, g.height, g.width);
}

static int take_image(buffers *b, PyObject *object, em_image *image)
{
    wanted w = {"image", "B", "uint8 [H, W, 3]", 1, 3, 0, 1};
    Py_buffer *view = take(b, object, &w);
    if (view == NULL) {
        return -1;
    }
    if (view->shape[2] != 3 || view->shape[0] < 1 || view->shape[1] < 1 ||
        view->shape[0] > 32767 || view->shape[1] > 32767) {
        PyErr_Format(PyExc_ValueError, "image: expected [H, W, 3] with sides 1 to 32767, got "
                     "[%zd, %zd, %zd]", view->shape[0], view->shape[1], view->shape[2]);
        return -1;
    }
    /* numpy gives an axis of one element any stride. */
    if (view->strides[2] != 1 || (view->strides[1] != 3 && view->shape[1] > 1)) {
        PyErr_SetString(PyExc_ValueError, "image: pixels of a row must follow each other (any row "
                        "stride is fine); use numpy.ascontiguousarray");
        return -1;
    }
    *image = (em_image){view->buf, view->strides[0], (int32_t)view->shape[0],
                        (int32_t)view->shape[1]};
    return 0;
}

/* out [3, h, w] of one of the three types. */
static Py_buffer *take_planes(buffers *b, PyObject *object, em_dtype *dtype)
{
    Py_buffer *view = &b->views[b->n];
    if (PyObject_GetBuffer(object, view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE) < 0) {
        PyErr_Clear();
        PyErr_SetString(PyExc_TypeError, "out: expected a writable contiguous array [3, h, w]");
        return NULL;
    }
    ++b->n;
    if (view->ndim != 3 || view->shape[0] != 3) {
        PyErr_SetString(PyExc_ValueError, "out: expected shape [3, h, w]");
        return NULL;
    }
    switch (code_of(view)) {
    case 'b': *dtype = EM_INT8; return view;
    case 'B': *dtype = EM_UINT8; return view;
    case 'f': *dtype = EM_FLOAT32; return view;
    default:
        PyErr_Format(PyExc_TypeError, "out: expected int8, uint8 or float32, got '%s'",
                     view->format);
        return NULL;
    }
}

PyDoc_STRVAR(letterbox_doc,
             "letterbox(image, out, swap_rb, scale, offset, pad, top_left)\n"
             "-> (top, left, height, width) of the resized picture; writes out [3, h, w]");

static PyObject *py_letterbox(PyObject *self, PyObject *args)
{
    PyObject *image_object, *out_object;
    int swap_rb, pad, top_left;
    em_pixel_format format = {0};
    em_geometry g;
    em_image image;
    buffers b = {.n = 0};
    (void)self;
    if (!PyArg_ParseTuple(args, "OOpffip", &image_object, &out_object, &swap_rb, &format.scale,
                          &format.offset, &pad, &top_left)) {
        return NULL;
    }
    Py_buffer *out = NULL;
    void *scratch = NULL;
    if (pad < 0 || pad > 255 || !isfinite(format.scale) || !isfinite(format.offset)) {
        PyErr_SetString(PyExc_ValueError, "pad: expected 0 to 255; scale and offset: finite");
    } else if (take_image(&b, image_object, &image) == 0) {
        out = take_planes(&b, out_object, &format.dtype);
    }
    if (out != NULL && (out->shape[1] < 1 || out->shape[2] < 1 || out->shape[1] > 32767 ||
                        out->shape[2] > 32767)) {
        PyErr_SetString(PyExc_ValueError, "out: expected sides 1 to 32767");
        out = NULL;
    }
    if (out != NULL) {
        em_letterbox_geometry(image.height, image.width, (int32_t)out->shape[1],
                              (int32_t)out->shape[2], top_left ? EM_TOP_LEFT : EM_CENTER, &g);
        scratch = scratch_of(em_letterbox_scratch(&g));
    }
    if (scratch != NULL) {
        format.swap_rb = swap_rb;
        format.pad = (uint8_t)pad;
        Py_BEGIN_ALLOW_THREADS
        em_letterbox(&image, &g, &format, out->buf, scratch);
        Py_END_ALLOW_THREADS
        PyMem_RawFree(scratch);
    }
    release(&b);
    return scratch == NULL ? NULL : Py_BuildValue("iiii", g.top, g.left, g.height, g.width);
}

/* ---- boxes ------------------------------------------------------------------------------ */

static int parse_mapping(PyObject *object, void *result)
{
    em_mapping *m = result;
    if (!PyTuple_Check(object) ||
        !PyArg_ParseTuple(object, "ffffff;mapping: six numbers", &m->scale_x, &m->scale_y,
                          &m->pad_x, &m->pad_y, &m->src_w, &m->src_h)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "mapping: expected a tuple of six numbers");
        }
        return 0;
    }
    if (!(m->scale_x > 0.0f && m->scale_y > 0.0f)) {
        PyErr_SetString(PyExc_ValueError, "mapping: scales must be above 0");
        return 0;
    }
    if (!(isfinite(m->scale_x) && isfinite(m->scale_y) && isfinite(m->pad_x) &&
          isfinite(m->pad_y) && isfinite(m->src_w) && isfinite(m->src_h))) {
        PyErr_SetString(PyExc_ValueError, "mapping: expected finite numbers");
        return 0;
    }
    return 1;
}

static PyObject *map_boxes(PyObject *args, int (*map)(const float *, int32_t, const em_mapping *,
                                                      float *))
{
    PyObject *in_object, *out_object;
    em_mapping mapping;
    buffers b = {.n = 0};
    int done = 0;
    if (!PyArg_ParseTuple(args, "OO&O", &in_object, parse_mapping, &mapping, &out_object)) {
        return NULL;
    }
    Py_buffer *in = take_boxes(&b, in_object, "boxes", 0);
    Py_buffer *out = in == NULL ? NULL : take_boxes(&b, out_object, "out", 1);
    if (out != NULL && out->shape[0] != in->shape[0]) {
        shape_error("out", in->shape[0], out->shape[0]);
    } else if (out != NULL) {
        map(in->buf, (int32_t)in->shape[0], &mapping, out->buf);
        done = 1;
    }
    release(&b);
    if (!done) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(to_net_doc, "boxes_to_net(boxes, mapping, out)");
PyDoc_STRVAR(to_src_doc, "boxes_to_src(boxes, mapping, out), clipped to the source");

static PyObject *py_to_net(PyObject *self, PyObject *args)
{
    (void)self;
    return map_boxes(args, em_boxes_to_net);
}

static PyObject *py_to_src(PyObject *self, PyObject *args)
{
    (void)self;
    return map_boxes(args, em_boxes_to_src);
}

/* boxes, scores, labels and embeddings (or None) of one frame. */
static int take_rows(buffers *b, PyObject *const objects[4], em_rows *rows)
{
    wanted scores = named("scores", "f", 4, 1, 0), labels = named("labels", "il", 4, 1, 0);
    wanted embeddings = F32_ROWS;
    embeddings.name = "embeddings";
    Py_buffer *boxes = take_boxes(b, objects[0], "boxes", 0);
    if (boxes == NULL) {
        return -1;
    }
    if (boxes->shape[0] > 1000000) {
        PyErr_Format(PyExc_ValueError, "boxes: expected at most 1000000 rows, got %zd",
                     boxes->shape[0]);
        return -1;
    }
    *rows = (em_rows){.boxes = boxes->buf, .n = (int32_t)boxes->shape[0]};
    Py_buffer *s = take(b, objects[1], &scores);
    Py_buffer *l = s == NULL ? NULL : take(b, objects[2], &labels);
    if (l == NULL) {
        return -1;
    }
    if (s->shape[0] != rows->n || l->shape[0] != rows->n) {
        return shape_error(s->shape[0] != rows->n ? "scores" : "labels", rows->n,
                           s->shape[0] != rows->n ? s->shape[0] : l->shape[0]);
    }
    rows->scores = s->buf;
    rows->labels = l->buf;
    if (objects[3] == Py_None) {
        return 0;
    }
    Py_buffer *e = take(b, objects[3], &embeddings);
    if (e == NULL) {
        return -1;
    }
    if (e->shape[0] != rows->n) {
        return shape_error("embeddings", rows->n, e->shape[0]);
    }
    if (e->shape[1] > 65536) {
        PyErr_Format(PyExc_ValueError, "embeddings: expected at most 65536 columns, got %zd",
                     e->shape[1]);
        return -1;
    }
    rows->embeddings = e->buf;
    rows->dim = (int32_t)e->shape[1];
    return 0;
}

PyDoc_STRVAR(decode_doc, "decode(boxes, scores, labels, embeddings|None, mapping, min_score,\n"
                         "       out_boxes, out_scores, out_labels, out_embeddings|None)\n"
                         "-> number of rows written");

static PyObject *py_decode(PyObject *self, PyObject *args)
{
    PyObject *in[4], *out[4];
    em_mapping mapping;
    float min_score;
    em_rows rows;
    buffers b = {.n = 0};
    int kept = -1;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOOOO&fOOOO", &in[0], &in[1], &in[2], &in[3], parse_mapping,
                          &mapping, &min_score, &out[0], &out[1], &out[2], &out[3])) {
        return NULL;
    }
    if (take_rows(&b, in, &rows) == 0) {
        wanted scores = named("out_scores", "f", 4, 1, 1);
        wanted labels = named("out_labels", "il", 4, 1, 1);
        wanted embeddings = F32_ROWS;
        embeddings.name = "out_embeddings";
        embeddings.writable = 1;
        Py_buffer *to = take_boxes(&b, out[0], "out_boxes", 1);
        Py_buffer *s = to == NULL ? NULL : take_column(&b, out[1], &scores, rows.n);
        Py_buffer *l = s == NULL ? NULL : take_column(&b, out[2], &labels, rows.n);
        Py_buffer *e = NULL;
        int good = l != NULL;
        if (good && to->shape[0] < rows.n) {
            shape_error("out_boxes", rows.n, to->shape[0]);
            good = 0;
        }
        if (good && rows.embeddings != NULL) {
            e = take_column(&b, out[3], &embeddings, rows.n);
            good = e != NULL;
            if (good && e->shape[1] != rows.dim) {
                PyErr_Format(PyExc_ValueError, "out_embeddings: expected width %d, got %zd",
                             rows.dim, e->shape[1]);
                good = 0;
            }
        }
        if (good) {
            em_rows_out result = {to->buf, s->buf, l->buf, e == NULL ? NULL : e->buf};
            kept = em_decode(&rows, &mapping, min_score, &result);
        }
    }
    release(&b);
    return kept < 0 ? NULL : PyLong_FromLong(kept);
}

PyDoc_STRVAR(iou_doc, "iou(a, b, out): out [N, M] intersection over union");

static PyObject *py_iou(PyObject *self, PyObject *args)
{
    PyObject *objects[3];
    buffers b = {.n = 0};
    int done = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOO", &objects[0], &objects[1], &objects[2])) {
        return NULL;
    }
    wanted matrix = F32_ROWS;
    matrix.name = "out";
    matrix.writable = 1;
    Py_buffer *one = take_boxes(&b, objects[0], "a", 0);
    Py_buffer *two = one == NULL ? NULL : take_boxes(&b, objects[1], "b", 0);
    Py_buffer *out = two == NULL ? NULL : take(&b, objects[2], &matrix);
    if (out != NULL && (out->shape[0] != one->shape[0] || out->shape[1] != two->shape[0])) {
        PyErr_Format(PyExc_ValueError, "out: expected shape [%zd, %zd], got [%zd, %zd]",
                     one->shape[0], two->shape[0], out->shape[0], out->shape[1]);
    } else if (out != NULL) {
        Py_BEGIN_ALLOW_THREADS
        em_iou(one->buf, (int32_t)one->shape[0], two->buf, (int32_t)two->shape[0], out->buf);
        Py_END_ALLOW_THREADS
        done = 1;
    }
    release(&b);
    if (!done) {
        return NULL;
    }
    Py_RETURN_NONE;
}

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

/* ---- the filter ------------------------------------------------------------------------- */

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

/* ---- the tracker ------------------------------------------------------------------------ */

typedef struct {
    PyObject_HEAD
    em_tracker *tracker;
    void *scratch;
    size_t scratch_size;
    int32_t capacity, dim;
    int busy;
} TrackerObject;

static int config_is_finite(const em_tracker_config *config)
{
    float values[sizeof *config / sizeof(float)];
    memcpy(values, config, sizeof values);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; ++i) {
        if (!isfinite(values[i])) {
            return 0;
        }
    }
    return 1;
}

static PyObject *tracker_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    em_tracker_config c;
    int capacity, dim;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Tracker: takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "(ffffffffffffffffff)ii", &c.min_score, &c.split_score,
                          &c.birth_score, &c.confirm_score, &c.lost_s, &c.tentative_s, &c.coast_s,
                          &c.position_noise, &c.acceleration_noise, &c.initial_speed,
                          &c.shape_noise, &c.max_distance, &c.iou_weight, &c.min_height_ratio,
                          &c.class_penalty, &c.appearance_weight, &c.max_cost, &c.max_cost_second,
                          &capacity, &dim)) {
        return NULL;
    }
    if (capacity < 1 || capacity > 65536 || dim < 0 || dim > 65536) {
        return PyErr_Format(PyExc_ValueError,
                            "capacity: expected 1 to 65536, got %d; embedding width: 0 to 65536, "
                            "got %d", capacity, dim);
    }
    if (!config_is_finite(&c)) {
        PyErr_SetString(PyExc_ValueError, "config: expected finite float32 numbers");
        return NULL;
    }
    TrackerObject *self = (TrackerObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    void *memory = PyMem_RawCalloc(1, em_tracker_size(capacity, dim));
    if (memory == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    self->tracker = em_tracker_init(memory, &c, capacity, dim);
    self->capacity = capacity;
    self->dim = dim;
    return (PyObject *)self;
}

static void tracker_dealloc(TrackerObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyMem_RawFree(self->tracker);
    PyMem_RawFree(self->scratch);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static int grow_scratch(TrackerObject *self, size_t bytes)
{
    if (bytes <= self->scratch_size) {
        return 0;
    }
    void *larger = PyMem_RawRealloc(self->scratch, 2 * bytes);
    if (larger == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->scratch = larger;
    self->scratch_size = 2 * bytes;
    return 0;
}

static int take_tracks(buffers *b, PyObject *const objects[5], Py_ssize_t capacity,
                       em_tracks_out *out)
{
    wanted ids = named("out_ids", "lq", 8, 1, 1), scores = named("out_scores", "f", 4, 1, 1);
    wanted labels = named("out_labels", "il", 4, 1, 1);
    wanted index = named("out_det_index", "il", 4, 1, 1);
    Py_buffer *i = take_column(b, objects[0], &ids, capacity);
    Py_buffer *x = i == NULL ? NULL : take_boxes(b, objects[1], "out_boxes", 1);
    Py_buffer *s = x == NULL ? NULL : take_column(b, objects[2], &scores, capacity);
    Py_buffer *l = s == NULL ? NULL : take_column(b, objects[3], &labels, capacity);
    Py_buffer *d = l == NULL ? NULL : take_column(b, objects[4], &index, capacity);
    if (d == NULL) {
        return -1;
    }
    if (x->shape[0] < capacity) {
        return shape_error("out_boxes", capacity, x->shape[0]);
    }
    *out = (em_tracks_out){i->buf, x->buf, s->buf, l->buf, d->buf};
    return 0;
}

PyDoc_STRVAR(step_doc, "step(boxes, scores, labels, embeddings|None, pts_ns, height, width,\n"
                       "     out_ids, out_boxes, out_scores, out_labels, out_det_index)\n"
                       "-> number of tracks");

static PyObject *tracker_step(TrackerObject *self, PyObject *args)
{
    PyObject *in[4], *out[5];
    long long pts_ns;
    em_frame_info frame;
    em_rows rows;
    em_tracks_out tracks;
    buffers b = {.n = 0};
    int n = EM_EARG;
    if (!PyArg_ParseTuple(args, "OOOOLiiOOOOO", &in[0], &in[1], &in[2], &in[3], &pts_ns,
                          &frame.height, &frame.width, &out[0], &out[1], &out[2], &out[3],
                          &out[4])) {
        return NULL;
    }
    frame.pts_ns = (int64_t)pts_ns;
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "this tracker is stepping in another thread; give "
                        "each stream a tracker of its own");
        return NULL;
    }
    if (frame.height < 1 || frame.width < 1) {
        PyErr_Format(PyExc_ValueError, "size_hw: expected at least 1x1, got %dx%d", frame.height,
                     frame.width);
        return NULL;
    }
    if (take_rows(&b, in, &rows) == 0 && take_tracks(&b, out, self->capacity, &tracks) == 0) {
        if (rows.embeddings != NULL && self->dim != 0 && rows.dim != self->dim) {
            PyErr_Format(PyExc_ValueError, "embeddings: expected width %d, got %d", self->dim,
                         rows.dim);
        } else if ((int64_t)self->capacity * rows.n > INT32_MAX) {
            PyErr_Format(PyExc_ValueError, "boxes: a tracker of capacity %d takes at most %d "
                         "detections, got %d", self->capacity, INT32_MAX / self->capacity, rows.n);
        } else if (grow_scratch(self, em_tracker_scratch(self->tracker, rows.n)) == 0) {
            self->busy = 1;
            Py_BEGIN_ALLOW_THREADS
            n = em_tracker_step(self->tracker, &rows, &frame, &tracks, self->scratch);
            Py_END_ALLOW_THREADS
            self->busy = 0;
        }
    }
    release(&b);
    if (n == EM_ETIME) {
        PyErr_SetString(PyExc_ValueError, "pts_ns: went backwards; reset the tracker when the "
                        "stream starts again");
    }
    return n < 0 ? NULL : PyLong_FromLong(n);
}

static PyObject *tracker_reset(TrackerObject *self, PyObject *unused)
{
    (void)unused;
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "this tracker is stepping in another thread");
        return NULL;
    }
    em_tracker_reset(self->tracker);
    Py_RETURN_NONE;
}

static PyObject *tracker_refused(TrackerObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLongLong(em_tracker_refused(self->tracker));
}

static PyMethodDef tracker_methods[] = {
    {"step", (PyCFunction)(void (*)(void))tracker_step, METH_VARARGS, step_doc},
    {"reset", (PyCFunction)(void (*)(void))tracker_reset, METH_NOARGS, "Forget all tracks."},
    {"refused", (PyCFunction)(void (*)(void))tracker_refused, METH_NOARGS,
     "Births refused because the tracker was full."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot tracker_slots[] = {
    {Py_tp_new, (void *)tracker_new},
    {Py_tp_dealloc, (void *)tracker_dealloc},
    {Py_tp_methods, tracker_methods},
    {Py_tp_doc, "Tracker(config, capacity, embedding_dim); config: 18 numbers in order"},
    {0, NULL},
};

static PyType_Spec tracker_spec = {
    .name = "edgemtl._native.Tracker",
    .basicsize = sizeof(TrackerObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = tracker_slots,
};

/* ---- the module ------------------------------------------------------------------------- */

static PyMethodDef functions[] = {
    {"letterbox_geometry", py_geometry, METH_VARARGS, geometry_doc},
    {"letterbox", py_letterbox, METH_VARARGS, letterbox_doc},
    {"boxes_to_net", py_to_net, METH_VARARGS, to_net_doc},
    {"boxes_to_src", py_to_src, METH_VARARGS, to_src_doc},
    {"decode", py_decode, METH_VARARGS, decode_doc},
    {"iou", py_iou, METH_VARARGS, iou_doc},
    {"assign", py_assign, METH_VARARGS, assign_doc},
    {"kalman", py_kalman, METH_VARARGS, kalman_doc},
    {NULL, NULL, 0, NULL},
};

static int add_types(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&tracker_spec);
    if (type == NULL) {
        return -1;
    }
    int status = PyModule_AddObjectRef(module, "Tracker", type);
    Py_DECREF(type);
    return status;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)add_types},
    {0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "edgemtl._native",
    .m_doc = "The C core; edgemtl.ops and edgemtl.track are its faces.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
