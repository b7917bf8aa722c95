#include "schemas/purpose.h"

static const char *const purpose_names[] = {
#define X(id, name, text) [BF_PURPOSE_##id] = (name),
    BF_PURPOSE_TABLE(X)
#undef X
};
_Static_assert(bf_countof(purpose_names) == BF_PURPOSES, "a name each");

const char *bf_purpose_name(enum bf_purpose purpose)
{
    bf_assert(purpose < BF_PURPOSES);
    return purpose_names[purpose];
}

int bf_purpose_parse(struct bf_slice name)
{
    for (size_t i = 0; i < bf_countof(purpose_names); i++) {
        if (bf_slice_is(name, purpose_names[i]))
            return (int)i;
    }
    return -1;
}
