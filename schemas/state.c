#include "schemas/state.h"

#include <inttypes.h>

#include "schemas/base64.h"
#include "schemas/envelope.h"
#include "schemas/err.h"
#include "schemas/json.h"

#define ENTRY_ID_SIZE 192
#define ENTRY_VALUE_MAX (BF_MAX_RECORD_SMALL - 8192) /* headers beside it */
#define ENTRY_FIELDS 4
#define FINISHED_BYTES 16

static const char *const lane_names[] = {
#define X(id, name) [BF_LANE_##id] = (name),
    BF_LANE_TABLE(X)
#undef X
};
_Static_assert(bf_countof(lane_names) == BF_LANES, "a name each");

static const char *const run_state_names[] = {
    [BF_RUN_PARKED] = "parked",
    [BF_RUN_STARTED] = "started",
    [BF_RUN_RUNNING] = "running",
};

const char *bf_lane_name(enum bf_lane lane)
{
    bf_assert(lane < BF_LANES);
    return lane_names[lane];
}

int bf_lane_parse(struct bf_slice name)
{
    for (int i = 0; i < BF_LANES; i++) {
        if (bf_slice_is(name, lane_names[i]))
            return i;
    }
    return -1;
}

const char *bf_run_state_name(enum bf_run_state state)
{
    bf_assert(state < bf_countof(run_state_names));
    return run_state_names[state];
}

void bf_entry_release(struct bf_entry *entry)
{
    json_decref(entry->doc);
    entry->doc = NULL;
    free(entry->bytes);
    entry->bytes = NULL;
}

/* ---- out ---------------------------------------------------------------- */

static void entry_id_cancel(const struct bf_entry *entry,
                            char out[ENTRY_ID_SIZE])
{
    struct bf_slice ws = entry->workspace;

    if (entry->job.ptr)
        snprintf(out, ENTRY_ID_SIZE, "c/%.*s/job/%.*s", BF_SLICE_ARG(ws),
                 BF_SLICE_ARG(entry->job));
    else if (entry->batch.ptr)
        snprintf(out, ENTRY_ID_SIZE, "c/%.*s/batch/%.*s", BF_SLICE_ARG(ws),
                 BF_SLICE_ARG(entry->batch));
    else
        snprintf(out, ENTRY_ID_SIZE, "c/%.*s/all", BF_SLICE_ARG(ws));
}

static void entry_id(const struct bf_entry *entry, char out[ENTRY_ID_SIZE])
{
    const char *lane = bf_lane_name(entry->lane);

    switch (entry->kind) {
    case BF_ENTRY_BASE:
        snprintf(out, ENTRY_ID_SIZE, "b/%s", lane);
        break;
    case BF_ENTRY_RUN:
        snprintf(out, ENTRY_ID_SIZE, "r/%s/%" PRId64, lane, entry->offset);
        break;
    case BF_ENTRY_RANGE:
        snprintf(out, ENTRY_ID_SIZE, "f/%s/%.*s/%" PRId64, lane,
                 BF_SLICE_ARG(entry->workspace), entry->offset);
        break;
    case BF_ENTRY_FINISHED:
        snprintf(out, ENTRY_ID_SIZE, "d/%" PRIu64, entry->d.segment);
        break;
    case BF_ENTRY_CANCEL:
        entry_id_cancel(entry, out);
        break;
    }
}

static void put_map(struct bf_json_out *out, const unsigned char *map)
{
    size_t len = map ? BF_MAP_BYTES : 0;

    while (len > 0 && map[len - 1] == 0)
        len--;
    bf_json_base64(out, "map", map, len);
}

static void put_base(struct bf_json_out *out, const struct bf_entry *entry)
{
    bf_assert(bf_txn_id_ok(entry->b.txn_id) && entry->b.host.ptr);
    bf_assert(!entry->b.map || (entry->b.map[0] & 1) == 0);
    bf_json_int(out, "base", entry->b.base);
    put_map(out, entry->b.map);
    bf_json_open(out, "owner", '{');
    bf_json_text(out, "host", entry->b.host);
    bf_json_int(out, "pid", entry->b.pid);
    bf_json_text(out, "txn_id", entry->b.txn_id);
    bf_json_close(out, '}');
    bf_json_time(out, "at", entry->b.at_ms);
    if (entry->b.confirmed.ptr)
        bf_json_text(out, "confirmed", entry->b.confirmed);
}

