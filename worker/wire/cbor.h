#ifndef BF_WORKER_WIRE_CBOR_H
#define BF_WORKER_WIRE_CBOR_H

/*
 * CBOR as far as JSON needs it, and byte strings: null, bool, integers of 64
 * bits, doubles, text, bytes, arrays and maps of known length. Written as
 * Python's cbor2 writes it, to the byte. Source: RFC 8949. Pure.
 */

#include "schemas/buf.h"

struct bf_err;

/* Levels of arrays and maps in what is read. */
#define BF_CBOR_DEPTH 64

/*
 * A writer. After a failure it does nothing more, so that only bf_cbor_done()
 * needs a check. An array of n is followed by n values, a map by 2 n.
 */
struct bf_cbor_out {
    struct bf_buf *buf;
    struct bf_err *err;
    bool failed;
};

void bf_cbor_start(struct bf_cbor_out *out, struct bf_buf *buf,
                   struct bf_err *err);
int bf_cbor_done(const struct bf_cbor_out *out);

void bf_cbor_null(struct bf_cbor_out *out);
void bf_cbor_bool(struct bf_cbor_out *out, bool value);
void bf_cbor_int(struct bf_cbor_out *out, int64_t value);
void bf_cbor_double(struct bf_cbor_out *out, double value);
void bf_cbor_text(struct bf_cbor_out *out, struct bf_slice text); /* UTF-8 */
void bf_cbor_bytes(struct bf_cbor_out *out, struct bf_slice bytes);
void bf_cbor_array(struct bf_cbor_out *out, size_t n);
void bf_cbor_map(struct bf_cbor_out *out, size_t n);
/* The head of a byte string alone: its len bytes are put after it by others. */
void bf_cbor_bytes_head(struct bf_cbor_out *out, size_t len);

enum bf_cbor_kind {
    BF_CBOR_NULL, /* undefined, too */
    BF_CBOR_BOOL,
    BF_CBOR_INT,
    BF_CBOR_DOUBLE, /* halves and singles, too */
    BF_CBOR_TEXT,
    BF_CBOR_BYTES,
    BF_CBOR_ARRAY,
    BF_CBOR_MAP,
};

/* One value; of an array or a map the head only: its values come next. */
struct bf_cbor_item {
    enum bf_cbor_kind kind;
    bool truth;
    int64_t number;
    double real;
    struct bf_slice bytes; /* text and bytes: borrowed */
    size_t count;          /* of values, of pairs */
};

/*
 * Is it exactly one value, nested at most BF_CBOR_DEPTH deep, text in UTF-8?
 * REJECT "cbor" if not, and for what this reader has no use for: tags, lengths
 * that are not known beforehand, integers of more than 64 bits with a sign.
 */
int bf_cbor_check(struct bf_slice document, struct bf_err *err);

/*
 * Takes one item off the front of *in. 1: *ret is it; 0: nothing is left.
 * REJECT "cbor" as above, which cannot be in a document that was checked.
 */
int bf_cbor_next(struct bf_slice *in, struct bf_cbor_item *ret,
                 struct bf_err *err);

/* Takes off the whole of the value that begins with the item just read. */
int bf_cbor_skip(struct bf_slice *in, const struct bf_cbor_item *item,
                 struct bf_err *err);

#endif
