#ifndef BF_SCHEMAS_PURPOSE_H
#define BF_SCHEMAS_PURPOSE_H

/* What a key may sign. A key has one purpose. Source: PROTOCOL.md §6, §9. */

#include "schemas/buf.h"

/* X(ENUM, name, what it signs) */
#define BF_PURPOSE_TABLE(X)                                                    \
    X(JOB, "job", "job records, by dispatchers and direct producers")          \
    X(CONTROL, "control", "control records, by dispatchers")                   \
    X(STATE, "state", "state entries, by workers and topics init")             \
    X(RESULT, "result", "results, usage, dead letters, callbacks")             \
    X(RUN, "run", "forwarded HTTP requests to runners")

enum bf_purpose {
#define X(id, name, text) BF_PURPOSE_##id,
    BF_PURPOSE_TABLE(X)
#undef X
        BF_PURPOSES,
};

const char *bf_purpose_name(enum bf_purpose purpose);

/* -1 when there is no such word. */
int bf_purpose_parse(struct bf_slice name);

#endif
