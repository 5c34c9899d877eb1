/* The express lane: from the bytes of plain records straight to the JSON that Braze gets, without a dict between.
 *
 * A lane runs a program that `plan.py` has written for one writer schema and one mapping document: how the bytes are
 * walked, which fields are caught on the way, and which map becomes the object's bag of free values. What is not plain
 * (bad bytes, a name that has to change, a value that has to be looked at) is declined: nothing is ever judged here.
 * The ordinary decoder and mapping take every record that is declined, and theirs is the word on it. So all that has
 * to hold is: what a lane does give is what they would have given. tests/express shows that, on hostile bytes too.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "json.h"
#include "names.h"

#ifndef SOURCE_DIGEST /* set by build.py: which source this was compiled from */
#define SOURCE_DIGEST ""
#endif

/* ---- the lane ---------------------------------------------------------------------------------------------------- */

#define SLOTS_MAX 16

enum { NOTHING, CAUGHT_TEXT, CAUGHT_NUMBER };

typedef struct {
    int kind;
    const uint8_t *text;
    Py_ssize_t size;
    int64_t number; /* of an enum: its index */
} Slot;

/* What the records are made into. */
enum { OUT_USER, OUT_OBJECT, OUT_ENCODED, OUT_POINTS, OUT_RECORD, OUT_STAY, OUT_OFFSET, OUT_SIZE, OUT_GROUP, OUT_SLOTS };
static const char *const out_names[OUT_SLOTS] = {
    "user", "_object", "encoded", "points", "record", "stay", "offset", "size_bytes", "group",
};

typedef struct {
    PyObject_HEAD
    PyObject *program_bytes;
    const int32_t *program;
    int is_event;
    PyObject *users;        /* ((slot, b'"external_id":', is braze_id), ...), the preferred first */
    PyObject *placeholders; /* frozenset of casefolded ids */
    Py_ssize_t placeholder_chars;
    PyObject *name;  /* (b"literal" or slot, ...) */
    int time_slot;   /* -1: none */
    int flag_slot;   /* of an audience: whose index chooses */
    PyObject *flags; /* (b"true" or None, ...) */
    PyObject *skips; /* ((slot, (is skipped, ...)), ...) */
    int64_t floor_ms, ahead_ms;
    Py_ssize_t chars_max, items_max, item_bytes_max, bag_bytes_max; /* -1: no limit */
    int deletes;     /* a null of the bag is sent; else it is left out */
    int update_only; /* `_update_existing_only` */
    PyTypeObject *out_type;
    Py_ssize_t out_at[OUT_SLOTS];
    PyObject *one;
    Names bag_names, own_names;
    uint64_t records;
    /* of the record at hand */
    const uint8_t *p, *end;
    Slot slots[SLOTS_MAX];
    Text bag, name_text, out;
    Py_ssize_t bag_entries;
} Lane;

/* Programs: each node is [what, length of the node, arguments and inner nodes...]; `plan.py` writes them. */
enum {
    NUL, BOOLEAN, INT, LONG, FLOAT, DOUBLE, SKIPPED, STRING, FIXED, ENUM, UNION, RECORD, ARRAY, MAP, BAG, TIME, DECLINE,
};

static int read_long(Lane *lane, int64_t *value)
{
    uint64_t bits = 0;
    int shift = 0;
    while (lane->p < lane->end) {
        uint8_t byte = *lane->p++;
        if (shift == 63 && byte > 1)
            return DECLINED;
        bits |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            *value = (int64_t)(bits >> 1) ^ -(int64_t)(bits & 1);
            return GIVEN;
        }
        shift += 7;
        if (shift > 63)
            return DECLINED;
    }
    return DECLINED;
}

static int read_int(Lane *lane, int64_t *value)
{
    MUST(read_long(lane, value));
    return *value >= INT32_MIN && *value <= INT32_MAX ? GIVEN : DECLINED;
}

static int read_text(Lane *lane, const uint8_t **text, Py_ssize_t *size)
{
    int64_t length;
    MUST(read_long(lane, &length));
    if (length < 0 || length > lane->end - lane->p)
        return DECLINED;
    *text = lane->p;
    *size = (Py_ssize_t)length;
    lane->p += length;
    return GIVEN;
}

