#include "dispatcher/cli/logs.h"

#include "config/settings.h"
#include "dispatcher/cli/text.h"
#include "dispatcher/cli/times.h"
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

int bf_logs_since(const struct bf_logs *logs, struct bf_cli *cli,
                  enum bf_topic which, struct bf_log_range *ret,
                  struct bf_err *err)
{
    *ret = (struct bf_log_range){
        .topic = bf_topic_name(&logs->topics, which),
        .partitions = logs->shards,
        .partition = -1,
        .offset = -1,
        .from_ms = -1,
    };
    return bf_times_option(cli, "since", &ret->from_ms, err);
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
