/* CPython glue of bytetrack.c. */
#include "glue.h"

#include <math.h>

typedef struct {
    PyObject_HEAD
    em_bytetrack *tracker;
    void *scratch;
    size_t scratch_size;
    int32_t capacity;
    int busy;
} ByteTrackObject;

static int check_config(const em_bytetrack_config *c)
{
    if (!isfinite(c->min_score) || !isfinite(c->track_thresh) || !isfinite(c->high_thresh) ||
        !(c->match_thresh >= 0.0f && c->match_thresh <= 1.0f) || c->high_thresh < 0.0f ||
        c->track_buffer < 0) {
        PyErr_SetString(PyExc_ValueError, "config: expected finite float32 numbers, high_thresh "
                        "and track_buffer from 0, match_thresh from 0 to 1");
        return -1;
    }
    return 0;
}

static PyObject *bytetrack_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    em_bytetrack_config c;
    int track_buffer, fuse_score, match_predicted, capacity;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "ByteTrack: takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "(ffffipp)i", &c.min_score, &c.track_thresh, &c.high_thresh,
                          &c.match_thresh, &track_buffer, &fuse_score, &match_predicted,
                          &capacity)) {
        return NULL;
    }
    c.track_buffer = track_buffer;
    c.fuse_score = fuse_score;
    c.match_predicted = match_predicted;
    if (capacity < 1 || capacity > 65536) {
        return PyErr_Format(PyExc_ValueError, "capacity: expected 1 to 65536, got %d", capacity);
    }
    if (check_config(&c) < 0) {
        return NULL;
    }
    ByteTrackObject *self = (ByteTrackObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    void *memory = PyMem_RawCalloc(1, em_bytetrack_size(capacity));
    if (memory == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    self->tracker = em_bytetrack_init(memory, &c, capacity);
    self->capacity = capacity;
    return (PyObject *)self;
}

static void bytetrack_dealloc(ByteTrackObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyMem_RawFree(self->tracker);
    PyMem_RawFree(self->scratch);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

/* The step itself, all arguments taken; its result, or EM_EARG with an exception set. */
static int run_step(ByteTrackObject *self, const em_rows *rows, int64_t pts_ns,
                    const em_tracks_out *tracks)
{
    int n;
    if (grow(&self->scratch, &self->scratch_size,
             em_bytetrack_scratch(self->tracker, rows->n)) < 0) {
        return EM_EARG;
    }
    self->busy = 1;
    Py_BEGIN_ALLOW_THREADS
    n = em_bytetrack_step(self->tracker, rows, pts_ns, tracks, self->scratch);
    Py_END_ALLOW_THREADS
    self->busy = 0;
    if (n == EM_ETIME) {
        PyErr_SetString(PyExc_ValueError, "pts_ns: went backwards; reset the tracker when the "
                        "stream starts again");
    }
    return n;
}

PyDoc_STRVAR(step_doc, "step(boxes, scores, labels, pts_ns,\n"
                       "     out_ids, out_boxes, out_scores, out_labels, out_det_index)\n"
                       "-> number of tracks");

static PyObject *bytetrack_step(ByteTrackObject *self, PyObject *args)
{
    PyObject *in[4] = {NULL, NULL, NULL, Py_None}, *out[5];
    long long pts_ns;
    em_rows rows;
    em_tracks_out tracks;
    buffers b = {.n = 0};
    int n = EM_EARG;
    if (!PyArg_ParseTuple(args, "OOOLOOOOO", &in[0], &in[1], &in[2], &pts_ns, &out[0], &out[1],
                          &out[2], &out[3], &out[4])) {
        return NULL;
    }
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "this tracker is stepping in another thread; give "
                        "each stream a tracker of its own");
        return NULL;
    }
    if (take_rows(&b, in, &rows) == 0 && take_tracks(&b, out, self->capacity, &tracks) == 0) {
        n = run_step(self, &rows, (int64_t)pts_ns, &tracks);
    }
    release(&b);
    return n < 0 ? NULL : PyLong_FromLong(n);
}

static PyObject *bytetrack_reset(ByteTrackObject *self, PyObject *unused)
{
    (void)unused;
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "this tracker is stepping in another thread");
        return NULL;
    }
    em_bytetrack_reset(self->tracker);
    Py_RETURN_NONE;
}

static PyObject *bytetrack_refused(ByteTrackObject *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLongLong(em_bytetrack_refused(self->tracker));
}

static PyMethodDef bytetrack_methods[] = {
    {"step", (PyCFunction)(void (*)(void))bytetrack_step, METH_VARARGS, step_doc},
    {"reset", (PyCFunction)(void (*)(void))bytetrack_reset, METH_NOARGS, "Forget all tracks."},
    {"refused", (PyCFunction)(void (*)(void))bytetrack_refused, METH_NOARGS,
     "Births refused because the tracker was full."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot bytetrack_slots[] = {
    {Py_tp_new, (void *)bytetrack_new},
    {Py_tp_dealloc, (void *)bytetrack_dealloc},
    {Py_tp_methods, bytetrack_methods},
    {Py_tp_doc, "ByteTrack(config, capacity); config: min_score, track_thresh, high_thresh, "
                "match_thresh, track_buffer, fuse_score, match_predicted"},
    {0, NULL},
};

PyType_Spec bytetrack_spec = {
    .name = "edgemtl._native.ByteTrack",
    .basicsize = sizeof(ByteTrackObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = bytetrack_slots,
};