static int read_double(Lane *lane, int is_float, double *value)
{
    int size = is_float ? 4 : 8;
    if (lane->end - lane->p < size)
        return DECLINED;
    *value = is_float ? PyFloat_Unpack4((const char *)lane->p, 1) : PyFloat_Unpack8((const char *)lane->p, 1);
    if (*value == -1.0 && PyErr_Occurred())
        return BROKEN;
    lane->p += size;
    return GIVEN;
}

static int read_boolean(Lane *lane, int *value)
{
    if (lane->p >= lane->end || *lane->p > 1)
        return DECLINED;
    *value = *lane->p++;
    return GIVEN;
}

static int read_branch(Lane *lane, const int32_t **node)
{
    int64_t index;
    const int32_t *branch = *node + 3;
    if (lane->p < lane->end && *lane->p > 127)
        return DECLINED; /* more branches than anybody's, or one that is spelled longer than it is */
    MUST(read_long(lane, &index));
    if (index < 0 || index >= (*node)[2])
        return DECLINED;
    while (index-- > 0)
        branch += branch[1];
    *node = branch;
    return GIVEN;
}

/* How many items a block of an array or map has; 0: it was the last. */
static int read_block(Lane *lane, int64_t *count)
{
    int64_t size;
    MUST(read_long(lane, count));
    if (*count < 0) {
        if (*count < -INT32_MAX)
            return DECLINED;
        *count = -*count;
        MUST(read_long(lane, &size)); /* of the block in bytes, which nobody needs */
    }
    return GIVEN;
}

static void catch_number(Lane *lane, int slot, int64_t number)
{
    if (slot >= 0)
        lane->slots[slot] = (Slot){.kind = CAUGHT_NUMBER, .number = number};
}

static int read_bag(Lane *lane, const int32_t *value);

/* Walks one value, catching what the program says. */
static int walk(Lane *lane, const int32_t *node)
{
    int64_t number;
    double real;
    int truth;
    const uint8_t *text;
    Py_ssize_t size;
    switch (node[0]) {
    case NUL:
        return GIVEN;
    case BOOLEAN:
        return read_boolean(lane, &truth);
    case INT:
        MUST(read_int(lane, &number));
        catch_number(lane, node[2], number);
        return GIVEN;
    case LONG:
        MUST(read_long(lane, &number));
        catch_number(lane, node[2], number);
        return GIVEN;
    case FLOAT:
    case DOUBLE:
        return read_double(lane, node[0] == FLOAT, &real);
    case SKIPPED:
        return read_text(lane, &text, &size);
    case STRING:
        MUST(read_text(lane, &text, &size));
        if (utf8_chars(text, size) < 0)
            return DECLINED;
        if (node[2] >= 0)
            lane->slots[node[2]] = (Slot){.kind = CAUGHT_TEXT, .text = text, .size = size};
        return GIVEN;
    case FIXED:
        if (lane->end - lane->p < node[2])
            return DECLINED;
        lane->p += node[2];
        return GIVEN;
    case ENUM:
        MUST(read_int(lane, &number));
        if (number < 0 || number >= node[3])
            return DECLINED;
        catch_number(lane, node[2], number);
        return GIVEN;
    case UNION:
        MUST(read_branch(lane, &node));
        return walk(lane, node);
    case RECORD: {
        const int32_t *field = node + 3;
        for (int32_t left = node[2]; left > 0; left--, field += field[1])
            MUST(walk(lane, field));
        return GIVEN;
    }
    case ARRAY:
    case MAP:
        for (;;) {
            MUST(read_block(lane, &number));
            if (number == 0)
                return GIVEN;
            while (number-- > 0) {
                if (node[0] == MAP) {
                    MUST(read_text(lane, &text, &size));
                    if (node[2] && utf8_chars(text, size) < 0)
                        return DECLINED;
                }
                MUST(walk(lane, node + 3));
            }
        }
    case BAG:
        return read_bag(lane, node + 3);
    default:
        return DECLINED;
    }
}

