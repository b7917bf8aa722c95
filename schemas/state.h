#ifndef BF_SCHEMAS_STATE_H
#define BF_SCHEMAS_STATE_H

/* Entries of bf.state. Source: PROTOCOL.md §8. Pure. */

#include <jansson.h>

#include "schemas/ids.h"
#include "schemas/meta.h"
#include "schemas/outcome.h"
#include "schemas/record.h"

/* X(ENUM, name): the input topics whose offsets a shard owns. */
#define BF_LANE_TABLE(X)                                                       \
    X(JOBS, "jobs")                                                            \
    X(BATCH, "batch")                                                          \
    X(CONTROL, "control")

enum bf_lane {
#define X(id, name) BF_LANE_##id,
    BF_LANE_TABLE(X)
#undef X
        BF_LANES,
};
const char *bf_lane_name(enum bf_lane lane);
int bf_lane_parse(struct bf_slice name); /* -1: no such lane */

enum bf_entry_kind {
    BF_ENTRY_BASE,     /* b/ */
    BF_ENTRY_RUN,      /* r/ */
    BF_ENTRY_RANGE,    /* f/ */
    BF_ENTRY_FINISHED, /* d/ */
    BF_ENTRY_CANCEL,   /* c/ */
};

enum bf_run_state { BF_RUN_PARKED, BF_RUN_STARTED, BF_RUN_RUNNING };
const char *bf_run_state_name(enum bf_run_state state);

/*
 * One entry; which members count depends on kind. To encode, everything is
 * borrowed. A decoded one borrows from the record and from doc and bytes,
 * which it owns, so bf_entry_build() of it gives the same record again.
 */
struct bf_entry {
    enum bf_entry_kind kind;
    enum bf_lane lane;
    bool tombstone;
    uint64_t seq;
    int64_t offset;            /* r: the job's; f: the range's first one */
    struct bf_slice workspace; /* r, f, c */
    struct bf_slice job;       /* r, c/…/job */
    struct bf_slice batch;     /* c/…/batch */
    union {
        struct {
            int64_t base;
            const unsigned char *map; /* BF_MAP_BYTES; NULL: all clear */
            struct bf_slice host, txn_id;
            uint32_t pid;
            int64_t at_ms;
            struct bf_slice confirmed; /* a commit id; ptr NULL: absent */
        } b;
        struct {
            enum bf_run_state state;
            uint32_t generation, attempt;
            int64_t due_ms, expires_ms;
            struct bf_slice order_key, run_id, digest; /* ptr NULL: null */
            enum bf_id_origin id_origin;
            const json_t *handle; /* object of strings; NULL: none */
        } r;
        struct {
            uint32_t width;
            const unsigned char *map; /* BF_MAP_BYTES */
            int64_t earliest_expiry_ms;
        } f;
        struct {
            uint64_t segment;
            const unsigned char *ids; /* 16 bytes each */
            size_t nids;              /* at most BF_MAX_SEGMENT */
            int64_t from_ms, to_ms;
        } d;
        struct {
            int64_t until_ms;
            int64_t ends[BF_LANES]; /* -1: not bounded */
            struct bf_slice control_id;
        } c;
    };
    json_t *doc;          /* private: what a decoded entry owns */
    unsigned char *bytes; /* private: the decoded map or ids */
};
void bf_entry_release(struct bf_entry *entry);
#define bf_autoentry bf_cleanup(bf_entry_release)

/*
 * Fill an initialised record: key, value (or tombstone), headers, all of them
 * copies. Of a tombstone only what its key says counts. The shard is the
 * record's partition. REJECT "too_large" for a handle that would not fit.
 */
int bf_entry_build(const struct bf_entry *entry, const char *fleet,
                   int64_t now_ms, struct bf_record *rec, struct bf_err *err);
/*
 * REJECT "bad_state" names the member; *ret untouched then. rec outlives the
 * entry.
 */
int bf_entry_parse(const struct bf_record *rec, struct bf_entry *ret,
                   struct bf_err *err);

#endif
