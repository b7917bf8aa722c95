#include "dispatcher/quantity.h"

#include <inttypes.h>
#include <stdio.h>

static const struct {
    const char *name;
    bool seconds;  /* else a whole number */
    bool optional; /* null: nobody knows */
} quantities[] = {
    [BF_QUANTITY_RUNS] = {"runs", false, false},
    [BF_QUANTITY_DURATION] = {"duration_seconds", true, false},
    [BF_QUANTITY_EXECUTION] = {"execution_seconds", true, true},
    [BF_QUANTITY_INPUT] = {"input_bytes", false, false},
    [BF_QUANTITY_OUTPUT] = {"output_bytes", false, false},
    [BF_QUANTITY_VCPU] = {"vcpu_seconds", true, true},
    [BF_QUANTITY_MEMORY] = {"memory_gib_seconds", true, true},
};
_Static_assert(bf_countof(quantities) == BF_QUANTITIES, "a row each");

const char *bf_quantity_name(enum bf_quantity which)
{
    return quantities[which].name;
}

bool bf_quantity_optional(enum bf_quantity which)
{
    return quantities[which].optional;
}

int bf_quantity_find(struct bf_slice name)
{
    for (int i = 0; i < BF_QUANTITIES; i++) {
        if (bf_slice_is(name, quantities[i].name))
            return i;
    }
    return -1;
}

static int read_fraction(const char *point, uint64_t *ret)
{
    uint64_t micros = 0;
    size_t digits;

    for (digits = 0; point[1 + digits]; digits++) {
        if (digits == 6 || point[1 + digits] < '0' || point[1 + digits] > '9')
            return -1;
        micros = micros * 10 + (uint64_t)(point[1 + digits] - '0');
    }
    if (digits == 0)
        return -1;
    for (; digits < 6; digits++)
        micros *= 10;
    *ret = micros;
    return 0;
}

int bf_quantity_micros(const char *text, int64_t *ret)
{
    const char *point = text ? strchr(text, '.') : NULL;
    size_t len = point ? (size_t)(point - text) : text ? strlen(text) : 0;
    uint64_t whole, micros = 0;

    if (!text ||
        bf_slice_u64((struct bf_slice){text, len}, INT32_MAX, &whole) ||
        (point && read_fraction(point, &micros)))
        return -1;
    *ret = (int64_t)(whole * 1000000 + micros);
    return 0;
}

static int read_whole(const char *text, int64_t *ret)
{
    uint64_t value;

    if (bf_slice_u64(bf_slice_str(text), INT64_MAX >> 16, &value))
        return -1;
    *ret = (int64_t)value;
    return 0;
}

int bf_quantity_parse(enum bf_quantity which, const char *text, bool is_signed,
                      int64_t *ret)
{
    bool negative = is_signed && text && text[0] == '-';
    int64_t value;

    if (negative)
        text++;
    if (quantities[which].seconds ? bf_quantity_micros(text, &value)
                                  : read_whole(text, &value))
        return -1;
    *ret = negative ? -value : value;
    return 0;
}

void bf_quantity_text(enum bf_quantity which, int64_t value,
                      char out[static BF_QUANTITY_SIZE])
{
    uint64_t size = value < 0 ? -(uint64_t)value : (uint64_t)value;
    const char *sign = value < 0 ? "-" : "";

    if (quantities[which].seconds)
        snprintf(out, BF_QUANTITY_SIZE, "%s%" PRIu64 ".%06" PRIu64, sign,
                 size / 1000000, size % 1000000);
    else
        snprintf(out, BF_QUANTITY_SIZE, "%s%" PRIu64, sign, size);
}