/* Writes one value of the bag as JSON; `*is_null`: it is a null, and nothing was written. */
static int write_value(Lane *lane, const int32_t *node, int is_item, int *is_null)
{
    Text *to = &lane->bag;
    int64_t number;
    double real;
    int truth;
    const uint8_t *text;
    Py_ssize_t size;
    *is_null = 0;
    if (node[0] == UNION)
        MUST(read_branch(lane, &node));
    switch (node[0]) {
    case NUL:
        *is_null = 1;
        return GIVEN;
    case BOOLEAN:
        MUST(read_boolean(lane, &truth));
        if (truth)
            PUT_WORD(to, "true");
        else
            PUT_WORD(to, "false");
        return GIVEN;
    case INT:
    case LONG:
        MUST(node[0] == INT ? read_int(lane, &number) : read_long(lane, &number));
        return put_integer(to, number);
    case FLOAT:
    case DOUBLE:
        MUST(read_double(lane, node[0] == FLOAT, &real));
        return put_double(to, real);
    case TIME:
        if (is_item)
            return DECLINED;
        MUST(read_long(lane, &number));
        return put_time(to, number);
    case STRING: {
        MUST(read_text(lane, &text, &size));
        Py_ssize_t chars = utf8_chars(text, size);
        if (chars < 0 || (lane->chars_max >= 0 && chars > lane->chars_max))
            return DECLINED;
        return put_string(to, text, size);
    }
    case ARRAY: {
        if (is_item)
            return DECLINED;
        size_t began = to->used;
        Py_ssize_t items = 0;
        PUT_WORD(to, "[");
        for (;;) {
            MUST(read_block(lane, &number));
            if (number == 0)
                break;
            while (number-- > 0) {
                int is_hole;
                size_t before = to->used;
                if (items)
                    PUT_WORD(to, ",");
                MUST(write_value(lane, node + 3, 1, &is_hole));
                if (is_hole)
                    to->used = before;
                else
                    items++;
            }
        }
        PUT_WORD(to, "]");
        if ((lane->items_max >= 0 && items > lane->items_max)
            || (lane->item_bytes_max >= 0 && (Py_ssize_t)(to->used - began) > lane->item_bytes_max))
            return DECLINED;
        return GIVEN;
    }
    default:
        return DECLINED;
    }
}

/* Writes the entries of a map of free values, each with a comma behind it. */
static int read_bag(Lane *lane, const int32_t *value)
{
    Text *to = &lane->bag;
    for (;;) {
        int64_t count;
        MUST(read_block(lane, &count));
        if (count == 0)
            return GIVEN;
        while (count-- > 0) {
            const uint8_t *text;
            Py_ssize_t size;
            Name *name;
            int is_null;
            size_t before = to->used;
            MUST(read_text(lane, &text, &size));
            MUST(names_find(&lane->bag_names, text, size, &name));
            if (name->seen == lane->records)
                return DECLINED;
            name->seen = lane->records;
            PUT(to, name->json, name->json_size);
            MUST(write_value(lane, value, 0, &is_null));
            if (is_null && lane->deletes)
                PUT_WORD(to, "null");
            if (is_null && !lane->deletes) {
                to->used = before;
                continue;
            }
            PUT_WORD(to, ",");
            lane->bag_entries++;
        }
    }
}

/* ---- from what was caught to the object ---------------------------------------------------------------------------- */

static int is_blank(uint8_t c)
{
    return c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31);
}

/* Text that trimming would leave as it is. Beyond ASCII there are more blanks: those are for the others. */
static int is_trimmed(const Slot *slot)
{
    uint8_t first = slot->text[0], last = slot->text[slot->size - 1];
    return first < 0x80 && last < 0x80 && !is_blank(first) && !is_blank(last);
}

#define ID_BYTES_MAX 900 /* below Braze's own limit, which the others measure against */