static void put_run(struct bf_json_out *out, const struct bf_entry *entry)
{
    bf_assert(bf_workspace_ok(entry->workspace) && bf_job_id_ok(entry->job) &&
              entry->r.attempt > 0);
    bf_json_str(out, "state", bf_run_state_name(entry->r.state));
    bf_json_text(out, "workspace", entry->workspace);
    bf_json_text(out, "job", entry->job);
    bf_json_int(out, "generation", entry->r.generation);
    bf_json_int(out, "attempt", entry->r.attempt);
    bf_json_int(out, "due_ms", entry->r.due_ms);
    bf_json_int(out, "expires_ms", entry->r.expires_ms);
    bf_json_text(out, "order_key", entry->r.order_key);
    bf_json_text(out, "run_id", entry->r.run_id);
    bf_json_strings(out, "handle", entry->r.handle);
    bf_json_str(out, "id_origin", bf_id_origin_name(entry->r.id_origin));
    bf_json_text(out, "digest", entry->r.digest);
}

static void put_range(struct bf_json_out *out, const struct bf_entry *entry)
{
    bf_assert(entry->f.width >= 1 && entry->f.width <= BF_WINDOW);
    bf_json_int(out, "width", entry->f.width);
    put_map(out, entry->f.map);
    bf_json_int(out, "earliest_expiry_ms", entry->f.earliest_expiry_ms);
}

static void put_finished(struct bf_json_out *out, const struct bf_entry *entry)
{
    bf_assert(entry->d.nids <= BF_MAX_SEGMENT);
    bf_json_base64(out, "ids", entry->d.ids, entry->d.nids * FINISHED_BYTES);
    bf_json_int(out, "from_ms", entry->d.from_ms);
    bf_json_int(out, "to_ms", entry->d.to_ms);
}

static void put_cancel(struct bf_json_out *out, const struct bf_entry *entry)
{
    bf_assert(bf_job_id_ok(entry->c.control_id));
    bf_json_int(out, "until_ms", entry->c.until_ms);
    bf_json_open(out, "ends", '{');
    for (int i = 0; i < BF_LANES; i++) {
        if (entry->c.ends[i] >= 0)
            bf_json_int(out, lane_names[i], entry->c.ends[i]);
    }
    bf_json_close(out, '}');
    bf_json_text(out, "control_id", entry->c.control_id);
}

static void put_body(struct bf_json_out *out, const struct bf_entry *entry)
{
    switch (entry->kind) {
    case BF_ENTRY_BASE:
        put_base(out, entry);
        break;
    case BF_ENTRY_RUN:
        put_run(out, entry);
        break;
    case BF_ENTRY_RANGE:
        put_range(out, entry);
        break;
    case BF_ENTRY_FINISHED:
        put_finished(out, entry);
        break;
    case BF_ENTRY_CANCEL:
        put_cancel(out, entry);
        break;
    }
}

static int entry_put_value(const struct bf_entry *entry, struct bf_record *rec,
                           struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(ENTRY_VALUE_MAX);
    struct bf_json_out out;

    if (entry->tombstone)
        return 0;
    bf_json_start(&out, &text, err);
    bf_json_open(&out, NULL, '{');
    bf_json_int(&out, "v", 1);
    bf_json_int(&out, "seq", (int64_t)entry->seq);
    put_body(&out, entry);
    bf_json_close(&out, '}');
    if (bf_json_done(&out))
        return -1;
    return bf_record_own(rec, bf_buf_slice(&text), &rec->value, err);
}

int bf_entry_build(const struct bf_entry *entry, const char *fleet,
                   int64_t now_ms, struct bf_record *rec, struct bf_err *err)
{
    char name[ENTRY_ID_SIZE], id[BF_HEX128_SIZE];
    struct bf_envelope env = {
        .type = BF_TYPE_STATE,
        .id = id,
        .fleet = fleet,
        .at_ms = now_ms,
        .subject = name,
    };

    bf_assert(entry->seq <= INT64_MAX);
    entry_id(entry, name);
    bf_state_id(fleet, rec->partition, bf_slice_str(name), entry->seq, id);
    if (bf_record_own(rec, bf_slice_str(name), &rec->key, err) ||
        entry_put_value(entry, rec, err) || bf_envelope_put(rec, &env, err))
        return -1;
    return bf_record_putu(rec, "bf_seq", entry->seq, err);
}

