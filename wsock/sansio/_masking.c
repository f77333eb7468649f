/* The XOR mask of RFC 6455 section 5.3, and a payload that fills in place.
 *
 * The twin of _masking_python.py: same names, same results. Positions are bytes, `start <= end <= len(data)`; a key of
 * four bytes masks, an empty one copies.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* dst and src may not overlap; phase is the position of src[0] in the masked payload, modulo 4. */
static void
xor_bytes(uint8_t *dst, const uint8_t *src, size_t size, const uint8_t *key, unsigned phase)
{
    uint8_t pattern[8];
    uint64_t word;
    size_t i = 0;
    for (unsigned k = 0; k < 8; k++)
        pattern[k] = key[(phase + k) & 3];
    memcpy(&word, pattern, 8);
    for (; i + 8 <= size; i += 8) {
        uint64_t chunk;
        memcpy(&chunk, src + i, 8);
        chunk ^= word;
        memcpy(dst + i, &chunk, 8);
    }
    for (; i < size; i++)
        dst[i] = src[i] ^ pattern[i & 7];
}

/* Copies or unmasks data[start:end] to dst. */
static void
fill(uint8_t *dst, const Py_buffer *data, Py_ssize_t start, Py_ssize_t end, const Py_buffer *key, unsigned phase)
{
    const uint8_t *src = (const uint8_t *)data->buf + start;
    if (key->len == 4)
        xor_bytes(dst, src, (size_t)(end - start), key->buf, phase);
    else
        memcpy(dst, src, (size_t)(end - start));
}

static int
check(const Py_buffer *data, Py_ssize_t start, Py_ssize_t end, const Py_buffer *key)
{
    if (start < 0 || end < start || end > data->len) {
        PyErr_SetString(PyExc_ValueError, "start and end must lie in the data, in this order");
        return -1;
    }
    if (key->len != 4 && key->len != 0) {
        PyErr_SetString(PyExc_ValueError, "a masking key has 4 bytes, or none for data that is not masked");
        return -1;
    }
    return 0;
}

static PyObject *
unmask(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Py_buffer data, key;
    PyObject *result = NULL;
    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "unmask takes data, start, end and key");
        return NULL;
    }
    Py_ssize_t start = PyLong_AsSsize_t(args[1]);
    if (start == -1 && PyErr_Occurred())
        return NULL;
    Py_ssize_t end = PyLong_AsSsize_t(args[2]);
    if (end == -1 && PyErr_Occurred())
        return NULL;
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0)
        return NULL;
    if (PyObject_GetBuffer(args[3], &key, PyBUF_SIMPLE) < 0) {
        PyBuffer_Release(&data);
        return NULL;
    }
    if (check(&data, start, end, &key) == 0) {
        result = PyBytes_FromStringAndSize(NULL, end - start);
        if (result != NULL)
            fill((uint8_t *)PyBytes_AS_STRING(result), &data, start, end, &key, 0);
    }
    PyBuffer_Release(&key);
    PyBuffer_Release(&data);
    return result;
}

typedef struct {
    PyObject_HEAD
    PyObject *payload; /* bytes of `capacity`, owned by nobody else; NULL while capacity is 0 */
    Py_ssize_t size, capacity;
} PayloadBuffer;

/* Room for `needed` bytes: at least twice what there was, so that growth is linear, but not past a known final size. */
static int
grow(PayloadBuffer *self, Py_ssize_t needed, Py_ssize_t final_size)
{
    Py_ssize_t capacity = self->capacity > PY_SSIZE_T_MAX / 2 ? needed : self->capacity * 2;
    if (final_size >= needed && capacity > final_size)
        capacity = final_size;
    if (capacity < needed)
        capacity = needed;
    if (self->payload == NULL) {
        self->payload = PyBytes_FromStringAndSize(NULL, capacity);
    } else if (_PyBytes_Resize(&self->payload, capacity) < 0) {
        self->size = self->capacity = 0;
        return -1;
    }
    if (self->payload == NULL)
        return -1;
    self->capacity = capacity;
    return 0;
}

