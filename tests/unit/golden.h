#ifndef BF_TESTS_UNIT_GOLDEN_H
#define BF_TESTS_UNIT_GOLDEN_H

/*
 * schemas/golden/: what make_golden.py, the other implementation, says about an
 * input, against what the C does. Members have the names of the C structs;
 * bytes are hex under names that end in _hex.
 */

#include "tests/unit/support.h"

#include <sodium.h>

#include "schemas/json.h"
#include "schemas/record.h"

/*
 * Carries out a case: its "out", or NULL with *err set. Memory for bytes is
 * the arena's.
 */
typedef json_t *golden_fn(const json_t *in, struct bf_record *arena,
                          struct bf_err *err);

struct golden_op {
    const char *name;
    golden_fn *run;
};

static inline const json_t *golden_get(const json_t *in, const char *name)
{
    const json_t *value = json_object_get(in, name);

    return json_is_null(value) ? NULL : value;
}

/* Text; ptr NULL when null or missing. */
static inline struct bf_slice golden_text(const json_t *in, const char *name)
{
    return bf_json_slice(golden_get(in, name));
}

/* The same as a string, or NULL. */
static inline const char *golden_str(const json_t *in, const char *name)
{
    return json_string_value(golden_get(in, name));
}

static inline int64_t golden_int(const json_t *in, const char *name)
{
    const json_t *value = golden_get(in, name);

    assert_true(!value || json_is_integer(value));
    return json_integer_value(value); /* 0 when missing */
}

static inline bool golden_bool(const json_t *in, const char *name)
{
    return json_is_true(golden_get(in, name));
}

static inline struct bf_slice golden_unhex(const json_t *text,
                                           struct bf_record *arena)
{
    struct bf_slice hex = bf_json_slice(text), bytes = {NULL, 0};
    bf_autofree unsigned char *raw = malloc(hex.len / 2 + 1);
    size_t len;

    if (!hex.ptr)
        return bytes;
    assert_non_null(raw);
    assert_int_equal(sodium_hex2bin(raw, hex.len / 2 + 1, hex.ptr, hex.len,
                                    NULL, &len, NULL),
                     0);
    assert_int_equal(
        bf_record_own(arena, (struct bf_slice){(char *)raw, len}, &bytes, NULL),
        0);
    return bytes;
}

/* The bytes of <name>, which ends in _hex. */
static inline struct bf_slice golden_hex(const json_t *in, const char *name,
                                         struct bf_record *arena)
{
    return golden_unhex(golden_get(in, name), arena);
}

/* Exactly len bytes of <name>, which ends in _hex. */
static inline void golden_bytes(const json_t *in, const char *name,
                                unsigned char *out, size_t len)
{
    struct bf_slice hex = bf_json_slice(golden_get(in, name));
    size_t got = 0;

    assert_int_equal(
        sodium_hex2bin(out, len, hex.ptr, hex.len, NULL, &got, NULL), 0);
    assert_int_equal(got, len);
}

static inline json_t *golden_to_hex(const void *bytes, size_t len)
{
    bf_autofree char *hex = malloc(2 * len + 1);

    assert_non_null(hex);
    sodium_bin2hex(hex, 2 * len + 1, bytes, len);
    return json_string(hex);
}

static inline json_t *golden_from_slice(struct bf_slice bytes)
{
    return bytes.ptr ? golden_to_hex(bytes.ptr, bytes.len) : json_null();
}

static inline json_t *golden_from_text(struct bf_slice text)
{
    return text.ptr ? json_stringn(text.ptr, text.len) : json_null();
}

/* A record there; what it holds is the arena's and the document's. */
static inline void golden_record(const json_t *doc, struct bf_record *arena,
                                 struct bf_record *ret)
{
    const json_t *headers = golden_get(doc, "headers");

    assert_non_null(golden_str(doc, "topic"));
    bf_record_init(ret, golden_str(doc, "topic"),
                   (int32_t)golden_int(doc, "partition"));
    if (golden_get(doc, "offset"))
        ret->offset = golden_int(doc, "offset");
    ret->key = golden_hex(doc, "key_hex", arena);
    ret->value = golden_hex(doc, "value_hex", arena);
    for (size_t i = 0; i < json_array_size(headers); i++) {
        const json_t *pair = json_array_get(headers, i);

        assert_int_equal(
            bf_record_ref(ret, bf_json_slice(json_array_get(pair, 0)),
                          golden_unhex(json_array_get(pair, 1), arena), NULL),
            0);
    }
}

/* And back. */
static inline json_t *golden_from_record(const struct bf_record *rec)
{
    json_t *headers = json_array();
    json_t *doc;

    for (size_t i = 0; i < rec->nheaders; i++)
        json_array_append_new(
            headers, json_pack("[o,o]", golden_from_text(rec->headers[i].name),
                               golden_from_slice(rec->headers[i].value)));
    doc = json_pack("{s:s,s:i,s:o,s:o,s:o}", "topic", rec->topic, "partition",
                    (int)rec->partition, "key_hex", golden_from_slice(rec->key),
                    "value_hex", golden_from_slice(rec->value), "headers",
                    headers);
    assert_non_null(doc);
    if (rec->offset >= 0)
        json_object_set_new(doc, "offset", json_integer(rec->offset));
    return doc;
}

/* Says what was wanted and what came. */
static inline void golden_differs(const char *file, const json_t *one,
                                  const json_t *out)
{
    const size_t flags = JSON_INDENT(1) | JSON_ENCODE_ANY;
    bf_autofree char *want = json_dumps(json_object_get(one, "out"), flags);
    bf_autofree char *got = json_dumps(out, flags);

    fail_msg("%s: %s\nwant %s\ngot %s", file,
             json_string_value(json_object_get(one, "name")), want,
             got ? got : "nothing");
}

static inline void golden_case(const char *file, const json_t *one,
                               const struct golden_op *ops)
{
    const json_t *in = json_object_get(one, "in");
    const char *op = golden_str(in, "op");
    bf_autorecord struct bf_record arena;
    bf_autojson json_t *out = NULL;
    struct bf_err err = {0};

    bf_record_init(&arena, "", 0);
    while (ops->name && strcmp(ops->name, op) != 0)
        ops++;
    if (!ops->name)
        fail_msg("%s: nobody knows how to %s", file, op);
    out = ops->run(in, &arena, &err);
    if (!out)
        out = json_pack("{s:s}", "error", err.code ? err.code : "?");
    if (!json_equal(out, json_object_get(one, "out")))
        golden_differs(file, one, out);
}

/* Every case of <folder>/<name>.json; how many there were. */
static inline size_t golden_folder(const char *folder, const char *name,
                                   const struct golden_op *ops)
{
    bf_autojson json_t *doc = NULL;
    json_error_t why;
    json_t *cases;
    char path[512];

    snprintf(path, sizeof(path), "%s/%s/%s.json", BF_SOURCE_DIR, folder, name);
    doc = json_load_file(path, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &why);
    if (!doc)
        fail_msg("%s: %s", path, why.text);
    cases = json_object_get(doc, "cases");
    for (size_t i = 0; i < json_array_size(cases); i++)
        golden_case(name, json_array_get(cases, i), ops);
    return json_array_size(cases);
}

static inline size_t golden_file(const char *name, const struct golden_op *ops)
{
    return golden_folder("schemas/golden", name, ops);
}

/* What libraries of others write: tests/wire/vendor_golden.py. */
static inline size_t golden_vendor(const char *name,
                                   const struct golden_op *ops)
{
    return golden_folder("tests/wire/golden", name, ops);
}

#endif
