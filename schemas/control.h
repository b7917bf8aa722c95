#ifndef BF_SCHEMAS_CONTROL_H
#define BF_SCHEMAS_CONTROL_H

/* Orders about jobs. Source: PROTOCOL.md §5.7. Pure. */

#include "schemas/record.h"
#include "schemas/state.h"

/* X(ENUM, name) */
#define BF_CONTROL_TABLE(X)                                                    \
    X(CANCEL, "cancel")                                                        \
    X(REPLAY, "replay")                                                        \
    X(BATCH_OPEN, "batch_open")                                                \
    X(BATCH_SEAL, "batch_seal")                                                \
    X(PAUSE, "pause")                                                          \
    X(RESUME, "resume")

enum bf_control_kind {
#define X(id, name) BF_CONTROL_##id,
    BF_CONTROL_TABLE(X)
#undef X
        BF_CONTROLS,
};
const char *bf_control_name(enum bf_control_kind kind);
int bf_control_kind_parse(struct bf_slice name); /* -1: no such control */

#define BF_PPM 1000000U /* all of them */

/* Jobs of this lane and partition below end are meant. */
struct bf_control_end {
    enum bf_lane lane;
    int32_t partition;
    int64_t end;
};

/*
 * Which members count depends on kind; absent are slices with ptr NULL,
 * until_ms 0, and the others when has_… says so. To build, everything is
 * borrowed; a parsed one borrows from the record, doc and owned_ends.
 */
struct bf_control {
    enum bf_control_kind kind;
    struct bf_slice workspace;
    struct bf_slice id;
    int64_t at_ms;
    struct bf_slice job;
    struct bf_slice batch;
    struct bf_slice dead_letter;
    int64_t until_ms;
    uint32_t generation;
    bool has_generation;
    int64_t count;
    bool has_count;
    uint32_t max_failure_ppm; /* of a million jobs */
    bool has_max_failure;
    const struct bf_control_end *ends; /* by lane, then by partition */
    size_t nends;
    bool has_ends;
    json_t *doc;                       /* private */
    struct bf_control_end *owned_ends; /* private */
};
void bf_control_release(struct bf_control *control);
#define bf_autocontrol bf_cleanup(bf_control_release)

/*
 * Fill an initialised record, all but the signature; what it holds is a copy.
 * REJECT "bad_control" for members that this control does not have.
 */
int bf_control_build(const struct bf_control *control, const char *fleet,
                     struct bf_record *rec, struct bf_err *err);

/* REJECT "bad_control"; *ret untouched then. rec outlives the control. */
int bf_control_parse(const struct bf_record *rec, struct bf_control *ret,
                     struct bf_err *err);

#endif