/* ---- in ----------------------------------------------------------------- */

static int state_bad(struct bf_err *err, const char *what)
{
    return bf_err_set(err, BF_ERR_REJECT, "bad_state", "%s", what);
}

static bool key_number(struct bf_slice field, int64_t *ret)
{
    uint64_t number;

    if (bf_slice_u64(field, INT64_MAX, &number))
        return false;
    *ret = (int64_t)number;
    return true;
}

static bool key_lane(struct bf_slice field, enum bf_lane *ret)
{
    int lane = bf_lane_parse(field);

    if (lane < 0)
        return false;
    *ret = (enum bf_lane)lane;
    return true;
}

static bool key_workspace(struct bf_slice field, struct bf_entry *entry)
{
    entry->workspace = field;
    return bf_workspace_ok(field);
}

/* c/<workspace>/... */
static bool key_cancel(const struct bf_slice *fields, size_t n,
                       struct bf_entry *entry)
{
    entry->kind = BF_ENTRY_CANCEL;
    if (n < 3 || !key_workspace(fields[1], entry))
        return false;
    if (n == 3)
        return bf_slice_is(fields[2], "all");
    if (!bf_job_id_ok(fields[3]))
        return false;
    if (bf_slice_is(fields[2], "job"))
        entry->job = fields[3];
    else if (bf_slice_is(fields[2], "batch"))
        entry->batch = fields[3];
    else
        return false;
    return true;
}

static bool key_segment(struct bf_slice field, struct bf_entry *entry)
{
    int64_t segment = 0;

    entry->kind = BF_ENTRY_FINISHED;
    if (!key_number(field, &segment))
        return false;
    entry->d.segment = (uint64_t)segment;
    return true;
}

static bool key_parse(struct bf_slice key, struct bf_entry *entry)
{
    struct bf_slice fields[ENTRY_FIELDS];
    size_t n = key.ptr ? bf_slice_split(key, '/', fields, ENTRY_FIELDS) : 0;

    if (n < 2 || n > ENTRY_FIELDS)
        return false;
    if (bf_slice_is(fields[0], "c"))
        return key_cancel(fields, n, entry);
    if (bf_slice_is(fields[0], "d"))
        return n == 2 && key_segment(fields[1], entry);
    if (!key_lane(fields[1], &entry->lane))
        return false;
    if (bf_slice_is(fields[0], "b")) {
        entry->kind = BF_ENTRY_BASE;
        return n == 2;
    }
    if (bf_slice_is(fields[0], "r")) {
        entry->kind = BF_ENTRY_RUN;
        return n == 3 && key_number(fields[2], &entry->offset);
    }
    entry->kind = BF_ENTRY_RANGE;
    return n == 4 && bf_slice_is(fields[0], "f") &&
           key_workspace(fields[2], entry) &&
           key_number(fields[3], &entry->offset);
}

/* base64 into entry->bytes, which has max bytes; how many came, or -1. */
static int64_t get_bytes(struct bf_json_in *in, const char *name, size_t max,
                         struct bf_entry *entry)
{
    struct bf_slice text = bf_json_get_text(in, name);
    size_t len;

    if (!text.ptr)
        return -1;
    entry->bytes = calloc(1, max + 1);
    if (!entry->bytes) {
        bf_err_oom(in->failed ? NULL : in->err);
        in->failed = true;
        return -1;
    }
    if (bf_base64_decode(BF_BASE64, text, entry->bytes, max, &len)) {
        bf_json_get_fail(in, name, "is not base64, or too long");
        return -1;
    }
    return (int64_t)len;
}

