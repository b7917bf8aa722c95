#include "dispatcher/cli/logs.h"

#include "config/clock.h"
#include "config/settings.h"
#include "dispatcher/cli/text.h"
#include "schemas/err.h"

#define ASK_MS 10000
#define MAX_HEADER_TEXT (8U << 20)

int bf_logs_open(struct bf_logs *logs, struct bf_cli *cli, struct bf_err *err)
{
    *logs = (struct bf_logs){0};
    if (bf_topics_init(&logs->topics, cli->settings->topics.prefix, err))
        return -1;
    logs->kafka = bf_kafka_new(cli->settings, err);
    if (!logs->kafka)
        return -1;
    if (bf_topics_check(bf_kafka_handle(logs->kafka), &logs->topics, ASK_MS,
                        &logs->shards, err) == 0)
        return 0;
    if (err->kind == BF_ERR_FATAL)
        err->code = "refused";
    return -1;
}

void bf_logs_release(struct bf_logs *logs)
{
    bf_kafka_free(logs->kafka);
    logs->kafka = NULL;
}

/* "90s": so long ago. */
static int parse_ago(const char *text, int64_t now_ms, int64_t *ret_ms)
{
    static const struct {
        char unit;
        int64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    size_t len = strlen(text);
    uint64_t number;

    if (len < 2 ||
        bf_slice_u64((struct bf_slice){text, len - 1}, 1000000, &number))
        return -1;
    for (size_t i = 0; i < bf_countof(units); i++) {
        if (text[len - 1] == units[i].unit) {
            *ret_ms = now_ms - (int64_t)number * units[i].ms;
            return 0;
        }
    }
    return -1;
}

int bf_logs_time(const char *text, int64_t now_ms, int64_t *ret_ms,
                 struct bf_err *err)
{
    if (parse_ago(text, now_ms, ret_ms) == 0 ||
        bf_clock_parse(bf_slice_str(text), ret_ms, NULL) == 0)
        return 0;
    return bf_err_set(err, BF_ERR_REJECT, "usage",
                      "'%.60s' is no time: 90s, 30m, 12h or 7d ago, or "
                      "2026-11-21T13:00:00Z",
                      text);
}

int bf_logs_since(const struct bf_logs *logs, struct bf_cli *cli,
                  enum bf_topic which, struct bf_log_range *ret,
                  struct bf_err *err)
{
    const char *since = bf_args_get(&cli->args, "since");

    *ret = (struct bf_log_range){
        .topic = bf_topic_name(&logs->topics, which),
        .partitions = logs->shards,
        .partition = -1,
        .offset = -1,
        .from_ms = -1,
    };
    return since ? bf_logs_time(since, bf_now_ms(), &ret->from_ms, err) : 0;
}

int bf_logs_single(const struct bf_logs *logs, enum bf_topic which,
                   const char *const words[2], struct bf_log_range *ret,
                   struct bf_err *err)
{
    uint64_t partition, offset;

    if (bf_slice_u64(bf_slice_str(words[0]), logs->shards - 1, &partition))
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "'%.40s' is no partition: 0 to %u", words[0],
                          logs->shards - 1);
    if (bf_slice_u64(bf_slice_str(words[1]), INT64_MAX, &offset))
        return bf_err_set(err, BF_ERR_REJECT, "usage", "'%.40s' is no offset",
                          words[1]);
    *ret = (struct bf_log_range){
        .topic = bf_topic_name(&logs->topics, which),
        .partitions = logs->shards,
        .partition = (int32_t)partition,
        .offset = (int64_t)offset,
        .from_ms = -1,
        .single = true,
    };
    return 0;
}

json_t *bf_logs_header(const struct bf_record *rec, const char *name)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(MAX_HEADER_TEXT);
    struct bf_slice value = bf_record_get(rec, name);

    if (!value.ptr || bf_text_add(&text, value, 0, true, NULL))
        return json_null();
    return json_stringn(text.data ? text.data : "", text.len);
}
