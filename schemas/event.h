#ifndef BF_SCHEMAS_EVENT_H
#define BF_SCHEMAS_EVENT_H

/*
 * Hints on bf.events: best effort, unsigned, never to be relied on. Source:
 * PROTOCOL.md §5.8. Pure.
 */

#include <jansson.h>

#include "schemas/ids.h"
#include "schemas/record.h"

struct bf_err;

/* X(ENUM, name, what it says) */
#define BF_EVENT_TABLE(X)                                                      \
    X(STARTED, "started", "a run's request left")                              \
    X(PROGRESS, "progress", "how far a run has come")                          \
    X(OUTPUT, "output", "what a run has printed")                              \
    X(DUPLICATE, "duplicate", "a copy of a job that was there already")        \
    X(CONFLICT, "conflict", "a job with the id of another one")                \
    X(PARKED, "parked", "a job waits outside of the window")

enum bf_event_kind {
#define X(id, name, text) BF_EVENT_##id,
    BF_EVENT_TABLE(X)
#undef X
        BF_EVENTS,
};
const char *bf_event_name(enum bf_event_kind kind);
int bf_event_kind_parse(struct bf_slice name); /* -1: no such event */

/* To build, everything is borrowed; a parsed one borrows from rec and doc. */
struct bf_event {
    struct bf_subject subject;
    enum bf_event_kind kind;
    uint64_t seq; /* of its kind, for this attempt; below 2^63 */
    int64_t at_ms;
    const json_t *data; /* object; NULL: an empty one */
    json_t *doc;        /* private: what a parsed event owns */
};
void bf_event_release(struct bf_event *event);
#define bf_autoevent bf_cleanup(bf_event_release)

/* Fill an initialised record; what it holds is a copy. */
int bf_event_build(const struct bf_event *event, const char *fleet,
                   struct bf_record *rec, struct bf_err *err);

/* REJECT "bad_record"; *ret untouched then. rec outlives the event. */
int bf_event_parse(const struct bf_record *rec, struct bf_event *ret,
                   struct bf_err *err);

#endif
