/* CPython glue of nms.c and foreign.c. */
#include "glue.h"

#include <math.h>

static int good_options(const em_nms_options *options)
{
    if (!(options->iou >= 0.0)) {
        PyErr_SetString(PyExc_ValueError, "iou: expected a number of at least 0");
        return 0;
    }
    if (options->max_out < 0) {
        PyErr_Format(PyExc_ValueError, "max_out: expected at least 0, got %d", options->max_out);
        return 0;
    }
    return 1;
}

PyDoc_STRVAR(nms_doc, "nms(boxes, scores, labels, iou, class_agnostic, max_out, keep) -> number "
                      "of rows kept");

static PyObject *py_nms(PyObject *self, PyObject *args)
{
    PyObject *in[4] = {NULL, NULL, NULL, Py_None}, *keep_object;
    em_nms_options options;
    em_rows rows;
    buffers b = {.n = 0};
    int kept = -1;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOOdpiO", &in[0], &in[1], &in[2], &options.iou,
                          &options.class_agnostic, &options.max_out, &keep_object) ||
        !good_options(&options)) {
        return NULL;
    }
    if (take_rows(&b, in, &rows) == 0) {
        wanted indices = named("keep", "il", 4, 1, 1);
        Py_buffer *keep = take_column(&b, keep_object, &indices, rows.n);
        void *scratch = keep == NULL ? NULL : scratch_of(em_nms_scratch(rows.n));
        if (scratch != NULL) {
            Py_BEGIN_ALLOW_THREADS
            kept = em_nms(&rows, &options, keep->buf, scratch);
            Py_END_ALLOW_THREADS
            PyMem_RawFree(scratch);
        }
    }
    release(&b);
    return kept < 0 ? NULL : PyLong_FromLong(kept);
}

/* Anchors by the shape of the values; 0, or -1 with an exception set. */
static int take_raw(buffers *b, PyObject *object, em_raw *raw)
{
    wanted matrix = F32_ROWS;
    matrix.name = "values";
    Py_buffer *view = take(b, object, &matrix);
    if (view == NULL) {
        return -1;
    }
    int by_columns = raw->kind == EM_YOLOV8;
    Py_ssize_t anchors = view->shape[by_columns ? 1 : 0], width = view->shape[by_columns ? 0 : 1];
    Py_ssize_t wide = raw->kind == EM_N6 ? 6 : raw->classes + (by_columns ? 4 : 5);
    if (width != wide) {
        PyErr_Format(PyExc_ValueError, "values: expected %zd numbers per anchor, got %zd", wide,
                     width);
        return -1;
    }
    if (anchors > 1000000) {
        PyErr_Format(PyExc_ValueError, "values: expected at most 1000000 anchors, got %zd",
                     anchors);
        return -1;
    }
    if (raw->kind == EM_YOLOX && anchors != em_yolox_anchors(raw->net_h, raw->net_w)) {
        PyErr_Format(PyExc_ValueError, "values: expected %d anchors for an input of %dx%d, got %zd",
                     em_yolox_anchors(raw->net_h, raw->net_w), raw->net_h, raw->net_w, anchors);
        return -1;
    }
    raw->values = view->buf;
    raw->anchors = (int32_t)anchors;
    return 0;
}

static int good_raw(const em_raw *raw, int kind)
{
    if (kind < EM_YOLOX || kind > EM_N6) {
        PyErr_Format(PyExc_ValueError, "kind: expected 0 to 3, got %d", kind);
        return 0;
    }
    if (raw->classes < 1 || raw->classes > 1000000) {
        PyErr_Format(PyExc_ValueError, "classes: expected 1 to 1000000, got %d", raw->classes);
        return 0;
    }
    if (raw->net_h < 1 || raw->net_w < 1 || raw->net_h > 65536 || raw->net_w > 65536) {
        PyErr_Format(PyExc_ValueError, "net size: expected 1 to 65536, got %dx%d", raw->net_h,
                     raw->net_w);
        return 0;
    }
    return 1;
}

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

PyDoc_STRVAR(detect_doc,
             "detect(kind, values, classes, net_h, net_w, mapping, min_score, iou,\n"
             "       class_agnostic, max_out, out_boxes, out_scores, out_labels)\n"
             "-> number of rows written");

static PyObject *py_detect(PyObject *self, PyObject *args)
{
    PyObject *values, *out[3];
    int kind, found = -1;
    em_raw raw = {.kind = EM_YOLOX};
    em_mapping mapping;
    em_nms_options options;
    float min_score;
    buffers b = {.n = 0};
    (void)self;
    if (!PyArg_ParseTuple(args, "iOiiiO&fdpiOOO", &kind, &values, &raw.classes, &raw.net_h,
                          &raw.net_w, parse_mapping, &mapping, &min_score, &options.iou,
                          &options.class_agnostic, &options.max_out, &out[0], &out[1], &out[2]) ||
        !good_raw(&raw, kind) || !good_options(&options)) {
        return NULL;
    }
    raw.kind = (em_raw_kind)kind;
    if (take_raw(&b, values, &raw) == 0) {
        int32_t rows = least(least(raw.anchors, EM_MOST_CANDIDATES), options.max_out);
        wanted scores = named("out_scores", "f", 4, 1, 1);
        wanted labels = named("out_labels", "il", 4, 1, 1);
        Py_buffer *boxes = take_boxes(&b, out[0], "out_boxes", 1);
        if (boxes != NULL && boxes->shape[0] < rows) {
            shape_error("out_boxes", rows, boxes->shape[0]);
            boxes = NULL;
        }
        Py_buffer *s = boxes == NULL ? NULL : take_column(&b, out[1], &scores, rows);
        Py_buffer *l = s == NULL ? NULL : take_column(&b, out[2], &labels, rows);
        void *scratch = l == NULL ? NULL : scratch_of(em_detect_scratch(&raw));
        if (scratch != NULL) {
            em_rows_out result = {boxes->buf, s->buf, l->buf, NULL};
            Py_BEGIN_ALLOW_THREADS
            found = em_detect(&raw, &mapping, min_score, &options, &result, scratch);
            Py_END_ALLOW_THREADS
            PyMem_RawFree(scratch);
        }
    }
    release(&b);
    return found < 0 ? NULL : PyLong_FromLong(found);
}

PyMethodDef foreign_functions[] = {
    {"nms", py_nms, METH_VARARGS, nms_doc},
    {"detect", py_detect, METH_VARARGS, detect_doc},
    {NULL, NULL, 0, NULL},
};
