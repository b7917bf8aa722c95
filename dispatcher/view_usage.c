#include "dispatcher/view_usage.h"

#include "config/clock.h"
#include "config/fleet_topics.h"
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

struct quantities {
    struct bf_slice workspace;
    int64_t day;
    int64_t runs;
    int64_t duration_us;
    int64_t input_bytes;
    int64_t output_bytes;
};

static bool prepare(struct bf_view_usage *usage, sqlite3 *db,
                    struct bf_err *err)
{
    usage->db = db;
    usage->note = bf_sql_prepare(
        db, "INSERT OR IGNORE INTO usage_ids VALUES(?1, ?2)", err);
    usage->add = bf_sql_prepare(
        db,
        "INSERT INTO usage_totals VALUES(?1, ?6, 1, ?2, ?3, ?4, ?5)"
        " ON CONFLICT DO UPDATE SET rows = rows + 1, runs = runs + ?2,"
        " duration_us = duration_us + ?3, input_bytes = input_bytes + ?4,"
        " output_bytes = output_bytes + ?5",
        err);
    usage->forget_ids =
        bf_sql_prepare(db, "DELETE FROM usage_ids WHERE day < ?1", err);
    usage->forget_totals =
        bf_sql_prepare(db, "DELETE FROM usage_totals WHERE day < ?1", err);
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

int bf_view_usage_micros(const char *text, int64_t *ret)
{
    const char *point = text ? strchr(text, '.') : NULL;
    size_t whole_len = point ? (size_t)(point - text) : text ? strlen(text) : 0;
    uint64_t whole, micros = 0;
    size_t digits = 0;

    if (!text ||
        bf_slice_u64((struct bf_slice){text, whole_len}, INT32_MAX, &whole))
        return -1;
    if (point) {
        for (digits = 0; point[1 + digits]; digits++) {
            if (digits == 6 || point[1 + digits] < '0' ||
                point[1 + digits] > '9')
                return -1;
            micros = micros * 10 + (uint64_t)(point[1 + digits] - '0');
        }
        if (digits == 0)
            return -1;
    }
    for (; digits < 6; digits++)
        micros *= 10;
    *ret = (int64_t)(whole * 1000000 + micros);
    return 0;
}

static int read_count(const json_t *doc, const char *name, int64_t *ret)
{
    uint64_t value;

    if (bf_slice_u64(bf_json_slice(json_object_get(doc, name)), INT64_MAX >> 16,
                     &value))
        return -1;
    *ret = (int64_t)value;
    return 0;
}

static int read_quantities(const json_t *doc, struct quantities *ret,
                           struct bf_err *err)
{
    const json_t *seconds = json_object_get(doc, "duration_seconds");

    ret->workspace = bf_json_slice(json_object_get(doc, "workspace"));
    if (!ret->workspace.ptr || !bf_workspace_ok(ret->workspace) ||
        bf_view_usage_micros(json_string_value(seconds), &ret->duration_us) ||
        read_count(doc, "runs", &ret->runs) ||
        read_count(doc, "input_bytes", &ret->input_bytes) ||
        read_count(doc, "output_bytes", &ret->output_bytes))
        return bf_err_set(err, BF_ERR_REJECT, "bad_record",
                          "a usage record without workspace or quantities");
    return 0;
}

static int add(struct bf_view_usage *usage, const struct quantities *q,
               struct bf_err *err)
{
    bf_sql_text(usage->add, 1, q->workspace);
    bf_sql_int(usage->add, 2, q->runs);
    bf_sql_int(usage->add, 3, q->duration_us);
    bf_sql_int(usage->add, 4, q->input_bytes);
    bf_sql_int(usage->add, 5, q->output_bytes);
    bf_sql_int(usage->add, 6, q->day);
    return bf_sql_run(usage->add, err);
}

/* The day of ce_time, which is the same however often it is published. */
static int read_day(const struct bf_record *rec, int64_t *ret,
                    struct bf_err *err)
{
    struct bf_slice time = bf_record_get(rec, "ce_time");
    int64_t ms;

    if (!time.ptr || bf_clock_parse(time, &ms, NULL) || ms < 0)
        return bf_err_set(err, BF_ERR_REJECT, "bad_record", "no ce_time");
    *ret = ms / BF_DAY_MS;
    return 0;
}

int bf_view_usage_apply(struct bf_view_usage *usage,
                        const struct bf_record *rec, struct bf_err *err)
{
    struct bf_slice id = bf_record_get(rec, "ce_id");
    bf_autojson json_t *doc = NULL;
    struct quantities q = {0};

    if (!id.ptr || !bf_hex128_ok(id))
        return bf_err_set(err, BF_ERR_REJECT, "bad_record", "no ce_id");
    if (read_day(rec, &q.day, err))
        return -1;
    if (q.day < bf_view_usage_since(bf_now_ms()))
        return 0;
    doc = bf_json_parse(rec->value, BF_MAX_RECORD_SMALL, err);
    if (!doc || read_quantities(doc, &q, err))
        return -1;
    bf_sql_int(usage->note, 1, q.day);
    bf_sql_text(usage->note, 2, id);
    if (bf_sql_run(usage->note, err))
        return -1;
    return sqlite3_changes(usage->db) > 0 ? add(usage, &q, err) : 0;
}

int bf_view_usage_forget(struct bf_view_usage *usage, int64_t now_ms,
                         struct bf_err *err)
{
    int64_t since = bf_view_usage_since(now_ms);

    bf_sql_int(usage->forget_ids, 1, since);
    bf_sql_int(usage->forget_totals, 1, since);
    return bf_sql_run(usage->forget_ids, err) ||
                   bf_sql_run(usage->forget_totals, err)
               ? -1
               : 0;
}
