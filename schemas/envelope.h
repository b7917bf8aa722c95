#ifndef BF_SCHEMAS_ENVELOPE_H
#define BF_SCHEMAS_ENVELOPE_H

/* What every record of ours has: CloudEvents headers. PROTOCOL.md §5. Pure. */

#include "schemas/ids.h"
#include "schemas/record.h"

struct bf_err;

struct bf_envelope {
    enum bf_type type;
    const char *id;      /* ce_id */
    const char *fleet;   /* makes ce_source */
    int64_t at_ms;       /* ce_time */
    const char *subject; /* ce_subject */
};

/* "<workspace>/<id>", whichever id the subject is made of. */
#define BF_SUBJECT_SIZE (BF_MAX_ID + 1 + BF_MAX_ID + 1)
void bf_subject_text(struct bf_slice workspace, struct bf_slice id,
                     char out[BF_SUBJECT_SIZE]);

/* Put the common headers, and content-type when rec has bytes for a value. */
int bf_envelope_put(struct bf_record *rec, const struct bf_envelope *env,
                    struct bf_err *err);

/*
 * The common headers of a record of this type are right, no header of ours
 * stands twice or is too large. REJECT "bad_record" or "too_large".
 */
int bf_envelope_check(const struct bf_record *rec, enum bf_type type,
                      int64_t *ret_at_ms, struct bf_err *err);

/*
 * Reads headers one after the other and keeps the first thing that is wrong:
 * afterwards, failed says whether there was one and *err what. What cannot be
 * read leaves *ret untouched.
 */
struct bf_reader {
    const struct bf_record *rec;
    struct bf_err *err;
    bool failed;
};

enum bf_need { BF_OPTIONAL, BF_REQUIRED };

/* err for the next failure: NULL once there was one. Sets failed. */
struct bf_err *bf_reader_fail(struct bf_reader *r);

/* Any bytes. */
void bf_read_bytes(struct bf_reader *r, const char *name, enum bf_need need,
                   struct bf_slice *ret);
/* ok() says whether the value has the right form. */
void bf_read_word(struct bf_reader *r, const char *name, enum bf_need need,
                  bool (*ok)(struct bf_slice), struct bf_slice *ret);
void bf_read_u32(struct bf_reader *r, const char *name, uint32_t min,
                 uint32_t max, uint32_t *ret); /* required */
void bf_read_i64(struct bf_reader *r, const char *name, enum bf_need need,
                 int64_t max, int64_t *ret);
/* parse() gives -1 for no such word; required. */
void bf_read_enum(struct bf_reader *r, const char *name,
                  int (*parse)(struct bf_slice), int *ret);

#endif