/* Who: the ordering lane as a new `str`, and the object's identifier, which is put into `out`. */
static int put_user(Lane *lane, Text *out, PyObject **user)
{
    const Slot *slot = NULL;
    PyObject *choice = NULL;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(lane->users); i++) {
        choice = PyTuple_GET_ITEM(lane->users, i);
        slot = &lane->slots[PyLong_AsLong(PyTuple_GET_ITEM(choice, 0))];
        if (slot->kind == CAUGHT_TEXT && slot->size > 0)
            break;
        slot = NULL;
    }
    if (slot == NULL || slot->size > ID_BYTES_MAX || !is_trimmed(slot))
        return DECLINED;
    for (Py_ssize_t i = 0; i < slot->size && slot->size <= lane->placeholder_chars * 4; i++)
        if (slot->text[i] >= 0x80)
            return DECLINED; /* whatever its casefolded form is */
    if (slot->size <= lane->placeholder_chars) {
        char lowered[ID_BYTES_MAX];
        for (Py_ssize_t i = 0; i < slot->size; i++) {
            uint8_t c = slot->text[i];
            lowered[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
        }
        PyObject *asked = PyUnicode_FromStringAndSize(lowered, slot->size);
        if (asked == NULL)
            return BROKEN;
        int is_placeholder = PySet_Contains(lane->placeholders, asked);
        Py_DECREF(asked);
        if (is_placeholder)
            return is_placeholder < 0 ? BROKEN : DECLINED;
    }
    char key[ID_BYTES_MAX + 1] = "";
    int is_braze_id = PyTuple_GET_ITEM(choice, 2) == Py_True;
    memcpy(key + is_braze_id, slot->text, (size_t)slot->size);
    PyObject *word = PyTuple_GET_ITEM(choice, 1);
    PUT(out, PyBytes_AS_STRING(word), (size_t)PyBytes_GET_SIZE(word));
    MUST(put_string(out, slot->text, slot->size));
    *user = PyUnicode_DecodeUTF8(key, slot->size + is_braze_id, NULL);
    return *user == NULL ? BROKEN : GIVEN;
}

/* The event's or the audience attribute's own name. */
static int find_name(Lane *lane, Name **name)
{
    Text *text = &lane->name_text;
    text->used = 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(lane->name); i++) {
        PyObject *piece = PyTuple_GET_ITEM(lane->name, i);
        if (PyBytes_Check(piece)) {
            PUT(text, PyBytes_AS_STRING(piece), (size_t)PyBytes_GET_SIZE(piece));
            continue;
        }
        const Slot *slot = &lane->slots[PyLong_AsLong(piece)];
        if (slot->kind != CAUGHT_TEXT || slot->size == 0 || !is_trimmed(slot))
            return DECLINED;
        PUT(text, (const char *)slot->text, (size_t)slot->size);
    }
    return names_find(&lane->own_names, (const uint8_t *)text->at, (Py_ssize_t)text->used, name);
}

/* Whether the bag at hand has an entry of this name. */
static int bag_holds(Lane *lane, const Name *name)
{
    Name *twin;
    int answer = names_find(&lane->bag_names, name->bytes, (Py_ssize_t)name->size, &twin);
    return answer == BROKEN ? BROKEN : answer == GIVEN && twin->seen == lane->records;
}

static int put_event(Lane *lane, PyObject **user)
{
    Text *out = &lane->out;
    Name *name;
    PUT_WORD(out, "{");
    MUST(put_user(lane, out, user));
    MUST(find_name(lane, &name));
    PUT_WORD(out, ",\"name\":");
    PUT(out, name->json, name->json_size - 1);
    PUT_WORD(out, ",\"time\":");
    MUST(put_time(out, lane->slots[lane->time_slot].number));
    if (lane->bag_entries) {
        PUT_WORD(out, ",\"properties\":{");
        PUT(out, lane->bag.at, lane->bag.used - 1);
        PUT_WORD(out, "}");
    }
    if (lane->update_only)
        PUT_WORD(out, ",\"_update_existing_only\":true");
    PUT_WORD(out, "}");
    return GIVEN;
}

static int put_attributes(Lane *lane, PyObject **user)
{
    Text *out = &lane->out;
    Name *name;
    const Slot *flag = &lane->slots[lane->flag_slot];
    if (flag->kind != CAUGHT_NUMBER || flag->number >= PyTuple_GET_SIZE(lane->flags))
        return DECLINED;
    PyObject *word = PyTuple_GET_ITEM(lane->flags, flag->number);
    if (word == Py_None)
        return DECLINED;
    MUST(find_name(lane, &name));
    int is_taken = bag_holds(lane, name);
    if (is_taken)
        return is_taken < 0 ? BROKEN : DECLINED;
    PUT_WORD(out, "{");
    PUT(out, lane->bag.at, lane->bag.used); /* its last comma is wanted here */
    PUT(out, name->json, name->json_size);
    PUT(out, PyBytes_AS_STRING(word), (size_t)PyBytes_GET_SIZE(word));
    PUT_WORD(out, ",");
    MUST(put_user(lane, out, user));
    if (lane->update_only)
        PUT_WORD(out, ",\"_update_existing_only\":true");
    PUT_WORD(out, "}");
    return GIVEN;
}

