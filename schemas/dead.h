#ifndef BF_SCHEMAS_DEAD_H
#define BF_SCHEMAS_DEAD_H

/* Dead letters. Source: PROTOCOL.md §5.5. Pure. */

#include "schemas/job.h"

struct bf_err;

/* Why a record died, and what is known of it. Everything is borrowed. */
struct bf_death {
    const struct bf_record *source; /* whole, as it was read */
    const struct bf_job *job; /* NULL: untrusted; has its workspace, perhaps
                                 not its id */
    const char *stage;        /* consume verify decode dispatch run produce */
    const char *reason;
    const char *message; /* any bytes; cleaned and cut */
    int64_t at_ms;
    bool truncated; /* leave the value out, even if it would fit */
    bool bare;      /* leave the headers out as well */
    bool cut;       /* source is less than what was in the log */
};

/*
 * Fill an initialised record, all but the signature. Borrowed are the value,
 * which belongs to the source, and the topic; the rest is a copy.
 */
int bf_dead_build(const struct bf_death *death, const char *fleet,
                  struct bf_record *rec, struct bf_err *err);

/*
 * The header bf_original_headers. Returns 1 when headers were left out because
 * they would not fit, else 0, or -1.
 */
int bf_original_headers(const struct bf_record *source, struct bf_buf *out,
                        struct bf_err *err);

/*
 * Back into an initialised record's headers, which borrow from bytes. REJECT
 * "bad_record" or "too_many_headers"; ret may hold some of them then.
 */
int bf_original_parse(struct bf_slice bytes, struct bf_record *ret,
                      struct bf_err *err);

#endif
