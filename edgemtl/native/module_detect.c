/* CPython glue of detect.c. */
#include "glue.h"

#include <math.h>

int parse_mapping(PyObject *object, void *result)
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

PyMethodDef detect_functions[] = {
    {"boxes_to_net", py_to_net, METH_VARARGS, to_net_doc},
    {"boxes_to_src", py_to_src, METH_VARARGS, to_src_doc},
    {"decode", py_decode, METH_VARARGS, decode_doc},
    {"iou", py_iou, METH_VARARGS, iou_doc},
    {NULL, NULL, 0, NULL},
};
