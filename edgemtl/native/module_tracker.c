/* CPython glue of tracker.c. */
#include "glue.h"

#include <math.h>
#include <string.h>

typedef struct {
    PyObject_HEAD
    em_tracker *tracker;
    void *scratch;
    size_t scratch_size;
    int32_t capacity, dim;
    int busy;
} TrackerObject;

/* The numbers of TrackerConfig in order; 0, or -1 with an exception set. */
static int config_of(PyObject *numbers, em_tracker_config *config)
{
    float values[sizeof *config / sizeof(float)];
    Py_ssize_t n = (Py_ssize_t)(sizeof values / sizeof values[0]);
    if (PyTuple_GET_SIZE(numbers) != n) {
        PyErr_Format(PyExc_TypeError, "config: expected %zd numbers, got %zd", n,
                     PyTuple_GET_SIZE(numbers));
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; ++i) {
        values[i] = (float)PyFloat_AsDouble(PyTuple_GET_ITEM(numbers, i));
        if (PyErr_Occurred()) {
            return -1;
        }
        if (!isfinite(values[i])) {
            PyErr_SetString(PyExc_ValueError, "config: expected finite float32 numbers");
            return -1;
        }
    }
    memcpy(config, values, sizeof *config);
    return 0;
}

static PyObject *tracker_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    em_tracker_config c;
    int capacity, dim;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Tracker: takes no keyword arguments");
        return NULL;
    }
    PyObject *numbers;
    if (!PyArg_ParseTuple(args, "O!ii", &PyTuple_Type, &numbers, &capacity, &dim) ||
        config_of(numbers, &c) < 0) {
        return NULL;
    }
    if (capacity < 1 || capacity > 65536 || dim < 0 || dim > 65536) {
        return PyErr_Format(PyExc_ValueError,
                            "capacity: expected 1 to 65536, got %d; embedding width: 0 to 65536, "
                            "got %d", capacity, dim);
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

/* None, or the camera's motion float64 [2, 3] as a view; 0, or -1 with an exception set. */
static int take_camera(buffers *b, PyObject *object, em_frame_info *frame)
{
    wanted matrix = named("camera", "d", 8, 2, 0);
    frame->camera = NULL;
    if (object == Py_None) {
        return 0;
    }
    Py_buffer *view = take(b, object, &matrix);
    if (view == NULL) {
        return -1;
    }
    const double *c = view->buf;
    if (view->shape[0] != 2 || view->shape[1] != 3) {
        PyErr_Format(PyExc_ValueError, "camera: expected shape [2, 3], got [%zd, %zd]",
                     view->shape[0], view->shape[1]);
        return -1;
    }
    double area = fabs(c[0] * c[4] - c[1] * c[3]);
    int fits = area > 1e-4 && area < 1e4;
    for (int k = 0; k < 6; ++k) {
        fits = fits && fabs(c[k]) <= (k % 3 == 2 ? 1e6 : 100.0);
    }
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "camera: expected a 2x3 matrix of finite numbers that "
                        "zooms by at most 100 and moves by at most 1e6 pixels");
        return -1;
    }
    frame->camera = c;
    return 0;
}

PyDoc_STRVAR(step_doc, "step(boxes, scores, labels, embeddings|None, pts_ns, height, width,\n"
                       "     camera|None,\n"
                       "     out_ids, out_boxes, out_scores, out_labels, out_det_index)\n"
                       "-> number of tracks");

static PyObject *tracker_step(TrackerObject *self, PyObject *args)
{
    PyObject *in[4], *out[5], *camera;
    long long pts_ns;
    em_frame_info frame;
    em_rows rows;
    em_tracks_out tracks;
    buffers b = {.n = 0};
    int n = EM_EARG;
    if (!PyArg_ParseTuple(args, "OOOOLiiOOOOOO", &in[0], &in[1], &in[2], &in[3], &pts_ns,
                          &frame.height, &frame.width, &camera, &out[0], &out[1], &out[2],
                          &out[3], &out[4])) {
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
    if (take_camera(&b, camera, &frame) == 0 && take_rows(&b, in, &rows) == 0 &&
        take_tracks(&b, out, self->capacity, &tracks) == 0) {
        if (rows.embeddings != NULL && self->dim != 0 && rows.dim != self->dim) {
            PyErr_Format(PyExc_ValueError, "embeddings: expected width %d, got %d", self->dim,
                         rows.dim);
        } else if (grow(&self->scratch, &self->scratch_size,
                        em_tracker_scratch(self->tracker, rows.n)) == 0) {
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
    {Py_tp_doc, "Tracker(config, capacity, embedding_dim); config: TrackerConfig's numbers in order"},
    {0, NULL},
};

PyType_Spec tracker_spec = {
    .name = "edgemtl._native.Tracker",
    .basicsize = sizeof(TrackerObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = tracker_slots,
};
