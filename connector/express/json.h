/* A growing text, and how strings, numbers and times are written into it as JSON. Included once, by walk.c. */
#ifndef AIQ_BRAZE_JSON_H
#define AIQ_BRAZE_JSON_H

/* ---- a growing text -------------------------------------------------------------------------------------------- */

typedef struct {
    char *at;
    size_t used, room;
} Text;

/* Room for `more` bytes; NULL (with MemoryError) if there is none. */
static char *text_room(Text *text, size_t more)
{
    if (text->used + more > text->room) {
        size_t room = (text->used + more) * 2;
        char *at = PyMem_Realloc(text->at, room);
        if (at == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        text->at = at;
        text->room = room;
    }
    return text->at + text->used;
}

static int text_put(Text *text, const char *bytes, size_t size)
{
    char *end = text_room(text, size);
    if (end == NULL)
        return -1;
    if (size) /* nothing may come from nowhere */
        memcpy(end, bytes, size);
    text->used += size;
    return 0;
}

/* ---- every answer of a step: given, declined, or an exception --------------------------------------------------- */

enum { BROKEN = -1, DECLINED = 0, GIVEN = 1 };

#define MUST(step) do { int answer_ = (step); if (answer_ != GIVEN) return answer_; } while (0)
#define PUT(text, bytes, size) do { if (text_put((text), (bytes), (size)) < 0) return BROKEN; } while (0)
#define PUT_WORD(text, word) PUT((text), (word), sizeof(word) - 1)

/* ---- UTF-8 and JSON strings ------------------------------------------------------------------------------------- */

/* Characters of valid UTF-8, as Python's own decoder judges it; -1 where it is none, or holds a NUL. */
static Py_ssize_t utf8_chars(const uint8_t *s, Py_ssize_t size)
{
    Py_ssize_t chars = 0;
    const uint8_t *end = s + size;
    while (s < end) {
        uint8_t c = *s;
        int more;
        if (c == 0)
            return -1;
        if (c < 0x80)
            more = 0;
        else if (c >= 0xC2 && c < 0xE0)
            more = 1;
        else if (c >= 0xE0 && c < 0xF0)
            more = 2;
        else if (c >= 0xF0 && c < 0xF5)
            more = 3;
        else
            return -1;
        if (end - s <= more)
            return -1;
        for (int i = 1; i <= more; i++)
            if ((s[i] & 0xC0) != 0x80)
                return -1;
        if ((c == 0xE0 && s[1] < 0xA0) || (c == 0xED && s[1] > 0x9F) || (c == 0xF0 && s[1] < 0x90)
            || (c == 0xF4 && s[1] > 0x8F))
            return -1;
        s += more + 1;
        chars++;
    }
    return chars;
}

/* The same bytes within quotes, escaped as orjson escapes them. They are valid UTF-8 already. */
static int put_string(Text *text, const uint8_t *s, Py_ssize_t size)
{
    static const char hex[] = "0123456789abcdef";
    char *to = text_room(text, 6 * (size_t)size + 2);
    if (to == NULL)
        return BROKEN;
    char *begin = to;
    *to++ = '"';
    for (Py_ssize_t i = 0; i < size; i++) {
        uint8_t c = s[i];
        if (c >= 0x20 && c != '"' && c != '\\') {
            *to++ = (char)c;
            continue;
        }
        *to++ = '\\';
        switch (c) {
        case '"': case '\\': *to++ = (char)c; break;
        case '\b': *to++ = 'b'; break;
        case '\t': *to++ = 't'; break;
        case '\n': *to++ = 'n'; break;
        case '\f': *to++ = 'f'; break;
        case '\r': *to++ = 'r'; break;
        default:
            memcpy(to, "u00", 3);
            to[3] = hex[c >> 4];
            to[4] = hex[c & 15];
            to += 5;
        }
    }
    *to++ = '"';
    text->used += (size_t)(to - begin);
    return GIVEN;
}

/* ---- numbers and times ------------------------------------------------------------------------------------------ */

static int put_integer(Text *text, int64_t value)
{
    char digits[24];
    char *at = digits + sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0)
        *--at = '-';
    PUT(text, at, (size_t)(digits + sizeof digits - at));
    return GIVEN;
}

/* The shortest text that reads as this double again. Prices and the like have few decimals: those need no search. */
static int put_double(Text *text, double value)
{
    static const double tens[] = {1, 1e1, 1e2, 1e3, 1e4};
    if (!isfinite(value))
        return DECLINED;
    double size = fabs(value);
    if (size < 1e10 && value != 0) {
        for (int decimals = 0; decimals <= 4; decimals++) {
            double scaled = nearbyint(size * tens[decimals]);
            if (scaled / tens[decimals] != size)
                continue;
            /* Fewer than 15 digits, and dividing them rounds to this very double: no shorter text does. */
            int64_t whole = (int64_t)scaled, unit = (int64_t)tens[decimals];
            if (value < 0)
                PUT_WORD(text, "-");
            MUST(put_integer(text, whole / unit));
            if (decimals == 0) {
                PUT_WORD(text, ".0");
                return GIVEN;
            }
            char digits[8] = ".";
            int64_t rest = whole % unit;
            for (int place = decimals; place > 0; place--) {
                digits[place] = (char)('0' + rest % 10);
                rest /= 10;
            }
            PUT(text, digits, (size_t)decimals + 1);
            return GIVEN;
        }
    }
    char *digits = PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (digits == NULL)
        return BROKEN;
    int failed = text_put(text, digits, strlen(digits));
    PyMem_Free(digits);
    return failed ? BROKEN : GIVEN;
}

#define YEAR_9999_MS 253402300800000LL

/* `"2026-11-23T21:22:13.123Z"`, quotes included. Before 1970 and after 9999 it is for the others to say. */
static int put_time(Text *text, int64_t millis)
{
    if (millis < 0 || millis >= YEAR_9999_MS)
        return DECLINED;
    int64_t day = millis / 86400000;
    int rest = (int)(millis % 86400000);
    /* Civil date of a day count, in eras of 400 years that begin in March (Howard Hinnant, "chrono-Compatible..."). */
    int64_t shifted = day + 719468;
    int64_t era = shifted / 146097;
    int day_of_era = (int)(shifted % 146097);
    int year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int month_from_march = (5 * day_of_year + 2) / 153;
    int d = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    int m = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    int y = (int)(year_of_era + era * 400) + (m <= 2);
    char spelled[26] = "\"0000-00-00T00:00:00.000Z\"";
    const int values[] = {y, m, d, rest / 3600000, rest / 60000 % 60, rest / 1000 % 60, rest % 1000};
    static const int last[] = {4, 7, 10, 13, 16, 19, 23}, width[] = {4, 2, 2, 2, 2, 2, 3};
    for (int part = 0; part < 7; part++)
        for (int place = 0, value = values[part]; place < width[part]; place++, value /= 10)
            spelled[last[part] - place] = (char)('0' + value % 10);
    PUT(text, spelled, 26);
    return GIVEN;
}

#endif
