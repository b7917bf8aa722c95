#include "worker/lane_reader.h"

#include "config/log.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "worker/consumer.h"

void bf_lane_reader_init(struct bf_lane_reader *reader, const char *topic,
                         uint32_t shard, const struct bf_resume *from)
{
    *reader = (struct bf_lane_reader){
        .topic = topic,
        .shard = shard,
        .lost_to = from->start > from->meta.base ? from->start : -1,
        .next = from->start,
        .base = from->meta.base,
        .look_at = -1,
    };
    bf_ledger_load(&reader->restored, &from->meta);
    bf_skip_init(&reader->skip);
}

int bf_lane_reader_open(struct bf_lane_reader *reader,
                        struct bf_consumer *consumer, struct bf_err *err)
{
    reader->feed =
        bf_feed_open(consumer, reader->topic, (int32_t)reader->shard, err);
    return reader->feed ? 0 : -1;
}

void bf_lane_reader_close(struct bf_lane_reader *reader)
{
    bf_feed_close(bf_take(reader->feed));
    if (reader->held)
        rd_kafka_message_destroy(bf_take(reader->held));
}

void bf_lane_reader_add(const struct bf_lane_reader *reader,
                        rd_kafka_topic_partition_list_t *parts)
{
    rd_kafka_topic_partition_list_add(parts, reader->topic,
                                      (int32_t)reader->shard)
        ->offset = reader->next;
}

static void set_gap(struct bf_lane_reader *reader, int64_t to,
                    struct bf_pull *ret)
{
    *ret = (struct bf_pull){.kind = BF_PULL_GAP,
                            .shard = reader->shard,
                            .from = reader->next,
                            .to = to};
    for (int64_t o = reader->next; o < to; o++) {
        /* What was complete may well be gone; above the map, nothing was. */
        if (o >= reader->restored.base + (int64_t)BF_WINDOW) {
            ret->lost += to - o;
            break;
        }
        ret->lost += !bf_ledger_has(&reader->restored, o);
    }
    reader->next = to;
}

/* The log was read up to here; what lies between was not in it. */
static enum bf_pull_kind pull_gap(struct bf_lane_reader *reader, int64_t window,
                                  int64_t to, struct bf_pull *ret)
{
    if (reader->next > reader->base && to > reader->base + window)
        return BF_PULL_NONE; /* until the base has come so far */
    set_gap(reader, to, ret);
    return BF_PULL_GAP;
}

/* msg is kept in reader->held when it has to wait. */
static enum bf_pull_kind pull_record(struct bf_lane_reader *reader,
                                     int64_t window, rd_kafka_message_t *msg,
                                     struct bf_pull *ret)
{
    if (msg->offset > reader->next) {
        reader->held = msg;
        return pull_gap(reader, window, msg->offset, ret);
    }
    if (msg->offset >= reader->base + window) {
        reader->held = msg;
        return BF_PULL_NONE;
    }
    reader->next = msg->offset + 1;
    *ret = (struct bf_pull){
        .kind = BF_PULL_RECORD, .shard = reader->shard, .msg = msg};
    return BF_PULL_RECORD;
}

/* True when msg is to be left, because we have to look at another place. */
static bool skips(struct bf_lane_reader *reader, const rd_kafka_message_t *msg)
{
    if (bf_feed_is_unreadable(msg)) {
        bf_log_error("unreadable", bf_kv_int("shard", reader->shard),
                     bf_kv_int("offset", msg->offset),
                     bf_kv_str("error", rd_kafka_message_errstr(msg)));
        reader->look_at =
            bf_skip_unreadable(&reader->skip, reader->next, msg->offset);
    } else {
        reader->look_at = bf_skip_readable(&reader->skip);
    }
    return reader->look_at >= 0;
}

/* The log does not hold what we want to read next. */
static void take_error(struct bf_lane_reader *reader,
                       const rd_kafka_message_t *msg)
{
    if (bf_feed_is_unreadable(msg))
        return; /* said, and being tried again */
    bf_log_warn("log_cut", bf_kv_int("shard", reader->shard),
                bf_kv_int("offset", msg->offset),
                bf_kv_str("error", rd_kafka_message_errstr(msg)));
    reader->cut = msg->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
                  msg->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
}

/* Nothing to give of this message: an error, an end, one known to be over. */
static bool is_nothing(const struct bf_lane_reader *reader,
                       const rd_kafka_message_t *msg)
{
    if (msg->err)
        return true;
    return msg->offset < reader->next ||
           (msg->offset == reader->next &&
            bf_ledger_has(&reader->restored, msg->offset));
}

static rd_kafka_message_t *next_message(struct bf_lane_reader *reader)
{
    return reader->held ? bf_take(reader->held) : bf_feed_next(reader->feed);
}

static enum bf_pull_kind pull_log(struct bf_lane_reader *reader, int64_t window,
                                  struct bf_pull *ret)
{
    rd_kafka_message_t *msg;

    while (!reader->cut && (msg = next_message(reader))) {
        if (skips(reader, msg)) {
            rd_kafka_message_destroy(msg);
            break;
        }
        if (!is_nothing(reader, msg))
            return pull_record(reader, window, msg, ret);
        if (msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF &&
            msg->offset > reader->next) {
            reader->held = msg;
            return pull_gap(reader, window, msg->offset, ret);
        }
        if (msg->err && msg->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
            take_error(reader, msg);
        else if (!msg->err && msg->offset == reader->next)
            reader->next++;
        rd_kafka_message_destroy(msg);
    }
    return BF_PULL_NONE;
}

enum bf_pull_kind bf_lane_reader_pull(struct bf_lane_reader *reader,
                                      int64_t window, struct bf_pull *ret)
{
    int64_t lost_to = reader->lost_to;

    if (lost_to >= 0) {
        reader->lost_to = -1;
        reader->next = reader->restored.base;
        set_gap(reader, lost_to, ret);
        return BF_PULL_GAP;
    }
    if (bf_lane_reader_must_look(reader))
        return BF_PULL_NONE;
    return pull_log(reader, window, ret);
}

bool bf_lane_reader_must_look(const struct bf_lane_reader *reader)
{
    return reader->look_at >= 0;
}

int bf_lane_reader_look(struct bf_lane_reader *reader,
                        struct bf_consumer *consumer, struct bf_err *err)
{
    rd_kafka_topic_partition_list_t *parts;
    int rc;

    if (!bf_lane_reader_must_look(reader))
        return 0;
    parts = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(parts, reader->topic,
                                      (int32_t)reader->shard)
        ->offset = reader->look_at;
    reader->look_at = -1;
    rc = bf_consumer_unassign(consumer, parts, err);
    bf_feed_close(bf_take(reader->feed));
    if (rc == 0)
        rc = bf_lane_reader_open(reader, consumer, err) ||
             bf_consumer_assign(consumer, parts, err);
    rd_kafka_topic_partition_list_destroy(parts);
    return rc ? -1 : 0;
}
