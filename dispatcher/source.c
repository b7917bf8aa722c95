#include "dispatcher/source.h"

#include "config/log.h"
#include "schemas/check.h"
#include "schemas/err.h"

const enum bf_topic bf_source_topics[BF_SOURCE_TOPICS] = {
    BF_TOPIC_JOBS,    BF_TOPIC_BATCH, BF_TOPIC_STATE,
    BF_TOPIC_RESULTS, BF_TOPIC_USAGE, BF_TOPIC_CONTROL,
};

struct place {
    int64_t next; /* -1: the first there is */
    int64_t end;  /* as asked for last */
    bool moved;
    bool started;
};

struct bf_source {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    const struct bf_topics *topics;
    uint32_t shards;
    bool only_fleet;
    rd_kafka_topic_t *handles[BF_SOURCE_TOPICS];
    struct place *places; /* [topic's row][partition] */
};

static size_t row_of(enum bf_topic topic)
{
    size_t row = 0;

    while (bf_source_topics[row] != topic) {
        row++;
        bf_assert(row < BF_SOURCE_TOPICS);
    }
    return row;
}

static struct place *place_of(const struct bf_source *source,
                              enum bf_topic topic, int32_t partition)
{
    bf_assert(partition >= 0 && (uint32_t)partition < source->shards);
    return &source
                ->places[row_of(topic) * source->shards + (uint32_t)partition];
}

/* ---- life -----------------------------------------------------------------*/

static int open_topics(struct bf_source *source, struct bf_err *err)
{
    for (size_t i = 0; i < BF_SOURCE_TOPICS; i++) {
        rd_kafka_topic_conf_t *conf = rd_kafka_topic_conf_new();
        char why[160];

        /* What retention took is no loss for a view. */
        rd_kafka_topic_conf_set(conf, "auto.offset.reset", "earliest", why,
                                sizeof(why));
        source->handles[i] = rd_kafka_topic_new(
            source->rk, bf_topic_name(source->topics, bf_source_topics[i]),
            conf);
        if (!source->handles[i])
            return bf_err_set(err, BF_ERR_RETRY, "kafka_topic", "%s",
                              rd_kafka_err2str(rd_kafka_last_error()));
    }
    return 0;
}

struct bf_source *bf_source_new(rd_kafka_t *rk, rd_kafka_queue_t *queue,
                                const struct bf_topics *topics, uint32_t shards,
                                struct bf_err *err)
{
    bf_autosource struct bf_source *source = calloc(1, sizeof(*source));

    if (!source) {
        bf_err_oom(err);
        return NULL;
    }
    source->rk = rk;
    source->topics = topics;
    source->shards = shards;
    source->queue = queue;
    source->places =
        calloc((size_t)shards * BF_SOURCE_TOPICS, sizeof(*source->places));
    if (!source->places) {
        bf_err_oom(err);
        return NULL;
    }
    if (open_topics(source, err))
        return NULL;
    return bf_take(source);
}

static void stop(struct bf_source *source)
{
    for (size_t i = 0; i < BF_SOURCE_TOPICS; i++) {
        for (uint32_t p = 0; p < source->shards; p++) {
            struct place *place = &source->places[i * source->shards + p];

            if (place->started)
                rd_kafka_consume_stop(source->handles[i], (int32_t)p);
            place->started = false;
        }
    }
}

void bf_source_free(struct bf_source *source)
{
    if (!source)
        return;
    if (source->places)
        stop(source);
    for (size_t i = 0; i < BF_SOURCE_TOPICS; i++) {
        if (source->handles[i])
            rd_kafka_topic_destroy(source->handles[i]);
    }
    free(source->places);
    free(source);
}

void bf_source_only_fleet(struct bf_source *source)
{
    source->only_fleet = true;
}

/* Is this partition of the topic in row i one that is read? */
static bool reads(const struct bf_source *source, size_t i, uint32_t p)
{
    return !source->only_fleet ||
           (bf_source_topics[i] == BF_TOPIC_STATE && p == 0);
}

/* ---- positions and ends ---------------------------------------------------*/

void bf_source_set_position(struct bf_source *source, enum bf_topic topic,
                            int32_t partition, int64_t next)
{
    place_of(source, topic, partition)->next = next;
}

int64_t bf_source_position(const struct bf_source *source, enum bf_topic topic,
                           int32_t partition)
{
    return place_of(source, topic, partition)->next;
}

bool bf_source_moved(struct bf_source *source, enum bf_topic topic,
                     int32_t partition)
{
    struct place *place = place_of(source, topic, partition);
    bool moved = place->moved;

    place->moved = false;
    return moved;
}