/* A bitmap without bits from width on; the position of the first matters. */
static const unsigned char *get_map(struct bf_json_in *in, uint32_t width,
                                    bool first, struct bf_entry *entry)
{
    int64_t len = get_bytes(in, "map", BF_MAP_BYTES, entry);
    unsigned int last;

    if (len <= 0)
        return entry->bytes;
    last = entry->bytes[len - 1];
    if (last == 0)
        bf_json_get_fail(in, "map", "ends in a zero byte");
    else if (8 * len - (__builtin_clz(last) - 24) > width)
        bf_json_get_fail(in, "map", "has a bit beyond its width");
    else if (!first && (entry->bytes[0] & 1))
        bf_json_get_fail(in, "map", "marks the base itself");
    return entry->bytes;
}

static struct bf_slice get_maybe(struct bf_json_in *in, const char *name,
                                 bool (*ok)(struct bf_slice))
{
    struct bf_slice text = bf_json_get_maybe(in, name);

    if (text.ptr && !ok(text))
        bf_json_get_fail(in, name, "is ill-formed");
    return text;
}

static int64_t get_ms(struct bf_json_in *in, const char *name)
{
    return bf_json_get_int(in, name, 0, BF_MAX_TIME_MS - 1);
}

static void get_owner(struct bf_json_in *in, struct bf_entry *entry)
{
    struct bf_json_in owner;

    bf_json_begin(&owner, bf_json_get_object(in, "owner", false), in->code,
                  in->failed ? NULL : in->err);
    if (!owner.object)
        return;
    entry->b.host = bf_json_get_text(&owner, "host");
    entry->b.pid = (uint32_t)bf_json_get_int(&owner, "pid", 0, UINT32_MAX);
    entry->b.txn_id = bf_json_get_word(&owner, "txn_id", bf_txn_id_ok);
    if (bf_json_end(&owner))
        in->failed = true;
}

static void get_base(struct bf_json_in *in, struct bf_entry *entry)
{
    entry->b.base = bf_json_get_int(in, "base", 0, INT64_MAX);
    entry->b.map = get_map(in, BF_WINDOW, false, entry);
    get_owner(in, entry);
    entry->b.at_ms = bf_json_get_time(in, "at");
    /* entries written before there was such a member have none */
    if (json_object_get(in->object, "confirmed"))
        entry->b.confirmed = bf_json_get_word(in, "confirmed", bf_hex128_ok);
}

static void get_run_words(struct bf_json_in *in, struct bf_entry *entry)
{
    struct bf_slice state = bf_json_get_text(in, "state");
    struct bf_slice origin = bf_json_get_text(in, "id_origin");
    int id_origin = bf_id_origin_parse(origin);
    size_t i = 0;

    while (i < bf_countof(run_state_names) &&
           !bf_slice_is(state, run_state_names[i]))
        i++;
    if (i == bf_countof(run_state_names))
        bf_json_get_fail(in, "state", "is not a known word");
    else
        entry->r.state = (enum bf_run_state)i;
    if (id_origin < 0)
        bf_json_get_fail(in, "id_origin", "is not a known word");
    else
        entry->r.id_origin = (enum bf_id_origin)id_origin;
}

static void get_run(struct bf_json_in *in, struct bf_entry *entry)
{
    get_run_words(in, entry);
    entry->workspace = bf_json_get_word(in, "workspace", bf_workspace_ok);
    entry->job = bf_json_get_word(in, "job", bf_job_id_ok);
    entry->r.generation =
        (uint32_t)bf_json_get_int(in, "generation", 0, UINT32_MAX);
    entry->r.attempt = (uint32_t)bf_json_get_int(in, "attempt", 1, UINT32_MAX);
    entry->r.due_ms = get_ms(in, "due_ms");
    entry->r.expires_ms = get_ms(in, "expires_ms");
    entry->r.order_key = get_maybe(in, "order_key", bf_order_key_ok);
    entry->r.run_id = get_maybe(in, "run_id", bf_hex128_ok);
    entry->r.digest = get_maybe(in, "digest", bf_hex128_ok);
    entry->r.handle = bf_json_get_object(in, "handle", true);
    if (entry->r.handle && !bf_json_is_strings(entry->r.handle))
        bf_json_get_fail(in, "handle", "has more than strings in it");
}

static void get_range(struct bf_json_in *in, struct bf_entry *entry)
{
    entry->f.width = (uint32_t)bf_json_get_int(in, "width", 1, BF_WINDOW);
    entry->f.map = get_map(in, entry->f.width, true, entry);
    entry->f.earliest_expiry_ms = get_ms(in, "earliest_expiry_ms");
}

