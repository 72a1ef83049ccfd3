/* CPython glue: checks every argument once, drops the GIL, calls the C core. */
#ifndef EDGEMTL_GLUE_H
#define EDGEMTL_GLUE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "edgemtl.h"

enum { MAX_VIEWS = 10 };

/* The buffers of one call, released together. */
typedef struct {
    Py_buffer views[MAX_VIEWS];
    int n;
} buffers;

typedef struct {
    const char *name, *codes; /* struct codes that are accepted, and the dtype they stand for */
    const char *dtype;
    int itemsize, ndim, writable, strided;
} wanted;

extern const wanted F32_ROWS;

wanted named(const char *name, const char *codes, int itemsize, int ndim, int writable);
void release(buffers *b);

/* The struct code of a view of plain numbers; '?' for all others, which no table accepts. */
char code_of(const Py_buffer *view);

/* Each take... gives a view, or NULL with an exception set: an array of the wanted type and rank, */
Py_buffer *take(buffers *b, PyObject *object, const wanted *w);
/* one of at least so many rows, */
Py_buffer *take_column(buffers *b, PyObject *object, const wanted *w, Py_ssize_t rows);
/* boxes [N, 4]. */
Py_buffer *take_boxes(buffers *b, PyObject *object, const char *name, int writable);
/* boxes, scores, labels and embeddings (or None) of one frame; 0, or -1 with an exception set. */
int take_rows(buffers *b, PyObject *const objects[4], em_rows *rows);
/* ids, boxes, scores, labels and det_index that a tracker of that capacity fills; 0 or -1 alike. */
int take_tracks(buffers *b, PyObject *const objects[5], Py_ssize_t capacity, em_tracks_out *out);

/* Converter of PyArg_ParseTuple: a tuple of six numbers into an em_mapping. */
int parse_mapping(PyObject *object, void *result);

/* Set an exception; always -1. */
int shape_error(const char *name, Py_ssize_t expected, Py_ssize_t got);
/* Memory for one call (PyMem_RawFree), or NULL with an exception set. */
void *scratch_of(size_t bytes);
/* The same, kept from call to call: at least so many bytes. 0, or -1 with an exception set. */
int grow(void **memory, size_t *held, size_t bytes);

/* The functions and types of each room, for module.c. */
extern PyMethodDef preprocess_functions[], detect_functions[], assign_functions[];
extern PyMethodDef foreign_functions[];
extern PyType_Spec tracker_spec, bytetrack_spec;

#endif
