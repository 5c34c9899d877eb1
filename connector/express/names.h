/* Names that were found plain, remembered together with their JSON. Included once, by walk.c. */
#ifndef AIQ_BRAZE_NAMES_H
#define AIQ_BRAZE_NAMES_H

#include "json.h"

typedef struct {
    uint8_t *bytes; /* the name; NULL: a free place */
    char *json;     /* `"name":`; NULL: it is not plain */
    uint32_t hash, size, json_size;
    int is_plain;
    uint64_t seen; /* number of the record that last held it: a map that says a name twice is declined */
} Name;

typedef struct {
    Name *places;
    size_t mask, used;
    PyObject *judge; /* name -> may it be sent as it is? */
} Names;

#define NAMES_MAX 10000 /* a stream of invented names must not fill the memory */
#define NAME_BYTES_MAX 1020

static void names_clear(Names *names)
{
    for (size_t i = 0; names->places != NULL && i <= names->mask; i++) {
        PyMem_Free(names->places[i].bytes);
        PyMem_Free(names->places[i].json);
    }
    PyMem_Free(names->places);
    names->places = NULL;
    names->mask = names->used = 0;
}

static int names_grow(Names *names)
{
    size_t room = names->places == NULL ? 64 : (names->mask + 1) * 2;
    Name *places = PyMem_Calloc(room, sizeof(Name));
    if (places == NULL) {
        PyErr_NoMemory();
        return BROKEN;
    }
    for (size_t i = 0; names->places != NULL && i <= names->mask; i++)
        if (names->places[i].bytes != NULL) {
            size_t to = names->places[i].hash & (room - 1);
            while (places[to].bytes != NULL)
                to = (to + 1) & (room - 1);
            places[to] = names->places[i];
        }
    PyMem_Free(names->places);
    names->places = places;
    names->mask = room - 1;
    return GIVEN;
}

/* The place of a name, its judgement included. DECLINED: it cannot be a name that is sent as it is. */
static int names_find(Names *names, const uint8_t *bytes, Py_ssize_t size, Name **found)
{
    if (size > NAME_BYTES_MAX)
        return DECLINED;
    uint32_t hash = 2166136261u;
    for (Py_ssize_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 16777619u;
    if (names->places != NULL)
        for (size_t i = hash & names->mask; names->places[i].bytes != NULL; i = (i + 1) & names->mask) {
            Name *name = &names->places[i];
            if (name->hash == hash && name->size == (uint32_t)size && memcmp(name->bytes, bytes, (size_t)size) == 0) {
                *found = name;
                return name->is_plain ? GIVEN : DECLINED;
            }
        }
    if (utf8_chars(bytes, size) < 0)
        return DECLINED;
    if (names->used >= NAMES_MAX) {
        names_clear(names); /* and with them which of them this record has named: the next one may begin anew */
        return DECLINED;
    }
    if (names->places == NULL || names->used * 2 > names->mask)
        MUST(names_grow(names));
    PyObject *answer = PyObject_CallFunction(names->judge, "s#", (const char *)bytes, size);
    if (answer == NULL)
        return BROKEN;
    int is_plain = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    if (is_plain < 0)
        return BROKEN;
    Text json = {0}; /* of what is sent as it is */
    int answered = is_plain ? put_string(&json, bytes, size) : GIVEN;
    if (is_plain && answered == GIVEN && text_put(&json, ":", 1) < 0)
        answered = BROKEN;
    char *fitting = json.used ? PyMem_Realloc(json.at, json.used) : NULL; /* there was room for the worst */
    if (fitting != NULL)
        json.at = fitting;
    uint8_t *kept = PyMem_Malloc((size_t)size + 1);
    if (answered != GIVEN || kept == NULL) {
        PyMem_Free(json.at);
        PyMem_Free(kept);
        if (answered == GIVEN)
            PyErr_NoMemory();
        return BROKEN;
    }
    memcpy(kept, bytes, (size_t)size);
    size_t i = hash & names->mask;
    while (names->places[i].bytes != NULL)
        i = (i + 1) & names->mask;
    names->places[i] = (Name){kept, json.at, hash, (uint32_t)size, (uint32_t)json.used, is_plain, 0};
    names->used++;
    *found = &names->places[i];
    return is_plain ? GIVEN : DECLINED;
}

#endif
