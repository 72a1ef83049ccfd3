/* CPython glue of preprocess.c. */
#include "glue.h"

#include <math.h>

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

PyMethodDef preprocess_functions[] = {
    {"letterbox_geometry", py_geometry, METH_VARARGS, geometry_doc},
    {"letterbox", py_letterbox, METH_VARARGS, letterbox_doc},
    {NULL, NULL, 0, NULL},
};