static PyObject *
payload_extend(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    PayloadBuffer *self = (PayloadBuffer *)object;
    Py_buffer data, key;
    int failed = -1;
    if (count != 6) {
        PyErr_SetString(PyExc_TypeError, "extend takes data, start, end, key, phase and final_size");
        return NULL;
    }
    Py_ssize_t numbers[4];
    for (int i = 0; i < 4; i++) {
        static const int places[4] = {1, 2, 4, 5};
        numbers[i] = PyLong_AsSsize_t(args[places[i]]);
        if (numbers[i] == -1 && PyErr_Occurred())
            return NULL;
    }
    Py_ssize_t start = numbers[0], end = numbers[1];
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0)
        return NULL;
    if (PyObject_GetBuffer(args[3], &key, PyBUF_SIMPLE) < 0) {
        PyBuffer_Release(&data);
        return NULL;
    }
    if (check(&data, start, end, &key) == 0) {
        if (end - start > PY_SSIZE_T_MAX - self->size)
            PyErr_NoMemory();
        else {
            Py_ssize_t needed = self->size + (end - start);
            failed = needed > self->capacity ? grow(self, needed, numbers[3]) : 0;
            if (failed == 0 && end > start) {
                fill((uint8_t *)PyBytes_AS_STRING(self->payload) + self->size, &data, start, end, &key,
                     (unsigned)(numbers[2] & 3));
                self->size = needed;
            }
        }
    }
    PyBuffer_Release(&key);
    PyBuffer_Release(&data);
    if (failed != 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
payload_take(PyObject *object, PyObject *unused)
{
    PayloadBuffer *self = (PayloadBuffer *)object;
    PyObject *result = self->payload;
    Py_ssize_t size = self->size, capacity = self->capacity;
    self->payload = NULL;
    self->size = self->capacity = 0;
    if (result == NULL)
        return PyBytes_FromStringAndSize(NULL, 0);
    if (size != capacity && _PyBytes_Resize(&result, size) < 0)
        return NULL;
    return result;
}

static Py_ssize_t
payload_length(PyObject *object)
{
    return ((PayloadBuffer *)object)->size;
}

static void
payload_dealloc(PyObject *object)
{
    Py_XDECREF(((PayloadBuffer *)object)->payload);
    Py_TYPE(object)->tp_free(object);
}

static PyMethodDef payload_methods[] = {
    {"extend", (PyCFunction)(void (*)(void))payload_extend, METH_FASTCALL,
     "extend(data, start, end, key, phase, final_size)\n--\n\nAppends data[start:end], unmasked."},
    {"take", payload_take, METH_NOARGS, "take()\n--\n\nReturns what was gathered and starts anew."},
    {NULL, NULL, 0, NULL},
};

static PySequenceMethods payload_sequence = {.sq_length = payload_length};

static PyTypeObject PayloadBufferType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "wsock.sansio._masking.PayloadBuffer",
    .tp_doc = "A payload that comes in pieces, gathered in one growing bytes object.",
    .tp_basicsize = sizeof(PayloadBuffer),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_dealloc = payload_dealloc,
    .tp_methods = payload_methods,
    .tp_as_sequence = &payload_sequence,
};

static PyMethodDef functions[] = {
    {"unmask", (PyCFunction)(void (*)(void))unmask, METH_FASTCALL,
     "unmask(data, start, end, key)\n--\n\nReturns data[start:end] with the mask taken off, or put on."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "wsock.sansio._masking", .m_size = -1, .m_methods = functions,
};

PyMODINIT_FUNC
PyInit__masking(void)
{
    if (PyType_Ready(&PayloadBufferType) < 0)
        return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    Py_INCREF(&PayloadBufferType);
    if (PyModule_AddObject(module, "PayloadBuffer", (PyObject *)&PayloadBufferType) < 0) {
        Py_DECREF(&PayloadBufferType);
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