/* One value to `out` and `*user`. */
static int translate(Lane *lane, const uint8_t *value, Py_ssize_t size, int64_t at_ms, PyObject **user)
{
    lane->p = value;
    lane->end = value + size;
    lane->records++;
    lane->bag.used = lane->out.used = 0;
    lane->bag_entries = 0;
    memset(lane->slots, 0, sizeof lane->slots);
    MUST(walk(lane, lane->program));
    if (lane->p != lane->end)
        return DECLINED;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(lane->skips); i++) {
        PyObject *skip = PyTuple_GET_ITEM(lane->skips, i), *skipped = PyTuple_GET_ITEM(skip, 1);
        const Slot *slot = &lane->slots[PyLong_AsLong(PyTuple_GET_ITEM(skip, 0))];
        if (slot->kind == CAUGHT_NUMBER && PyTuple_GET_ITEM(skipped, slot->number) == Py_True)
            return DECLINED;
    }
    if (lane->time_slot >= 0) {
        const Slot *slot = &lane->slots[lane->time_slot];
        if (slot->kind != CAUGHT_NUMBER || slot->number < lane->floor_ms || slot->number > at_ms + lane->ahead_ms)
            return DECLINED;
    }
    if ((Py_ssize_t)lane->bag.used > lane->bag_bytes_max)
        return DECLINED;
    return lane->is_event ? put_event(lane, user) : put_attributes(lane, user);
}

static void out_set(Lane *lane, PyObject *out, int which, PyObject *value)
{
    *(PyObject **)((char *)out + lane->out_at[which]) = Py_NewRef(value);
}

static PyObject *word_value, *word_offset, *word_headers;

/* Whether the schema's id travels in a header: then the frame says nothing, and whoever reads headers is asked. */
static int is_framed_by_header(PyObject *record)
{
    PyObject *headers = PyObject_CallMethodNoArgs(record, word_headers);
    int answer = GIVEN;
    if (headers == NULL) { /* as `headers_of` has it: a name that is no UTF-8, and the record has none from then on */
        if (!PyErr_ExceptionMatches(PyExc_SystemError) && !PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
            return BROKEN;
        PyErr_Clear();
        PyObject *mended = PyObject_CallMethod(record, "set_headers", "([])");
        if (mended == NULL)
            return BROKEN;
        Py_DECREF(mended);
        return DECLINED;
    }
    if (headers == Py_None)
        answer = DECLINED;
    else if (PyList_Check(headers)) {
        answer = DECLINED;
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(headers) && answer == DECLINED; i++) {
            PyObject *header = PyList_GET_ITEM(headers, i);
            if (!PyTuple_Check(header) || PyTuple_GET_SIZE(header) != 2 || !PyUnicode_Check(PyTuple_GET_ITEM(header, 0))
                || PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(header, 0), "__value_schema_id") == 0)
                answer = GIVEN;
        }
    }
    Py_DECREF(headers);
    return answer;
}

