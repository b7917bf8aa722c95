#ifndef BF_SCHEMAS_RECORD_H
#define BF_SCHEMAS_RECORD_H

/*
 * A Kafka record as bytes and headers, without Kafka: what every codec reads
 * and writes. A record that was read borrows every byte from the message
 * it was read from; a record that was built owns what was put into it. Either
 * is to be released.
 */

#include <stdint.h>

#include "schemas/buf.h"
#include "schemas/limits.h"

struct bf_err;

struct bf_header {
    struct bf_slice name;
    struct bf_slice value; /* ptr NULL: a null value */
};

struct bf_record {
    const char *topic; /* borrowed, outlives the record */
    int32_t partition;
    int64_t offset;       /* -1 when not read from a log */
    int64_t timestamp_ms; /* -1 when unknown */
    struct bf_slice key;
    struct bf_slice value;     /* ptr NULL: a tombstone */
    struct bf_header *headers; /* owned; what they name is not */
    size_t nheaders;
    size_t max_headers;      /* private: as many have room */
    struct bf_chunk *chunks; /* private: owned bytes */
};

/* Storage is the caller's. topic is borrowed. */
void bf_record_init(struct bf_record *rec, const char *topic,
                    int32_t partition);
void bf_record_release(struct bf_record *rec);
#define bf_autorecord bf_cleanup(bf_record_release)

/*
 * Append a header; _ref borrows name and value for the record's life, _put
 * borrows the name (a literal) and copies the value, _puts takes a string,
 * _putu a number, _pass borrows and leaves an absent value out.
 * REJECT "too_many_headers" beyond the ceiling, RETRY on no memory.
 */
int bf_record_ref(struct bf_record *rec, struct bf_slice name,
                  struct bf_slice value, struct bf_err *err);
int bf_record_put(struct bf_record *rec, const char *name,
                  struct bf_slice value, struct bf_err *err);
int bf_record_puts(struct bf_record *rec, const char *name, const char *value,
                   struct bf_err *err);
int bf_record_putu(struct bf_record *rec, const char *name, uint64_t value,
                   struct bf_err *err);
int bf_record_pass(struct bf_record *rec, const char *name,
                   struct bf_slice value, struct bf_err *err);

/* Copy bytes into the record's memory; for keys, values, borrowed fields. */
int bf_record_own(struct bf_record *rec, struct bf_slice bytes,
                  struct bf_slice *ret, struct bf_err *err);

/*
 * Copy all that the record borrows: key, value and headers. REJECT "too_large"
 * leaves it as it was, RETRY too.
 */
int bf_record_own_all(struct bf_record *rec, struct bf_err *err);

/* The first header of that name, or NULL. */
const struct bf_header *bf_record_find(const struct bf_record *rec,
                                       const char *name);

/* Its value; ptr NULL when it is absent or null. */
struct bf_slice bf_record_get(const struct bf_record *rec, const char *name);

/* Does a signature cover this header? PROTOCOL.md §1, §6. */
bool bf_record_covered(struct bf_slice name);

/* REJECT "duplicate_header": a covered name or bf_signature stands twice. */
int bf_record_check(const struct bf_record *rec, struct bf_err *err);

/* Key, value and headers, as an estimate of its size on the wire. */
size_t bf_record_bytes(const struct bf_record *rec);

#endif
