/* What the CPython glue of all kernels shares: views of arrays, checked once. */
#include "glue.h"

#include <math.h>
#include <string.h>

void release(buffers *b)
{
    while (b->n > 0) {
        PyBuffer_Release(&b->views[--b->n]);
    }
}

char code_of(const Py_buffer *view)
{
    const char *format = view->format == NULL ? "B" : view->format;
    if (format[0] == '@' || format[0] == '=' || format[0] == '<') {
        ++format;
    }
    return strlen(format) == 1 ? format[0] : '?';
}

Py_buffer *take(buffers *b, PyObject *object, const wanted *w)
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

const wanted F32_ROWS = {"", "f", "float32", 4, 2, 0, 0};

wanted named(const char *name, const char *codes, int itemsize, int ndim, int writable)
{
    const char *dtype = codes[0] == 'f'   ? "float32"
                        : codes[0] == 'd' ? "float64"
                        : itemsize == 8   ? "int64"
                                          : "int32";
    wanted w = {name, codes, dtype, itemsize, ndim, writable, 0};
    return w;
}

int shape_error(const char *name, Py_ssize_t expected, Py_ssize_t got)
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

Py_buffer *take_boxes(buffers *b, PyObject *object, const char *name, int writable)
{
    wanted w = F32_ROWS;
    w.name = name;
    w.writable = writable;
    Py_buffer *view = take(b, object, &w);
    return view == NULL || check_boxes(name, view) < 0 ? NULL : view;
}

Py_buffer *take_column(buffers *b, PyObject *object, const wanted *w, Py_ssize_t rows)
{
    Py_buffer *view = take(b, object, w);
    if (view != NULL && view->shape[0] < rows) {
        shape_error(w->name, rows, view->shape[0]);
        return NULL;
    }
    return view;
}

void *scratch_of(size_t bytes)
{
    void *memory = PyMem_RawMalloc(bytes == 0 ? 16 : bytes);
    if (memory == NULL) {
        PyErr_NoMemory();
    }
    return memory;
}

int grow(void **memory, size_t *held, size_t bytes)
{
    if (bytes <= *held) {
        return 0;
    }
    void *larger = PyMem_RawRealloc(*memory, 2 * bytes);
    if (larger == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *memory = larger;
    *held = 2 * bytes;
    return 0;
}

int take_rows(buffers *b, PyObject *const objects[4], em_rows *rows)
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

int take_tracks(buffers *b, PyObject *const objects[5], Py_ssize_t capacity,
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