static void get_finished(struct bf_json_in *in, struct bf_entry *entry)
{
    int64_t len =
        get_bytes(in, "ids", (size_t)BF_MAX_SEGMENT * FINISHED_BYTES, entry);

    if (len >= 0 && len % FINISHED_BYTES != 0)
        bf_json_get_fail(in, "ids", "is not of 16 bytes each");
    entry->d.ids = entry->bytes;
    entry->d.nids = len > 0 ? (size_t)len / FINISHED_BYTES : 0;
    entry->d.from_ms = get_ms(in, "from_ms");
    entry->d.to_ms = get_ms(in, "to_ms");
}

static void get_ends(struct bf_json_in *in, struct bf_entry *entry)
{
    struct bf_json_in ends;

    for (int i = 0; i < BF_LANES; i++)
        entry->c.ends[i] = -1;
    bf_json_begin(&ends, bf_json_get_object(in, "ends", false), in->code,
                  in->failed ? NULL : in->err);
    if (!ends.object)
        return;
    for (int i = 0; i < BF_LANES; i++) {
        if (json_object_get(ends.object, lane_names[i]))
            entry->c.ends[i] =
                bf_json_get_int(&ends, lane_names[i], 0, INT64_MAX);
    }
    if (bf_json_end(&ends))
        in->failed = true;
}

static void get_cancel(struct bf_json_in *in, struct bf_entry *entry)
{
    entry->c.until_ms = get_ms(in, "until_ms");
    get_ends(in, entry);
    entry->c.control_id = bf_json_get_word(in, "control_id", bf_job_id_ok);
}

static void get_body(struct bf_json_in *in, struct bf_entry *entry)
{
    switch (entry->kind) {
    case BF_ENTRY_BASE:
        get_base(in, entry);
        break;
    case BF_ENTRY_RUN:
        get_run(in, entry);
        break;
    case BF_ENTRY_RANGE:
        get_range(in, entry);
        break;
    case BF_ENTRY_FINISHED:
        get_finished(in, entry);
        break;
    case BF_ENTRY_CANCEL:
        get_cancel(in, entry);
        break;
    }
}

/* What is in the value; entry owns what comes of it, on failure too. */
static int entry_read_value(struct bf_slice value, struct bf_entry *entry,
                            struct bf_err *err)
{
    struct bf_json_in in;
    int64_t seq;

    entry->doc = bf_json_parse(value, BF_MAX_RECORD_SMALL, err);
    if (!entry->doc) {
        if (err && err->kind == BF_ERR_REJECT)
            err->code = "bad_state";
        return -1;
    }
    bf_json_begin(&in, entry->doc, "bad_state", err);
    bf_json_get_int(&in, "v", 1, 1);
    seq = bf_json_get_int(&in, "seq", 0, INT64_MAX);
    if ((uint64_t)seq != entry->seq)
        bf_json_get_fail(&in, "seq", "is not what bf_seq says");
    get_body(&in, entry);
    return bf_json_end(&in);
}

static int entry_read_head(const struct bf_record *rec, struct bf_entry *entry,
                           struct bf_err *err)
{
    struct bf_reader r = {.rec = rec, .err = err};
    int64_t at_ms, seq = 0;

    if (bf_envelope_check(rec, BF_TYPE_STATE, &at_ms, err))
        return -1;
    bf_read_i64(&r, "bf_seq", BF_REQUIRED, INT64_MAX, &seq);
    entry->seq = (uint64_t)seq;
    return r.failed ? -1 : 0;
}

int bf_entry_parse(const struct bf_record *rec, struct bf_entry *ret,
                   struct bf_err *err)
{
    struct bf_entry entry = {0};

    if (entry_read_head(rec, &entry, err)) {
        if (err)
            err->code = "bad_state";
        return -1;
    }
    if (!key_parse(rec->key, &entry))
        return state_bad(err, "the key is no entry's");
    entry.tombstone = !rec->value.ptr;
    if (!entry.tombstone && entry_read_value(rec->value, &entry, err)) {
        bf_entry_release(&entry);
        return -1;
    }
    *ret = entry;
    return 0;
}
