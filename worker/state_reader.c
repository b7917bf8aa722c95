#include "worker/state_reader.h"

#include "config/clock.h"
#include "config/kafka_record.h"
#include "config/log.h"
#include "schemas/check.h"
#include "schemas/fleet.h"
#include "schemas/sign.h"
#include "worker/consumer.h"

#define TRIES 3 /* of a batch, before it is given up */

int bf_state_reader_open(struct bf_state_reader *reader,
                         struct bf_consumer *consumer, struct bf_err *err)
{
    bf_assert(!reader->feed && !reader->state);
    reader->end = -1;
    reader->bad = -1;
    reader->tries = 0;
    reader->facts_known = false;
    reader->problem.kind = BF_ERR_NONE;
    if (reader->paused)
        bf_consumer_resume(consumer, reader->topic, (int32_t)reader->shard);
    reader->paused = false;
    reader->state = bf_shard_new(err);
    if (reader->state)
        reader->feed =
            bf_feed_open(consumer, reader->topic, (int32_t)reader->shard, err);
    return reader->feed ? 0 : -1;
}

void bf_state_reader_leave(struct bf_state_reader *reader,
                           struct bf_consumer *consumer)
{
    bf_consumer_pause(consumer, reader->topic, (int32_t)reader->shard);
    reader->paused = true;
    bf_feed_close(bf_take(reader->feed));
}

void bf_state_reader_clear(struct bf_state_reader *reader)
{
    bf_feed_close(bf_take(reader->feed));
    bf_shard_free(bf_take(reader->state));
}

void bf_state_reader_add(const struct bf_state_reader *reader,
                         rd_kafka_topic_partition_list_t *parts)
{
    rd_kafka_topic_partition_list_add(parts, reader->topic,
                                      (int32_t)reader->shard)
        ->offset = RD_KAFKA_OFFSET_BEGINNING;
}

void bf_state_reader_facts(struct bf_state_reader *reader,
                           const struct bf_query *facts)
{
    reader->facts = *facts;
    reader->facts_known = true;
}

/* REJECT leaves the entry out; anything else stops the shard. */
static int apply_entry(struct bf_state_reader *reader,
                       const rd_kafka_message_t *msg, struct bf_err *err)
{
    bf_autorecord struct bf_record rec = {0};
    bf_autoentry struct bf_entry entry = {0};

    /* the fleet's own entry is none of a shard's */
    if (bf_slice_is((struct bf_slice){msg->key, msg->key_len}, BF_FLEET_KEY))
        return 0;
    if (bf_kafka_record(msg, reader->topic, &rec, err) ||
        bf_verify(reader->verifier, BF_PURPOSE_STATE, &rec,
                  (struct bf_slice){NULL, 0}, bf_now_ms(), err))
        return -1;
    if (bf_entry_parse(&rec, &entry, err)) {
        /* One of us has written it, and knows something that we do not. */
        err->kind = BF_ERR_FATAL;
        return bf_err_prefix(err, "entry %.*s", BF_SLICE_ARG(rec.key));
    }
    return bf_shard_apply(reader->state, &entry, err);
}

static void take_entry(struct bf_state_reader *reader,
                       const rd_kafka_message_t *msg)
{
    struct bf_err err = {0};

    if (apply_entry(reader, msg, &err) == 0)
        return;
    if (err.kind != BF_ERR_REJECT)
        reader->problem = err;
    else
        bf_log_err(BF_LOG_ERROR, "state_entry_ignored", &err,
                   bf_kv_int("shard", reader->shard),
                   bf_kv_int("offset", msg->offset));
}

/* Nobody knows what stood there, so the rest says nothing. */
static void take_unreadable(struct bf_state_reader *reader,
                            const rd_kafka_message_t *msg)
{
    reader->tries = msg->offset == reader->bad ? reader->tries + 1 : 1;
    reader->bad = msg->offset;
    if (reader->tries == TRIES)
        bf_err_set(&reader->problem, BF_ERR_FATAL, "unreadable_state",
                   "the batch at offset %lld of %s cannot be unpacked: %s",
                   (long long)msg->offset, reader->topic,
                   rd_kafka_message_errstr(msg));
}

static void take(struct bf_state_reader *reader, const rd_kafka_message_t *msg)
{
    if (!msg->err)
        take_entry(reader, msg);
    else if (msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        reader->end = msg->offset;
    else
        bf_log_warn("state_read", bf_kv_int("offset", msg->offset),
                    bf_kv_int("shard", reader->shard),
                    bf_kv_str("error", rd_kafka_message_errstr(msg)));
    if (bf_feed_is_unreadable(msg))
        take_unreadable(reader, msg);
}

/* Both halves of a restore may come first. */
static bool is_complete(const struct bf_state_reader *reader)
{
    return reader->facts_known &&
           (reader->tries >= TRIES ||
            (reader->end >= 0 && reader->end >= reader->facts.state_high));
}

bool bf_state_reader_read(struct bf_state_reader *reader)
{
    rd_kafka_message_t *msg;

    while (!is_complete(reader) && (msg = bf_feed_next(reader->feed))) {
        take(reader, msg);
        rd_kafka_message_destroy(msg);
    }
    return is_complete(reader);
}

int bf_state_reader_restore(const struct bf_state_reader *reader,
                            struct bf_restored *ret, struct bf_err *err)
{
    bf_assert(is_complete(reader));
    if (reader->problem.kind != BF_ERR_NONE) {
        *err = reader->problem;
        return -1;
    }
    return bf_restore(&reader->facts, reader->state, ret, err);
}

struct bf_shard *bf_state_reader_take(struct bf_state_reader *reader)
{
    return bf_take(reader->state);
}
