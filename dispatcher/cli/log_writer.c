#include "dispatcher/cli/log_writer.h"

#include "config/clock.h"
#include "config/kafka_conf.h"
#include "config/settings.h"
#include "dispatcher/cli/kafka.h"
#include "schemas/err.h"
#include "schemas/sign.h"

#define FLUSH_MS 20000

struct bf_log_writer {
    struct bf_log_writing what;
    rd_kafka_t *rk;                        /* NULL: nothing was sent yet */
    struct bf_record records[BF_MAX_TREE]; /* built, not yet signed */
    size_t n;
    rd_kafka_resp_err_t failed; /* of any delivery */
};

struct bf_log_writer *bf_log_writer_new(const struct bf_log_writing *what,
                                        struct bf_err *err)
{
    struct bf_log_writer *writer = calloc(1, sizeof(*writer));

    if (!writer) {
        bf_err_oom(err);
        return NULL;
    }
    writer->what = *what;
    return writer;
}

static void clear(struct bf_log_writer *writer)
{
    for (size_t i = 0; i < writer->n; i++)
        bf_record_release(&writer->records[i]);
    writer->n = 0;
}

void bf_log_writer_free(struct bf_log_writer *writer)
{
    if (!writer)
        return;
    clear(writer);
    if (writer->rk)
        rd_kafka_destroy(writer->rk);
    free(writer);
}

/* rd_kafka_flush()'s thread, which is ours. */
static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *msg,
                        void *opaque)
{
    struct bf_log_writer *writer = opaque;

    (void)rk;
    if (msg->err)
        writer->failed = msg->err;
}

static int open_producer(struct bf_log_writer *writer, struct bf_err *err)
{
    const struct bf_kafka_want want = {
        .role = BF_KAFKA_PRODUCER,
        .dr_msg_cb = on_delivery,
        .opaque = writer,
        .max_message_bytes = BF_MAX_RECORD_SMALL,
    };

    if (writer->rk)
        return 0;
    writer->rk = bf_kafka_open(writer->what.settings, &want, err);
    if (!writer->rk)
        return -1;
    bf_kafka_learn(writer->rk, writer->what.topic);
    return 0;
}

static int produce(struct bf_log_writer *writer, const struct bf_record *rec,
                   struct bf_err *err)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(rec->nheaders);
    rd_kafka_resp_err_t code;

    for (size_t i = 0; i < rec->nheaders; i++)
        rd_kafka_header_add(headers, rec->headers[i].name.ptr,
                            (ssize_t)rec->headers[i].name.len,
                            rec->headers[i].value.ptr,
                            (ssize_t)rec->headers[i].value.len);
    code = rd_kafka_producev(
        writer->rk, RD_KAFKA_V_TOPIC(writer->what.topic),
        RD_KAFKA_V_PARTITION(rec->partition),
        RD_KAFKA_V_KEY((void *)(uintptr_t)rec->key.ptr, rec->key.len),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)rec->value.ptr, rec->value.len),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_END);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    rd_kafka_headers_destroy(headers);
    return bf_err_set(err, BF_ERR_REJECT, "refused", "%s: %s",
                      writer->what.topic, rd_kafka_err2str(code));
}

/* Sign what is there, hand it to librdkafka, and forget it. */
static int send_tree(struct bf_log_writer *writer, struct bf_err *err)
{
    struct bf_record *list[BF_MAX_TREE];

    for (size_t i = 0; i < writer->n; i++)
        list[i] = &writer->records[i];
    if (writer->n == 0)
        return 0;
    if (open_producer(writer, err) ||
        bf_sign_tree(writer->what.signer, bf_now_ms(), list, writer->n, err))
        return -1;
    for (size_t i = 0; i < writer->n; i++) {
        if (produce(writer, &writer->records[i], err))
            return -1;
    }
    clear(writer);
    return 0;
}

struct bf_record *bf_log_writer_next(struct bf_log_writer *writer,
                                     uint32_t shard, struct bf_err *err)
{
    struct bf_record *rec;

    if (writer->n == BF_MAX_TREE && send_tree(writer, err))
        return NULL;
    rec = &writer->records[writer->n++];
    bf_record_init(rec, writer->what.topic, (int32_t)shard);
    return rec;
}

int bf_log_writer_add(struct bf_log_writer *writer, uint32_t shard,
                      const struct bf_entry *entry, struct bf_err *err)
{
    struct bf_record *rec = bf_log_writer_next(writer, shard, err);

    return rec ? bf_entry_build(entry, writer->what.fleet, bf_now_ms(), rec,
                                err)
               : -1;
}

int bf_log_writer_flush(struct bf_log_writer *writer, struct bf_err *err)
{
    if (send_tree(writer, err))
        return -1;
    if (!writer->rk)
        return 0;
    if (rd_kafka_flush(writer->rk, FLUSH_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return bf_err_set(err, BF_ERR_RETRY, "unreachable",
                          "%s: not all records were taken in %d s",
                          writer->what.topic, FLUSH_MS / 1000);
    if (writer->failed)
        return bf_err_set(err, BF_ERR_REJECT, "refused", "%s: %s",
                          writer->what.topic, rd_kafka_err2str(writer->failed));
    return 0;
}
