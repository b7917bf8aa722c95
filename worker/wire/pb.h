#ifndef BF_WORKER_WIRE_PB_H
#define BF_WORKER_WIRE_PB_H

/*
 * The wire format of protobuf: fields out into a buffer, fields in from a
 * slice. What the numbers mean is the caller's. Source:
 * https://protobuf.dev/programming-guides/encoding/. Pure.
 */

#include "schemas/buf.h"

struct bf_err;

enum bf_pb_wire {
    BF_PB_VARINT = 0,
    BF_PB_FIXED64 = 1,
    BF_PB_BYTES = 2,
    BF_PB_FIXED32 = 5,
};

/*
 * A writer. After a failure it does nothing more, so that only bf_pb_done()
 * needs a check. It writes what it is told: leaving out a default is up to
 * the caller. field is 1 to BF_PB_FIELD_MAX.
 */
struct bf_pb_out {
    struct bf_buf *buf;
    struct bf_err *err;
    bool failed;
};

#define BF_PB_FIELD_MAX 536870911u

void bf_pb_start(struct bf_pb_out *out, struct bf_buf *buf, struct bf_err *err);
int bf_pb_done(const struct bf_pb_out *out);

/* bool, enum, uint32, uint64, and what int32 and int64 are cast to. */
void bf_pb_u64(struct bf_pb_out *out, uint32_t field, uint64_t value);
void bf_pb_float(struct bf_pb_out *out, uint32_t field, float value);
void bf_pb_double(struct bf_pb_out *out, uint32_t field, double value);
/* string, bytes, and a message that is encoded already. */
void bf_pb_bytes(struct bf_pb_out *out, uint32_t field, struct bf_slice value);

/* A message in this one: what is written until _close() is its. */
size_t bf_pb_open(struct bf_pb_out *out, uint32_t field);
void bf_pb_close(struct bf_pb_out *out, size_t opened);

/* A field as it stands there. */
struct bf_pb_field {
    uint32_t number;
    enum bf_pb_wire wire;
    uint64_t value;        /* varint; the bits of fixed32 and fixed64 */
    struct bf_slice bytes; /* length-delimited: borrowed from the message */
};

/*
 * Takes the next field off the front of *message. 1: *ret is it; 0: there is
 * none. REJECT "protobuf" for what no encoder writes: cut off, a length over
 * the end, a varint over 64 bits, the field 0, a group. What the caller does
 * not know, it skips by asking for the next.
 */
int bf_pb_next(struct bf_slice *message, struct bf_pb_field *ret,
               struct bf_err *err);

/* The next of a packed list of varints; as above. */
int bf_pb_packed(struct bf_slice *list, uint64_t *ret, struct bf_err *err);

double bf_pb_to_double(uint64_t bits);
float bf_pb_to_float(uint64_t bits);

#endif