static int take_ends(struct bf_source *source,
                     const rd_kafka_topic_partition_list_t *list,
                     struct bf_err *err)
{
    int above = 0;

    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *part = &list->elems[i];
        int topic = bf_topic_of(source->topics, part->topic);
        struct place *place;

        if (part->err || part->offset < 0)
            return bf_err_set(err, BF_ERR_RETRY, "kafka_ends", "%s[%d]: %s",
                              part->topic, part->partition,
                              rd_kafka_err2str(part->err));
        place = place_of(source, (enum bf_topic)topic, part->partition);
        place->end = part->offset;
        above |= place->next > place->end;
    }
    return above;
}

int bf_source_ask_ends(struct bf_source *source, int timeout_ms,
                       struct bf_err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(
        (int)(source->shards * BF_SOURCE_TOPICS));
    rd_kafka_resp_err_t rc;
    int above;

    /*
     * ListOffsets takes -1 for "the end", and one request per broker asks for
     * all: with read_committed, the last stable offset.
     */
    for (size_t i = 0; i < BF_SOURCE_TOPICS; i++) {
        for (uint32_t p = 0; p < source->shards; p++) {
            if (reads(source, i, p))
                rd_kafka_topic_partition_list_add(
                    list, bf_topic_name(source->topics, bf_source_topics[i]),
                    (int32_t)p)
                    ->offset = RD_KAFKA_OFFSET_END;
        }
    }
    rc = rd_kafka_offsets_for_times(source->rk, list, timeout_ms);
    if (rc)
        above = bf_err_set(err, BF_ERR_RETRY, "kafka_ends",
                           "ends of partitions: %s", rd_kafka_err2str(rc));
    else
        above = take_ends(source, list, err);
    rd_kafka_topic_partition_list_destroy(list);
    if (above < 0)
        bf_topics_look_again(source->rk, timeout_ms);
    return above;
}

bool bf_source_reached_one(const struct bf_source *source, enum bf_topic topic,
                           int32_t partition)
{
    const struct place *place = place_of(source, topic, partition);

    return place->end == 0 || place->next >= place->end;
}

bool bf_source_reached(const struct bf_source *source)
{
    for (size_t i = 0; i < BF_SOURCE_TOPICS; i++) {
        for (uint32_t p = 0; p < source->shards; p++) {
            if (reads(source, i, p) &&
                !bf_source_reached_one(source, bf_source_topics[i], (int32_t)p))
                return false;
        }
    }
    return true;
}

/* ---- reading --------------------------------------------------------------*/

int bf_source_start(struct bf_source *source, struct bf_err *err)
{
    for (size_t i = 0; i < BF_SOURCE_TOPICS; i++) {
        for (uint32_t p = 0; p < source->shards; p++) {
            struct place *place = &source->places[i * source->shards + p];
            int64_t from =
                place->next < 0 ? RD_KAFKA_OFFSET_BEGINNING : place->next;

            if (!reads(source, i, p))
                continue;
            if (rd_kafka_consume_start_queue(source->handles[i], (int32_t)p,
                                             from, source->queue))
                return bf_err_set(err, BF_ERR_RETRY, "kafka_consume", "%s",
                                  rd_kafka_err2str(rd_kafka_last_error()));
            place->started = true;
        }
    }
    return 0;
}

static void move(struct place *place, int64_t next)
{
    if (next <= place->next)
        return;
    place->next = next;
    place->moved = true;
}

void bf_source_done(struct bf_source *source, enum bf_topic topic,
                    int32_t partition, int64_t offset)
{
    move(place_of(source, topic, partition), offset + 1);
}

/* Positions never pass control records; the end of the log does. */
static void take_event(struct bf_source *source,
                       const rd_kafka_message_t *message, int topic)
{
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        move(place_of(source, (enum bf_topic)topic, message->partition),
             message->offset);
    else
        bf_log_warn("view_read",
                    bf_kv_str("why", rd_kafka_message_errstr(message)),
                    bf_kv_int("partition", message->partition));
}

rd_kafka_message_t *bf_source_next(struct bf_source *source, int timeout_ms,
                                   enum bf_topic *ret_topic)
{
    rd_kafka_message_t *message;

    for (;;) {
        int topic;

        message = rd_kafka_consume_queue(source->queue, timeout_ms);
        if (!message)
            return NULL;
        topic = message->rkt ? bf_topic_of(source->topics,
                                           rd_kafka_topic_name(message->rkt))
                             : -1;
        *ret_topic = (enum bf_topic)topic;
        if (topic >= 0 && !message->err)
            return message;
        if (topic >= 0)
            take_event(source, message, topic);
        rd_kafka_message_destroy(message);
        timeout_ms = 0;
    }
}
