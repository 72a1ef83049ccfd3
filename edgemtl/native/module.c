/* The extension module: what the rooms' glue offers, put together. */
#include "glue.h"

static int add_function_tables(PyObject *module)
{
    PyMethodDef *tables[] = {preprocess_functions, detect_functions, assign_functions,
                             foreign_functions};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; ++i) {
        if (PyModule_AddFunctions(module, tables[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

static int add_type(PyObject *module, const char *name, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);
    if (type == NULL) {
        return -1;
    }
    int status = PyModule_AddObjectRef(module, name, type);
    Py_DECREF(type);
    return status;
}

static int fill(PyObject *module)
{
    if (add_function_tables(module) < 0) {
        return -1;
    }
    if (add_type(module, "Tracker", &tracker_spec) < 0) {
        return -1;
    }
    return add_type(module, "ByteTrack", &bytetrack_spec);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)fill},
    {0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "edgemtl._native",
    .m_doc = "The C core; edgemtl.ops and edgemtl.track are its faces.",
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
