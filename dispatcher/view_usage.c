#include "dispatcher/view_usage.h"

#include "config/clock.h"
#include "config/fleet_topics.h"
#include "dispatcher/quantity.h"
#include "dispatcher/sql.h"
#include "schemas/err.h"
#include "schemas/ids.h"
#include "schemas/json.h"

struct bf_view_usage {
    sqlite3 *db;
    sqlite3_stmt *note;
    sqlite3_stmt *add;
    sqlite3_stmt *forget_ids;
    sqlite3_stmt *forget_totals;
};

struct event {
    struct bf_slice workspace;
    struct bf_slice block_type;  /* "" when it is of no block */
    struct bf_slice fingerprint; /* the same */
    bool billable;
    int64_t hour;
    int64_t values[BF_QUANTITIES];
};

static bool prepare(struct bf_view_usage *usage, sqlite3 *db,
                    struct bf_err *err)
{
    usage->db = db;
    usage->note = bf_sql_prepare(
        db, "INSERT OR IGNORE INTO usage_ids VALUES(?1, ?2)", err);
    usage->add = bf_sql_prepare(
        db,
        "INSERT INTO usage_totals VALUES(?1, ?2, ?3, ?4, ?5, 1, ?6, ?7, ?8,"
        " ?9, ?10, ?11, ?12) ON CONFLICT DO UPDATE SET rows = rows + 1,"
        " runs = runs + ?6, duration_us = duration_us + ?7,"
        " execution_us = execution_us + ?8, input_bytes = input_bytes + ?9,"
        " output_bytes = output_bytes + ?10, vcpu_us = vcpu_us + ?11,"
        " memory_gib_us = memory_gib_us + ?12",
        err);
    usage->forget_ids =
        bf_sql_prepare(db, "DELETE FROM usage_ids WHERE day < ?1", err);
    usage->forget_totals =
        bf_sql_prepare(db, "DELETE FROM usage_totals WHERE hour < ?1", err);
    return usage->note && usage->add && usage->forget_ids &&
           usage->forget_totals;
}

struct bf_view_usage *bf_view_usage_new(sqlite3 *db, struct bf_err *err)
{
    struct bf_view_usage *usage = calloc(1, sizeof(*usage));

    if (!usage) {
        bf_err_oom(err);
        return NULL;
    }
    usage->db = db;
    if (prepare(usage, db, err))
        return usage;
    bf_view_usage_free(usage);
    return NULL;
}

void bf_view_usage_free(struct bf_view_usage *usage)
{
    if (!usage)
        return;
    sqlite3_finalize(usage->note);
    sqlite3_finalize(usage->add);
    sqlite3_finalize(usage->forget_ids);
    sqlite3_finalize(usage->forget_totals);
    free(usage);
}

/* Today and the days before that bf.usage keeps in full. */
int64_t bf_view_usage_since(int64_t now_ms)
{
    return now_ms / BF_DAY_MS -
           bf_topic_retention_ms(BF_TOPIC_USAGE) / BF_DAY_MS + 1;
}

static int bad(struct bf_err *err, const char *what)
{
    return bf_err_set(err, BF_ERR_REJECT, "bad_record",
                      "a usage record: %s is not as it must be", what);
}

static int read_quantities(const json_t *doc, int64_t values[BF_QUANTITIES],
                           struct bf_err *err)
{
    bool is_signed =
        bf_slice_is(bf_json_slice(json_object_get(doc, "kind")), "correction");

    for (int i = 0; i < BF_QUANTITIES; i++) {
        const char *name = bf_quantity_name((enum bf_quantity)i);
        const json_t *value = json_object_get(doc, name);

        values[i] = 0;
        if (bf_quantity_optional((enum bf_quantity)i) &&
            (!value || json_is_null(value)))
            continue;
        if (bf_quantity_parse((enum bf_quantity)i, json_string_value(value),
                              is_signed, &values[i]))
            return bad(err, name);
    }
    return 0;
}

/* ptr is not NULL: a part of a key. */
static struct bf_slice read_word(const json_t *doc, const char *name)
{
    struct bf_slice text = bf_json_slice(json_object_get(doc, name));

    return text.ptr ? text : (struct bf_slice){"", 0};
}

static int read_event(const json_t *doc, struct event *ret, struct bf_err *err)
{
    struct bf_slice ended = bf_json_slice(json_object_get(doc, "ended_at"));
    int64_t ms;

    ret->workspace = bf_json_slice(json_object_get(doc, "workspace"));
    if (!ret->workspace.ptr || !bf_workspace_ok(ret->workspace))
        return bad(err, "workspace");
    if (!ended.ptr || bf_clock_parse(ended, &ms, NULL) || ms < 0)
        return bad(err, "ended_at");
    ret->hour = ms / BF_HOUR_MS;
    ret->block_type = read_word(doc, "block_type");
    ret->fingerprint = read_word(doc, "fingerprint");
    ret->billable = json_is_true(json_object_get(doc, "billable"));
    return read_quantities(doc, ret->values, err);
}

/* An empty text is no NULL here: NULLs are all different in a key. */
static void bind_key(sqlite3_stmt *stmt, int at, struct bf_slice text)
{
    sqlite3_bind_text64(stmt, at, text.ptr, text.len, SQLITE_STATIC,
                        SQLITE_UTF8);
}

static int add(struct bf_view_usage *usage, const struct event *event,
               struct bf_err *err)
{
    sqlite3_stmt *stmt = usage->add;

    bf_sql_text(stmt, 1, event->workspace);
    bf_sql_int(stmt, 2, event->hour);
    bf_sql_int(stmt, 3, event->billable);
    bind_key(stmt, 4, event->block_type);
    bind_key(stmt, 5, event->fingerprint);
    for (int i = 0; i < BF_QUANTITIES; i++)
        bf_sql_int(stmt, 6 + i, event->values[i]);
    return bf_sql_run(stmt, err);
}

/* An id's events are all the same, so that its day can be the event's. */
int bf_view_usage_apply(struct bf_view_usage *usage,
                        const struct bf_record *rec, struct bf_err *err)
{
    struct bf_slice id = bf_record_get(rec, "ce_id");
    bf_autojson json_t *doc = NULL;
    struct event event = {0};
    int64_t day;

    if (!id.ptr || !bf_hex128_ok(id))
        return bad(err, "ce_id");
    doc = bf_json_parse(rec->value, BF_MAX_RECORD_SMALL, err);
    if (!doc || read_event(doc, &event, err))
        return -1;
    day = event.hour / (BF_DAY_MS / BF_HOUR_MS);
    if (day < bf_view_usage_since(bf_now_ms()))
        return 0;
    bf_sql_int(usage->note, 1, day);
    bf_sql_text(usage->note, 2, id);
    if (bf_sql_run(usage->note, err))
        return -1;
    return sqlite3_changes(usage->db) > 0 ? add(usage, &event, err) : 0;
}

int bf_view_usage_forget(struct bf_view_usage *usage, int64_t now_ms,
                         struct bf_err *err)
{
    int64_t since = bf_view_usage_since(now_ms);

    bf_sql_int(usage->forget_ids, 1, since);
    bf_sql_int(usage->forget_totals, 1, since * (BF_DAY_MS / BF_HOUR_MS));
    return bf_sql_run(usage->forget_ids, err) ||
                   bf_sql_run(usage->forget_totals, err)
               ? -1
               : 0;
}
