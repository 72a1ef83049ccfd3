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
    {Py_tp_doc, "Tracker(config, capacity, embedding_dim); config: 18 numbers in order"},
    {0, NULL},
};

PyType_Spec tracker_spec = {
    .name = "edgemtl._native.Tracker",
    .basicsize = sizeof(TrackerObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = tracker_slots,
};
