#include "schemas/fleet.h"

#include "schemas/envelope.h"
#include "schemas/err.h"
#include "schemas/json.h"
#include "schemas/time.h"

#define MAX_VALUE 1024

bool bf_fleet_is(const struct bf_record *rec)
{
    return bf_slice_is(rec->key, BF_FLEET_KEY);
}

static int put_value(const struct bf_fleet *fleet, struct bf_record *rec,
                     struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(MAX_VALUE);
    struct bf_json_out out;

    bf_json_start(&out, &text, err);
    bf_json_open(&out, NULL, '{');
    bf_json_int(&out, "v", 1);
    bf_json_int(&out, "seq", 0);
    bf_json_str(&out, "fleet", fleet->name);
    bf_json_int(&out, "shards", fleet->shards);
    bf_json_int(&out, "spread", fleet->spread);
    bf_json_time(&out, "created", fleet->created_ms);
    bf_json_close(&out, '}');
    if (bf_json_done(&out))
        return -1;
    return bf_record_own(rec, bf_buf_slice(&text), &rec->value, err);
}

int bf_fleet_build(const struct bf_fleet *fleet, struct bf_record *rec,
                   struct bf_err *err)
{
    char id[BF_HEX128_SIZE];
    struct bf_envelope envelope = {
        .type = BF_TYPE_STATE,
        .id = id,
        .fleet = fleet->name,
        .at_ms = fleet->created_ms,
        .subject = BF_FLEET_KEY,
    };

    bf_state_id(fleet->name, 0, BF_SLICE_LIT(BF_FLEET_KEY), 0, id);
    rec->key = BF_SLICE_LIT(BF_FLEET_KEY);
    if (put_value(fleet, rec, err) || bf_envelope_put(rec, &envelope, err))
        return -1;
    return bf_record_putu(rec, "bf_seq", 0, err);
}

static int bad(const char *member, struct bf_err *err)
{
    return bf_err_set(err, BF_ERR_REJECT, "bad_state",
                      "the fleet's entry: %s breaks a rule", member);
}

static int read_number(const json_t *doc, const char *member, json_int_t min,
                       uint32_t *ret, struct bf_err *err)
{
    const json_t *value = json_object_get(doc, member);

    if (!json_is_integer(value) || json_integer_value(value) < min ||
        json_integer_value(value) > BF_MAX_SHARDS)
        return bad(member, err);
    *ret = (uint32_t)json_integer_value(value);
    return 0;
}

static bool name_ok(struct bf_slice name)
{
    if (!name.ptr || name.len == 0 || name.len > BF_FLEET_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-')
            return false;
    }
    return true;
}

/* Written once, so its seq is 0 in the value and in the header. */
static int check_rest(const struct bf_record *rec, const json_t *doc,
                      struct bf_err *err)
{
    const json_t *seq = json_object_get(doc, "seq");

    if (!json_is_integer(seq) || json_integer_value(seq) != 0 ||
        !bf_slice_is(bf_record_get(rec, "bf_seq"), "0"))
        return bad("seq", err);
    if (json_object_size(doc) != 6)
        return bad("a name that is not ours", err);
    return 0;
}

static int read_doc(const json_t *doc, struct bf_fleet *ret, struct bf_err *err)
{
    struct bf_slice name = bf_json_slice(json_object_get(doc, "fleet"));
    uint32_t number = 0;

    if (read_number(doc, "v", 1, &number, err))
        return -1;
    if (number != 1)
        return bad("v", err);
    if (!name_ok(name))
        return bad("fleet", err);
    if (read_number(doc, "shards", 1, &ret->shards, err) ||
        read_number(doc, "spread", 1, &ret->spread, err))
        return -1;
    if (bf_time_parse(bf_json_slice(json_object_get(doc, "created")),
                      &ret->created_ms))
        return bad("created", err);
    memcpy(ret->name, name.ptr, name.len);
    ret->name[name.len] = '\0';
    return 0;
}

int bf_fleet_parse(const struct bf_record *rec, struct bf_fleet *ret,
                   struct bf_err *err)
{
    bf_autojson json_t *doc = NULL;
    struct bf_fleet found;
    int64_t at_ms;

    if (!bf_fleet_is(rec) || !rec->value.ptr || rec->partition != 0)
        return bad("its key", err);
    if (bf_envelope_check(rec, BF_TYPE_STATE, &at_ms, err))
        return -1;
    doc = bf_json_parse(rec->value, MAX_VALUE, err);
    if (!doc || read_doc(doc, &found, err) || check_rest(rec, doc, err))
        return -1;
    *ret = found;
    return 0;
}