/* One record; `*made` is a new `Outbound`, or None where it is declined. */
static int give(Lane *lane, PyObject *record, Py_ssize_t start, int64_t frame, int64_t at_ms, PyObject *stay,
                PyObject **made)
{
    PyObject *user = NULL, *out = NULL;
    int answer = DECLINED;
    PyObject *value = PyObject_CallMethodNoArgs(record, word_value);
    if (value == NULL)
        return BROKEN;
    if (PyBytes_Check(value) && PyBytes_GET_SIZE(value) >= start) {
        const uint8_t *bytes = (const uint8_t *)PyBytes_AS_STRING(value);
        int is_ours = 1;
        if (start) {
            int64_t framed = (int64_t)bytes[1] << 24 | bytes[2] << 16 | bytes[3] << 8 | bytes[4];
            is_ours = bytes[0] == 0 && (frame < 0 || framed == frame);
            if (is_ours) {
                int by_header = is_framed_by_header(record);
                is_ours = by_header == DECLINED;
                answer = by_header == BROKEN ? BROKEN : DECLINED;
            }
        }
        if (is_ours)
            answer = translate(lane, bytes + start, PyBytes_GET_SIZE(value) - start, at_ms, &user);
    }
    if (answer == GIVEN) {
        PyObject *offset = PyObject_CallMethodNoArgs(record, word_offset);
        PyObject *encoded = PyBytes_FromStringAndSize(lane->out.at, (Py_ssize_t)lane->out.used);
        PyObject *size = PyLong_FromSsize_t(PyBytes_GET_SIZE(value));
        PyObject *points = lane->is_event ? Py_NewRef(lane->one) : PyLong_FromSsize_t(lane->bag_entries + 1);
        out = lane->out_type->tp_alloc(lane->out_type, 0);
        if (offset != NULL && encoded != NULL && size != NULL && points != NULL && out != NULL) {
            out_set(lane, out, OUT_USER, user);
            out_set(lane, out, OUT_OBJECT, Py_None);
            out_set(lane, out, OUT_ENCODED, encoded);
            out_set(lane, out, OUT_POINTS, points);
            out_set(lane, out, OUT_RECORD, record);
            out_set(lane, out, OUT_STAY, stay);
            out_set(lane, out, OUT_OFFSET, offset);
            out_set(lane, out, OUT_SIZE, size);
            out_set(lane, out, OUT_GROUP, Py_None);
        } else {
            Py_CLEAR(out);
            answer = BROKEN;
        }
        Py_XDECREF(offset);
        Py_XDECREF(encoded);
        Py_XDECREF(size);
        Py_XDECREF(points);
    }
    Py_XDECREF(user);
    Py_DECREF(value);
    *made = answer == GIVEN ? out : Py_NewRef(Py_None);
    return answer;
}

PyDoc_STRVAR(run_doc,
"run(records, start, frame, at_ms, stay) -> (list, declined)\n--\n\n"
"The objects of some records, in order, None for each that is declined, and how many those are.\n\n"
"`start` is where the Avro begins, `frame` the schema id that a frame must have (-1: any).");

static PyObject *lane_run(Lane *lane, PyObject *args)
{
    PyObject *records, *stay;
    Py_ssize_t start;
    long long frame, at_ms;
    if (!PyArg_ParseTuple(args, "OnLLO", &records, &start, &frame, &at_ms, &stay))
        return NULL;
    if (start != 0 && start != 5) {
        PyErr_SetString(PyExc_ValueError, "start must be 0, or 5 behind Confluent's frame");
        return NULL;
    }
    Py_ssize_t declined = 0;
    records = PySequence_Fast(records, "records must be a sequence");
    PyObject *made = records == NULL ? NULL : PyList_New(0);
    if (made == NULL) {
        Py_XDECREF(records);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(records); i++) {
        PyObject *out = NULL;
        int answer = give(lane, PySequence_Fast_GET_ITEM(records, i), start, frame, at_ms, stay, &out);
        if (answer == BROKEN || PyList_Append(made, out) < 0) {
            Py_XDECREF(out);
            Py_DECREF(made);
            Py_DECREF(records);
            return NULL;
        }
        Py_DECREF(out);
        declined += answer == DECLINED;
    }
    Py_DECREF(records);
    return Py_BuildValue("Nn", made, declined);
}

/* ---- the type ------------------------------------------------------------------------------------------------------ */

static int find_slots(Lane *lane)
{
    for (int which = 0; which < OUT_SLOTS; which++) {
        PyObject *member = PyObject_GetAttrString((PyObject *)lane->out_type, out_names[which]);
        if (member == NULL)
            return -1;
        if (!Py_IS_TYPE(member, &PyMemberDescr_Type)) {
            PyErr_Format(PyExc_TypeError, "%s must be a slot", out_names[which]);
            Py_DECREF(member);
            return -1;
        }
        lane->out_at[which] = ((PyMemberDescrObject *)member)->d_member->offset;
        Py_DECREF(member);
    }
    return 0;
}

