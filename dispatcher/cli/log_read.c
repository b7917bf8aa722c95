#include "dispatcher/cli/log_read.h"

#include "config/kafka_record.h"
#include "schemas/err.h"

#define SILENCE_MS 15000

BF_DEFINE_CLEANUP(list_freep_, rd_kafka_topic_partition_list_t *,
                  rd_kafka_topic_partition_list_destroy)
#define autolist bf_cleanup(list_freep_) rd_kafka_topic_partition_list_t

struct reading {
    const struct bf_log_range *range;
    bf_log_fn *fn;
    void *arg;
    uint32_t left; /* partitions not at their end */
    bool found;
};

static int refused(const char *topic, const char *why, struct bf_err *err)
{
    return bf_err_set(err, BF_ERR_REJECT, "refused", "%s: %s", topic, why);
}

static int take(struct reading *reading, const rd_kafka_message_t *msg,
                struct bf_err *err)
{
    bf_autorecord struct bf_record rec = {0};
    struct bf_err why = {0};
    int bad = bf_kafka_record(msg, reading->range->topic, &rec, &why);

    if (bad && why.kind != BF_ERR_REJECT) {
        *err = why;
        return -1;
    }
    if (reading->range->single) {
        reading->left = 0;
        if (msg->offset != reading->range->offset)
            return 0;
    }
    reading->found = true;
    return reading->fn(reading->arg, &rec, bad ? &why : NULL, err);
}

/* One message or event. */
static int handle(struct reading *reading, const rd_kafka_message_t *msg,
                  struct bf_err *err)
{
    switch ((int)msg->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return take(reading, msg, err);
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        reading->left--;
        return 0;
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        return 0; /* it tries again; silence will end it */
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        return refused(reading->range->topic, "there is no such offset", err);
    default:
        return refused(reading->range->topic, rd_kafka_message_errstr(msg),
                       err);
    }
}

/* Until every partition has been read to its end. */
static int drain(struct reading *reading, rd_kafka_t *rk, struct bf_err *err)
{
    int status = 0;

    while (reading->left > 0 && status == 0) {
        rd_kafka_message_t *msg = rd_kafka_consumer_poll(rk, SILENCE_MS);

        if (!msg)
            return bf_err_set(err, BF_ERR_RETRY, "unreachable",
                              "%s: not read to its end, silent for %d s",
                              reading->range->topic, SILENCE_MS / 1000);
        status = handle(reading, msg, err);
        rd_kafka_message_destroy(msg);
    }
    return status;
}

/* Where each partition begins: a time is asked of the brokers. */
static int find_begin(const struct bf_log_range *range, rd_kafka_t *rk,
                      rd_kafka_topic_partition_list_t *list, struct bf_err *err)
{
    rd_kafka_resp_err_t code;

    for (uint32_t p = 0; p < range->partitions; p++) {
        if (range->partition < 0 || range->partition == (int32_t)p)
            rd_kafka_topic_partition_list_add(list, range->topic, (int32_t)p)
                ->offset = range->offset >= 0    ? range->offset
                           : range->from_ms >= 0 ? range->from_ms
                                                 : RD_KAFKA_OFFSET_BEGINNING;
    }
    if (list->cnt == 0)
        return refused(range->topic, "there is no such partition", err);
    if (range->offset >= 0 || range->from_ms < 0)
        return 0;
    code = rd_kafka_offsets_for_times(rk, list, SILENCE_MS);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR
               ? 0
               : bf_err_set(err, BF_ERR_RETRY, "unreachable", "%s: %s",
                            range->topic, rd_kafka_err2str(code));
}

int bf_log_read(struct bf_kafka *kafka, const struct bf_log_range *range,
                bf_log_fn *fn, void *arg, struct bf_err *err)
{
    rd_kafka_t *rk = bf_kafka_handle(kafka);
    autolist *list = rd_kafka_topic_partition_list_new(1);
    struct reading reading = {.range = range, .fn = fn, .arg = arg};
    rd_kafka_resp_err_t code;
    int status;

    bf_assert(!range->single || (range->partition >= 0 && range->offset >= 0));
    bf_kafka_learn(rk, range->topic);
    if (find_begin(range, rk, list, err))
        return -1;
    reading.left = (uint32_t)list->cnt;
    code = rd_kafka_assign(rk, list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return bf_err_set(err, BF_ERR_RETRY, "unreachable", "%s: %s",
                          range->topic, rd_kafka_err2str(code));
    status = drain(&reading, rk, err);
    rd_kafka_assign(rk, NULL);
    if (status == 0 && range->single && !reading.found)
        return refused(range->topic,
                       "there is no record with this offset (deleted, of an "
                       "aborted transaction, or not written yet)",
                       err);
    return status;
}
