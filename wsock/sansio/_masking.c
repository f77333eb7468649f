/* The XOR mask of RFC 6455 section 5.3, and a payload that fills in place.
 *
 * The twin of _masking_python.py: same names, same results. Positions are bytes, `start <= end <= len(data)`; a key of
 * four bytes masks, an empty one copies, and None is the four bytes before `start`.
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

/* The arguments `data, start, end` and `key`, borrowed and found fit. */
typedef struct {
    const uint8_t *bytes;
    Py_ssize_t size;
    const uint8_t *key; /* of four bytes, or NULL for data that is not masked */
} Piece;

static int
read_piece(Piece *piece, PyObject *data, PyObject *start, PyObject *end, PyObject *key)
{
    Py_ssize_t from = PyLong_AsSsize_t(start);
    if (from == -1 && PyErr_Occurred())
        return -1;
    Py_ssize_t to = PyLong_AsSsize_t(end);
    if (to == -1 && PyErr_Occurred())
        return -1;
    if (!PyBytes_Check(data) || !(PyBytes_Check(key) || key == Py_None)) {
        PyErr_SetString(PyExc_TypeError, "data and key are bytes");
        return -1;
    }
    if (from < 0 || to < from || to > PyBytes_GET_SIZE(data)) {
        PyErr_SetString(PyExc_ValueError, "start and end must lie in the data, in this order");
        return -1;
    }
    piece->bytes = (const uint8_t *)PyBytes_AS_STRING(data) + from;
    piece->size = to - from;
    if (key == Py_None) {
        if (from < 4) {
            PyErr_SetString(PyExc_ValueError, "there are no 4 bytes of a key before the start");
            return -1;
        }
        piece->key = piece->bytes - 4;
    } else if (PyBytes_GET_SIZE(key) == 4) {
        piece->key = (const uint8_t *)PyBytes_AS_STRING(key);
    } else if (PyBytes_GET_SIZE(key) == 0) {
        piece->key = NULL;
    } else {
        PyErr_SetString(PyExc_ValueError, "a masking key has 4 bytes, or none for data that is not masked");
        return -1;
    }
    return 0;
}

/* Copies or unmasks a piece to dst. */
static void
fill(uint8_t *dst, const Piece *piece, unsigned phase)
{
    if (piece->key != NULL)
        xor_bytes(dst, piece->bytes, (size_t)piece->size, piece->key, phase);
    else
        memcpy(dst, piece->bytes, (size_t)piece->size);
}

static PyObject *
unmask(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Piece piece;
    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "unmask takes data, start, end and key");
        return NULL;
    }
    if (read_piece(&piece, args[0], args[1], args[2], args[3]) < 0)
        return NULL;
    PyObject *result = PyBytes_FromStringAndSize(NULL, piece.size);
    if (result != NULL)
        fill((uint8_t *)PyBytes_AS_STRING(result), &piece, 0);
    return result;
}

typedef struct {
    PyObject_HEAD
    PyObject *payload; /* bytes of `capacity`, owned by nobody else; NULL while capacity is 0 */
    Py_ssize_t size, capacity;
} PayloadBuffer;

/* Room for four times the `needed` bytes, so that growth is linear and rarely moves what is there, but not past what the
 * whole can be. Memory that nothing was written to costs address space only. */
static int
grow(PayloadBuffer *self, Py_ssize_t needed, Py_ssize_t limit)
{
    Py_ssize_t capacity = needed > PY_SSIZE_T_MAX / 4 ? needed : needed * 4;
    if (limit >= needed && capacity > limit)
        capacity = limit;
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
    Piece piece;
    if (count != 6) {
        PyErr_SetString(PyExc_TypeError, "extend takes data, start, end, key, phase and limit");
        return NULL;
    }
    Py_ssize_t phase = PyLong_AsSsize_t(args[4]);
    if (phase == -1 && PyErr_Occurred())
        return NULL;
    /* Clipped, not refused, where Py_ssize_t is too narrow for a limit of 2^63 - 1: no payload gets as far. */
    Py_ssize_t limit = PyNumber_AsSsize_t(args[5], NULL);
    if (limit == -1 && PyErr_Occurred())
        return NULL;
    if (read_piece(&piece, args[0], args[1], args[2], args[3]) < 0)
        return NULL;
    if (piece.size > PY_SSIZE_T_MAX - self->size)
        return PyErr_NoMemory();
    Py_ssize_t needed = self->size + piece.size;
    if (needed > self->capacity && grow(self, needed, limit) < 0)
        return NULL;
    if (piece.size > 0) {
        fill((uint8_t *)PyBytes_AS_STRING(self->payload) + self->size, &piece, (unsigned)(phase & 3));
        self->size = needed;
    }
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

static PyObject *
payload_bytes(PyObject *object, PyObject *unused)
{
    PayloadBuffer *self = (PayloadBuffer *)object;
    return PyBytes_FromStringAndSize(self->payload == NULL ? NULL : PyBytes_AS_STRING(self->payload), self->size);
}

/* For copies and pickles: an empty one of the same type, to be given what was gathered. */
static PyObject *
payload_reduce(PyObject *object, PyObject *unused)
{
    PyObject *gathered = payload_bytes(object, NULL);
    return gathered == NULL ? NULL : Py_BuildValue("(O()N)", Py_TYPE(object), gathered);
}

static PyObject *
payload_setstate(PyObject *object, PyObject *gathered)
{
    PayloadBuffer *self = (PayloadBuffer *)object;
    if (!PyBytes_Check(gathered)) {
        PyErr_SetString(PyExc_TypeError, "a payload is bytes");
        return NULL;
    }
    Py_ssize_t size = PyBytes_GET_SIZE(gathered);
    self->size = 0;
    if (size > self->capacity && grow(self, size, size) < 0)
        return NULL;
    if (size > 0)
        memcpy(PyBytes_AS_STRING(self->payload), PyBytes_AS_STRING(gathered), (size_t)size);
    self->size = size;
    Py_RETURN_NONE;
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
     "extend(data, start, end, key, phase, limit)\n--\n\nAppends data[start:end], unmasked."},
    {"__bytes__", payload_bytes, METH_NOARGS, "__bytes__()\n--\n\nReturns a copy of what was gathered."},
    {"__reduce__", payload_reduce, METH_NOARGS, "__reduce__()\n--\n\nFor copies and pickles."},
    {"__setstate__", payload_setstate, METH_O, "__setstate__(gathered)\n--\n\nFor copies and pickles."},
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