static int lane_init(Lane *lane, PyObject *args, PyObject *kwargs)
{
    static char *words[] = {
        "program", "is_event", "users", "placeholders", "placeholder_chars", "name", "time_slot", "flag_slot", "flags",
        "skips", "floor_ms", "ahead_ms", "chars_max", "items_max", "item_bytes_max", "bag_bytes_max", "deletes",
        "update_only", "out_type", "judge_bag_name", "judge_own_name", NULL,
    };
    PyObject *program, *users, *placeholders, *name, *flags, *skips, *out_type, *bag_judge, *own_judge;
    long long floor_ms, ahead_ms;
    if (lane->program_bytes != NULL) {
        PyErr_SetString(PyExc_TypeError, "a lane is made once");
        return -1;
    }
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "$SpO!O!nO!iiO!O!LLnnnnppO!OO", words, &program, &lane->is_event, &PyTuple_Type, &users,
            &PyFrozenSet_Type, &placeholders, &lane->placeholder_chars, &PyTuple_Type, &name, &lane->time_slot,
            &lane->flag_slot, &PyTuple_Type, &flags, &PyTuple_Type, &skips, &floor_ms, &ahead_ms, &lane->chars_max,
            &lane->items_max, &lane->item_bytes_max, &lane->bag_bytes_max, &lane->deletes, &lane->update_only,
            &PyType_Type, &out_type, &bag_judge, &own_judge))
        return -1;
    lane->floor_ms = floor_ms;
    lane->ahead_ms = ahead_ms;
    lane->program_bytes = Py_NewRef(program);
    lane->program = (const int32_t *)PyBytes_AS_STRING(program);
    lane->users = Py_NewRef(users);
    lane->placeholders = Py_NewRef(placeholders);
    lane->name = Py_NewRef(name);
    lane->flags = Py_NewRef(flags);
    lane->skips = Py_NewRef(skips);
    lane->out_type = (PyTypeObject *)Py_NewRef(out_type);
    lane->bag_names.judge = Py_NewRef(bag_judge);
    lane->own_names.judge = Py_NewRef(own_judge);
    lane->one = PyLong_FromLong(1);
    return lane->one == NULL ? -1 : find_slots(lane);
}

static void lane_dealloc(Lane *lane)
{
    names_clear(&lane->bag_names);
    names_clear(&lane->own_names);
    PyMem_Free(lane->bag.at);
    PyMem_Free(lane->name_text.at);
    PyMem_Free(lane->out.at);
    Py_XDECREF(lane->program_bytes);
    Py_XDECREF(lane->users);
    Py_XDECREF(lane->placeholders);
    Py_XDECREF(lane->name);
    Py_XDECREF(lane->flags);
    Py_XDECREF(lane->skips);
    Py_XDECREF(lane->out_type);
    Py_XDECREF(lane->bag_names.judge);
    Py_XDECREF(lane->own_names.judge);
    Py_XDECREF(lane->one);
    Py_TYPE(lane)->tp_free((PyObject *)lane);
}

static PyMethodDef lane_methods[] = {
    {"run", (PyCFunction)lane_run, METH_VARARGS, run_doc},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject lane_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "connector.express.walk.Lane",
    .tp_doc = "One writer schema's express lane. Made by `connector.express.plan`, which knows what the words mean.",
    .tp_basicsize = sizeof(Lane),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)lane_init,
    .tp_dealloc = (destructor)lane_dealloc,
    .tp_methods = lane_methods,
};

static PyModuleDef walk_module = {
    PyModuleDef_HEAD_INIT, .m_name = "walk", .m_doc = "The express lane, compiled.", .m_size = -1,
};

PyMODINIT_FUNC PyInit_walk(void)
{
    word_value = PyUnicode_InternFromString("value");
    word_offset = PyUnicode_InternFromString("offset");
    word_headers = PyUnicode_InternFromString("headers");
    if (word_value == NULL || word_offset == NULL || word_headers == NULL || PyType_Ready(&lane_type) < 0)
        return NULL;
    PyObject *module = PyModule_Create(&walk_module);
    if (module == NULL || PyModule_AddObjectRef(module, "Lane", (PyObject *)&lane_type) < 0
        || PyModule_AddStringConstant(module, "SOURCE", SOURCE_DIGEST) < 0) {
        Py_XDECREF(module);
        return NULL;
    }
    return module;
}
