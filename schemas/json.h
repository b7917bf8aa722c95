#ifndef BF_SCHEMAS_JSON_H
#define BF_SCHEMAS_JSON_H

/*
 * JSON in, by jansson with ceilings; JSON out, by ourselves, so that the bytes
 * are the same for ever. Source: PROTOCOL.md §1. Pure.
 */

#include <jansson.h>

#include "schemas/buf.h"

struct bf_err;

/*
 * A JSON object of at most max bytes, BF_MAX_DEPTH levels, BF_MAX_CONTAINERS
 * and BF_MAX_COMMAS, no name twice, valid UTF-8, no U+0000. The caller
 * json_decref()s it. REJECT "bad_json" or "too_large", RETRY "oom".
 */
json_t *bf_json_parse(struct bf_slice text, size_t max, struct bf_err *err);

/* The same with U+0000 inside of values: what a user's code printed. */
json_t *bf_json_parse_nul(struct bf_slice text, size_t max, struct bf_err *err);

BF_DEFINE_CLEANUP(bf_json_decrefp_, json_t *, json_decref)
#define bf_autojson bf_cleanup(bf_json_decrefp_)

/* The bytes of a string; ptr NULL when it is absent or no string. */
struct bf_slice bf_json_slice(const json_t *string);

/*
 * Reads the members of an object that has exactly these: keeps the first thing
 * that is wrong, so that only bf_json_end() needs a check. What cannot be read
 * is 0, NULL or a slice with ptr NULL.
 */
struct bf_json_in {
    const json_t *object;
    const char *code; /* of every REJECT */
    struct bf_err *err;
    size_t nread;
    bool failed;
};

void bf_json_begin(struct bf_json_in *in, const json_t *object,
                   const char *code, struct bf_err *err);
int64_t bf_json_get_int(struct bf_json_in *in, const char *name, int64_t min,
                        int64_t max);
struct bf_slice bf_json_get_text(struct bf_json_in *in, const char *name);
struct bf_slice bf_json_get_maybe(struct bf_json_in *in, const char *name);
/* Text for which ok() holds. */
struct bf_slice bf_json_get_word(struct bf_json_in *in, const char *name,
                                 bool (*ok)(struct bf_slice));
int64_t bf_json_get_time(struct bf_json_in *in, const char *name);
/* NULL stands for null, too, if that may stand. */
const json_t *bf_json_get_object(struct bf_json_in *in, const char *name,
                                 bool maybe);
/* Something else is wrong: what is "<name> <rule>". */
void bf_json_get_fail(struct bf_json_in *in, const char *name,
                      const char *rule);
/* 0 when all went well and every member was read, else -1. */
int bf_json_end(struct bf_json_in *in);

/* Does every member have a string for its value? */
bool bf_json_is_strings(const json_t *object);

/*
 * text with JSON's escapes, without quotes; invalid UTF-8 becomes U+FFFD. Stops
 * before the first character whose escaped form would lead over max bytes.
 * *ret_cut may be NULL.
 */
int bf_json_escape(struct bf_buf *out, struct bf_slice text, size_t max,
                   bool *ret_cut, struct bf_err *err);

/* All of text, in quotes. */
int bf_json_quote(struct bf_buf *out, struct bf_slice text, struct bf_err *err);

/*
 * A writer of compact JSON. After a failure it does nothing more, so that only
 * bf_json_done() needs a check. name is NULL inside of arrays and at the top.
 */
struct bf_json_out {
    struct bf_buf *buf;
    struct bf_err *err;
    bool failed;
    bool comma; /* the next member needs one */
};

void bf_json_start(struct bf_json_out *out, struct bf_buf *buf,
                   struct bf_err *err);
int bf_json_done(const struct bf_json_out *out);

/* bracket: '{' or '['; the closing one likewise. */
void bf_json_open(struct bf_json_out *out, const char *name, char bracket);
void bf_json_close(struct bf_json_out *out, char bracket);

/* ptr NULL writes null. */
void bf_json_text(struct bf_json_out *out, const char *name,
                  struct bf_slice text);
void bf_json_str(struct bf_json_out *out, const char *name, const char *str);

/* Bytes that are JSON already. */
void bf_json_raw(struct bf_json_out *out, const char *name,
                 struct bf_slice json);

/* Cut like bf_json_escape(); says whether it was. */
bool bf_json_text_max(struct bf_json_out *out, const char *name,
                      struct bf_slice text, size_t max);
void bf_json_null(struct bf_json_out *out, const char *name);
void bf_json_bool(struct bf_json_out *out, const char *name, bool value);
void bf_json_int(struct bf_json_out *out, const char *name, int64_t value);

/* Quantities: decimal strings; microseconds >= 0 as "1.000250". */
void bf_json_count(struct bf_json_out *out, const char *name, uint64_t value);
void bf_json_seconds(struct bf_json_out *out, const char *name, int64_t micros);

/* RFC 3339. */
void bf_json_time(struct bf_json_out *out, const char *name, int64_t unix_ms);

void bf_json_base64(struct bf_json_out *out, const char *name,
                    const unsigned char *bytes, size_t len);

/*
 * Any value, objects in their own order; NULL writes null, and so does a real
 * number, which has no place on the wire.
 */
void bf_json_value(struct bf_json_out *out, const char *name,
                   const json_t *value);

/* An object of strings in its own order; NULL writes null. */
void bf_json_strings(struct bf_json_out *out, const char *name,
                     const json_t *object);

#endif
