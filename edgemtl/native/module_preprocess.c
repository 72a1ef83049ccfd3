/* CPython glue of preprocess.c and nv12.c. */
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
             "letterbox(image, out, swap_rb, scale, offset, pad, top_left, level)\n"
             "-> (top, left, height, width) of the resized picture; writes out [3, h, w]");

/* The arguments that both letterboxes share, after those for the source. */
typedef struct {
    PyObject *out;
    int swap_rb, pad, top_left, level;
    em_pixel_format format;
} target;

static int check_target(const target *t)
{
    if (t->pad < 0 || t->pad > 255 || !isfinite(t->format.scale) || !isfinite(t->format.offset)) {
        PyErr_SetString(PyExc_ValueError, "pad: expected 0 to 255; scale and offset: finite");
        return -1;
    }
    if (t->level < 0 || t->level > EM_NEON || !em_has_level((em_level)t->level)) {
        PyErr_Format(PyExc_ValueError, "level: expected one that this processor has, got %d",
                     t->level);
        return -1;
    }
    return 0;
}

/* The writable planes, and where a source of this size lies in them. */
static void *take_out(buffers *b, target *t, int32_t src_h, int32_t src_w, em_geometry *g)
{
    Py_buffer *out = take_planes(b, t->out, &t->format.dtype);
    if (out == NULL) {
        return NULL;
    }
    if (out->shape[1] < 1 || out->shape[2] < 1 || out->shape[1] > 32767 ||
        out->shape[2] > 32767) {
        PyErr_SetString(PyExc_ValueError, "out: expected sides 1 to 32767");
        return NULL;
    }
    em_letterbox_geometry(src_h, src_w, (int32_t)out->shape[1], (int32_t)out->shape[2],
                          t->top_left ? EM_TOP_LEFT : EM_CENTER, g);
    t->format.swap_rb = t->swap_rb;
    t->format.pad = (uint8_t)t->pad;
    return out->buf;
}

static PyObject *place_of(const em_geometry *g)
{
    return Py_BuildValue("iiii", g->top, g->left, g->height, g->width);
}

static PyObject *py_letterbox(PyObject *self, PyObject *args)
{
    PyObject *object;
    target t = {0};
    em_geometry g = {0};
    em_image image;
    buffers b = {.n = 0};
    void *out = NULL, *scratch = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOpffipi", &object, &t.out, &t.swap_rb, &t.format.scale,
                          &t.format.offset, &t.pad, &t.top_left, &t.level)) {
        return NULL;
    }
    if (check_target(&t) == 0 && take_image(&b, object, &image) == 0) {
        out = take_out(&b, &t, image.height, image.width, &g);
    }
    if (out != NULL) {
        scratch = scratch_of(em_letterbox_scratch(&g));
    }
    if (scratch != NULL) {
        Py_BEGIN_ALLOW_THREADS
        em_letterbox_at((em_level)t.level, &image, &g, &t.format, out, scratch);
        Py_END_ALLOW_THREADS
        PyMem_RawFree(scratch);
    }
    release(&b);
    return scratch == NULL ? NULL : place_of(&g);
}

/* Rows of bytes, each without gaps. */
static Py_buffer *take_plane(buffers *b, PyObject *object, const char *name)
{
    wanted w = {name, "B", "uint8", 1, 2, 0, 1};
    Py_buffer *view = take(b, object, &w);
    if (view != NULL && view->strides[1] != 1 && view->shape[1] > 1) {
        PyErr_Format(PyExc_ValueError, "%s: bytes of a row must follow each other (any row "
                     "stride is fine); use numpy.ascontiguousarray", name);
        return NULL;
    }
    return view;
}

static int take_nv12(buffers *b, PyObject *y_object, PyObject *uv_object, em_nv12 *image,
                     int32_t size_hw[2])
{
    Py_buffer *y = take_plane(b, y_object, "y");
    if (y == NULL) {
        return -1;
    }
    Py_ssize_t height = y->shape[0], width = y->shape[1];
    if (height < 2 || width < 2 || height > 32766 || width > 32766 || height % 2 || width % 2) {
        PyErr_Format(PyExc_ValueError,
                     "y: expected [H, W] with even sides 2 to 32766, got [%zd, %zd]", height,
                     width);
        return -1;
    }
    Py_buffer *uv = take_plane(b, uv_object, "uv");
    if (uv == NULL) {
        return -1;
    }
    if (uv->shape[0] != height / 2 || uv->shape[1] != width) {
        PyErr_Format(PyExc_ValueError, "uv: expected [%zd, %zd] beside y, got [%zd, %zd]",
                     height / 2, width, uv->shape[0], uv->shape[1]);
        return -1;
    }
    *image = (em_nv12){.y = y->buf, .uv = uv->buf, .y_stride = y->strides[0]};
    image->uv_stride = uv->strides[0];
    size_hw[0] = (int32_t)height;
    size_hw[1] = (int32_t)width;
    return 0;
}

PyDoc_STRVAR(letterbox_nv12_doc,
             "letterbox_nv12(y, uv, bt709, out, swap_rb, scale, offset, pad, top_left, level)\n"
             "-> (top, left, height, width) of the resized picture; writes out [3, h, w]");

static PyObject *py_letterbox_nv12(PyObject *self, PyObject *args)
{
    PyObject *y, *uv;
    int bt709;
    target t = {0};
    em_geometry g = {0};
    em_nv12 image;
    int32_t size_hw[2];
    buffers b = {.n = 0};
    void *out = NULL, *scratch = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOpOpffipi", &y, &uv, &bt709, &t.out, &t.swap_rb,
                          &t.format.scale, &t.format.offset, &t.pad, &t.top_left, &t.level)) {
        return NULL;
    }
    if (check_target(&t) == 0 && take_nv12(&b, y, uv, &image, size_hw) == 0) {
        out = take_out(&b, &t, size_hw[0], size_hw[1], &g);
    }
    if (out != NULL) {
        image.matrix = bt709 ? EM_BT709 : EM_BT601;
        scratch = scratch_of(em_letterbox_nv12_scratch(&g));
    }
    if (scratch != NULL) {
        Py_BEGIN_ALLOW_THREADS
        em_letterbox_nv12_at((em_level)t.level, &image, &g, &t.format, out, scratch);
        Py_END_ALLOW_THREADS
        PyMem_RawFree(scratch);
    }
    release(&b);
    return scratch == NULL ? NULL : place_of(&g);
}

PyDoc_STRVAR(has_level_doc, "has_level(level) -> whether this processor has an instruction level "
                            "(em_level of edgemtl.h)");

static PyObject *py_has_level(PyObject *self, PyObject *args)
{
    int level;
    (void)self;
    if (!PyArg_ParseTuple(args, "i", &level)) {
        return NULL;
    }
    return PyBool_FromLong(level >= 0 && level <= EM_NEON && em_has_level((em_level)level));
}

PyMethodDef preprocess_functions[] = {
    {"letterbox_geometry", py_geometry, METH_VARARGS, geometry_doc},
    {"letterbox", py_letterbox, METH_VARARGS, letterbox_doc},
    {"letterbox_nv12", py_letterbox_nv12, METH_VARARGS, letterbox_nv12_doc},
    {"has_level", py_has_level, METH_VARARGS, has_level_doc},
    {NULL, NULL, 0, NULL},
};
