#include "dispatcher/outbox.h"

#include "config/clock.h"
#include "config/log.h"
#include "dispatcher/loop.h"

/* A record's cost in librdkafka and here besides its bytes, roughly. */
#define OVERHEAD_BYTES 1024
#define STATS_MS "10000"

/* What is needed until Kafka has the record. */
struct bf_parcel {
    struct bf_intake intake;
    struct bf_record rec;
    char *inputs; /* malloc()ed: librdkafka frees it */
    char traceparent[64];
};

struct bf_outbox {
    struct bf_outbox_conf conf;
    rd_kafka_t *rk; /* NULL: it broke, the next flush makes a new one */
    int fd;
    size_t inflight_bytes;
    size_t inflight;              /* handed to librdkafka, not reported */
    struct bf_outbox_stats stats; /* what only grows, and librdkafka's */
    rd_kafka_topic_t *topics[BF_LANES];
    struct bf_shipment *pending[BF_MAX_TREE];
    size_t npending;
};

/* ---- shipments ------------------------------------------------------------*/

static void parcel_free(struct bf_parcel *parcel)
{
    if (!parcel)
        return;
    bf_record_release(&parcel->rec);
    bf_intake_release(&parcel->intake);
    free(parcel->inputs);
    free(parcel);
}

void bf_shipment_free(struct bf_shipment *shipment)
{
    if (!shipment)
        return;
    parcel_free(shipment->parcel);
    free(shipment->labels);
    free(shipment);
}

static int out_of_memory(struct bf_problem *problem)
{
    return bf_problem_set(problem, BF_PROBLEM_UNAVAILABLE, NULL,
                          "out of memory");
}

/* The request may be gone before the record is made: own what it lent. */
static int own_borrowed(struct bf_shipment *shipment,
                        struct bf_problem *problem)
{
    struct bf_parcel *parcel = shipment->parcel;
    struct bf_job *job = &parcel->intake.job;

    parcel->inputs = malloc(job->inputs.len);
    if (!parcel->inputs)
        return out_of_memory(problem);
    memcpy(parcel->inputs, job->inputs.ptr, job->inputs.len);
    job->inputs.ptr = parcel->inputs;
    if (job->traceparent.ptr) {
        snprintf(parcel->traceparent, sizeof(parcel->traceparent), "%.*s",
                 BF_SLICE_ARG(job->traceparent));
        job->traceparent = bf_slice_str(parcel->traceparent);
    }
    if (job->labels.ptr) {
        shipment->labels = strndup(job->labels.ptr, job->labels.len);
        if (!shipment->labels)
            return out_of_memory(problem);
    }
    return 0;
}

static void copy_id(char out[BF_MAX_ID + 1], struct bf_slice id)
{
    snprintf(out, BF_MAX_ID + 1, "%.*s", BF_SLICE_ARG(id));
}

static void copy_facts(struct bf_shipment *shipment)
{
    const struct bf_job *job = &shipment->parcel->intake.job;
    uint64_t index = 0;

    copy_id(shipment->workspace, job->workspace);
    copy_id(shipment->job, job->id);
    copy_id(shipment->batch, job->batch);
    snprintf(shipment->order_key, sizeof(shipment->order_key), "%.*s",
             BF_SLICE_ARG(job->order_key));
    if (bf_slice_u64(job->batch_index, UINT32_MAX, &index) == 0)
        shipment->batch_index = (uint32_t)index;
    shipment->accepted_at_ms = job->accepted_at_ms;
    shipment->expires_at_ms = job->expires_at_ms;
    shipment->execution = job->execution;
    shipment->lane = shipment->parcel->intake.lane;
    shipment->generation = job->generation;
    shipment->bytes = job->inputs.len + job->block.len + OVERHEAD_BYTES;
    shipment->offset = -1;
    shipment->partition = -1;
}

struct bf_shipment *bf_shipment_new(struct bf_slice body,
                                    const struct bf_intake_ctx *ctx,
                                    struct bf_problem *problem)
{
    bf_autoshipment struct bf_shipment *shipment = calloc(1, sizeof(*shipment));
    struct bf_parcel *parcel = calloc(1, sizeof(*parcel));

    if (!shipment || !parcel) {
        free(parcel);
        out_of_memory(problem);
        return NULL;
    }
    if (bf_intake_read(body, ctx, &parcel->intake, problem)) {
        free(parcel);
        return NULL;
    }
    bf_record_init(&parcel->rec, "", 0);
    shipment->parcel = parcel;
    copy_facts(shipment);
    if (own_borrowed(shipment, problem))
        return NULL;
    return bf_take(shipment);
}

/* ---- reports --------------------------------------------------------------*/

static void report(struct bf_shipment *shipment, enum bf_ack_status status,
                   const char *why)
{
    struct bf_outbox_stats *stats = &shipment->outbox->stats;

    shipment->status = status;
    shipment->why = why;
    stats->reported[shipment->lane][status]++;
    if (status == BF_ACK_STORED)
        stats->stored_bytes += shipment->bytes;
    shipment->outbox->inflight_bytes -= shipment->bytes;
    shipment->done(shipment->arg, shipment);
}

static enum bf_ack_status status_of(const rd_kafka_message_t *message)
{
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return BF_ACK_STORED;
    if (message->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        return BF_ACK_TOO_LARGE;
    return rd_kafka_message_status(message) == RD_KAFKA_MSG_STATUS_NOT_PERSISTED
               ? BF_ACK_NOT_STORED
               : BF_ACK_MAYBE;
}

/* On the loop, from rd_kafka_poll(). */
static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message,
                        void *opaque)
{
    struct bf_outbox *outbox = opaque;
    struct bf_shipment *shipment = message->_private;

    (void)rk;
    bf_assert(shipment && shipment->outbox == outbox);
    outbox->inflight--;
    shipment->partition = message->partition;
    shipment->offset = message->err ? -1 : message->offset;
    report(shipment, status_of(message),
           message->err ? rd_kafka_err2str(message->err) : NULL);
}

/* On the loop, from rd_kafka_poll(). Returning 0 gives the text back. */
static int on_stats(rd_kafka_t *rk, char *text, size_t len, void *opaque)
{
    struct bf_outbox *outbox = opaque;

    (void)rk;
    bf_kafka_stats_read((struct bf_slice){text, len}, &outbox->stats.kafka,
                        NULL);
    return 0;
}

/* ---- the producer ---------------------------------------------------------*/

static int set_kbytes(rd_kafka_conf_t *conf, size_t kbytes, struct bf_err *err)
{
    char text[24], why[160];

    snprintf(text, sizeof(text), "%zu", kbytes);
    if (rd_kafka_conf_set(conf, "queue.buffering.max.kbytes", text, why,
                          sizeof(why)) == RD_KAFKA_CONF_OK)
        return 0;
    return bf_err_set(err, BF_ERR_FATAL, "kafka_conf", "%s", why);
}

/* Unless the operator wants them at another pace. */
static void want_stats(rd_kafka_conf_t *conf)
{
    char text[16] = "", why[160];
    size_t size = sizeof(text);

    rd_kafka_conf_set_stats_cb(conf, on_stats);
    rd_kafka_conf_get(conf, "statistics.interval.ms", text, &size);
    if (strcmp(text, "0") == 0)
        rd_kafka_conf_set(conf, "statistics.interval.ms", STATS_MS, why,
                          sizeof(why));
}

/* Ours is the ceiling; librdkafka's only must not come first. */
static int set_ours(struct bf_outbox *outbox, rd_kafka_conf_t *conf,
                    struct bf_err *err)
{
    size_t kbytes = outbox->conf.max_inflight_bytes / 512 + 65536;

    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_opaque(conf, outbox);
    want_stats(conf);
    return set_kbytes(conf, kbytes < INT32_MAX ? kbytes : INT32_MAX, err);
}

static void watch_queue(struct bf_outbox *outbox)
{
    static const uint64_t one = 1;
    rd_kafka_queue_t *queue = rd_kafka_queue_get_main(outbox->rk);

    rd_kafka_queue_io_event_enable(queue, outbox->fd, &one, sizeof(one));
    rd_kafka_queue_destroy(queue);
    /*
     * librdkafka tells when the queue stops being empty. What came before it
     * was asked to, such as that no broker is there, it tells nobody, and
     * nothing that follows either: look once.
     */
    bf_wake(outbox->fd);
}

/* Now, so that the first job does not wait for their leaders. */
static int open_topics(struct bf_outbox *outbox, struct bf_err *err)
{
    for (int i = 0; i < BF_LANES; i++) {
        outbox->topics[i] = rd_kafka_topic_new(
            outbox->rk,
            bf_topic_name(outbox->conf.topics, bf_lane_topic((enum bf_lane)i)),
            NULL);
        if (!outbox->topics[i])
            return bf_err_set(err, BF_ERR_FATAL, "kafka_topic", "%s",
                              rd_kafka_err2str(rd_kafka_last_error()));
    }
    return 0;
}

static int open_producer(struct bf_outbox *outbox, struct bf_err *err)
{
    rd_kafka_conf_t *conf = outbox->conf.kafka(outbox->conf.kafka_arg, err);
    char why[160];

    if (!conf)
        return -1;
    if (set_ours(outbox, conf, err)) {
        rd_kafka_conf_destroy(conf);
        return -1;
    }
    outbox->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    if (!outbox->rk) {
        rd_kafka_conf_destroy(conf);
        return bf_err_set(err, BF_ERR_FATAL, "kafka_producer", "%s", why);
    }
    watch_queue(outbox);
    return open_topics(outbox, err);
}

struct bf_outbox *bf_outbox_new(const struct bf_outbox_conf *conf,
                                struct bf_err *err)
{
    bf_autooutbox struct bf_outbox *outbox = calloc(1, sizeof(*outbox));

    if (!outbox) {
        bf_err_oom(err);
        return NULL;
    }
    outbox->conf = *conf;
    outbox->fd = bf_wake_new(err);
    if (outbox->fd < 0 || open_producer(outbox, err))
        return NULL;
    return bf_take(outbox);
}

static void close_producer(struct bf_outbox *outbox)
{
    if (!outbox->rk)
        return;
    rd_kafka_purge(outbox->rk,
                   RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    /* Purging is answered by the broker threads: at once, but not here. */
    for (int i = 0; i < 50 && outbox->inflight > 0; i++)
        rd_kafka_poll(outbox->rk, 20);
    for (size_t i = 0; i < bf_countof(outbox->topics); i++) {
        if (outbox->topics[i])
            rd_kafka_topic_destroy(bf_take(outbox->topics[i]));
    }
    rd_kafka_destroy(bf_take(outbox->rk));
}

void bf_outbox_free(struct bf_outbox *outbox)
{
    if (!outbox)
        return;
    if (outbox->npending > 0)
        bf_outbox_flush(outbox);
    close_producer(outbox);
    bf_closep_(&outbox->fd);
    free(outbox);
}

int bf_outbox_drain(struct bf_outbox *outbox, int timeout_ms)
{
    bf_outbox_flush(outbox);
    if (outbox->rk)
        rd_kafka_flush(outbox->rk, timeout_ms);
    return outbox->inflight == 0 ? 0 : -1;
}

int bf_outbox_fd(const struct bf_outbox *outbox)
{
    return outbox->fd;
}

/*
 * An idempotent producer can lose track of its sequence numbers for good
 * (librdkafka #4438). A new one has fresh numbers; what the old one had in
 * flight was reported as "maybe".
 */
static void replace_producer(struct bf_outbox *outbox)
{
    char why[200];

    rd_kafka_fatal_error(outbox->rk, why, sizeof(why));
    bf_log_error("producer_failed", bf_kv_str("why", why),
                 bf_kv_int("inflight", (int64_t)outbox->inflight));
    close_producer(outbox); /* the next flush makes a new one */
}

void bf_outbox_serve(struct bf_outbox *outbox)
{
    bf_wake_clear(outbox->fd);
    if (!outbox->rk)
        return;
    while (rd_kafka_poll(outbox->rk, 0) > 0)
        ;
    if (rd_kafka_fatal_error(outbox->rk, NULL, 0))
        replace_producer(outbox);
}

void bf_outbox_stats(struct bf_outbox *outbox, struct bf_outbox_stats *ret)
{
    *ret = outbox->stats;
    ret->inflight = outbox->inflight + outbox->npending;
    ret->inflight_bytes = outbox->inflight_bytes;
    ret->max_inflight_bytes = outbox->conf.max_inflight_bytes;
    ret->queued = outbox->rk ? (uint64_t)rd_kafka_outq_len(outbox->rk) : 0;
}

/* ---- producing ------------------------------------------------------------*/

bool bf_outbox_has_room(const struct bf_outbox *outbox, size_t bytes)
{
    return outbox->rk && outbox->inflight_bytes + bytes + OVERHEAD_BYTES <=
                             outbox->conf.max_inflight_bytes;
}

bool bf_outbox_is_idle(const struct bf_outbox *outbox)
{
    return outbox->inflight == 0 && outbox->npending == 0;
}

void bf_outbox_hold(struct bf_outbox *outbox, size_t was, size_t is)
{
    outbox->inflight_bytes = outbox->inflight_bytes - was + is;
}

static rd_kafka_headers_t *headers_of(const struct bf_record *rec)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(rec->nheaders);

    for (size_t i = 0; i < rec->nheaders; i++)
        rd_kafka_header_add(headers, rec->headers[i].name.ptr,
                            (ssize_t)rec->headers[i].name.len,
                            rec->headers[i].value.ptr,
                            (ssize_t)rec->headers[i].value.len);
    return headers;
}

static rd_kafka_resp_err_t produce_one(struct bf_outbox *outbox,
                                       struct bf_shipment *shipment)
{
    struct bf_parcel *parcel = shipment->parcel;
    rd_kafka_headers_t *headers = headers_of(&parcel->rec);
    rd_kafka_resp_err_t rc;

    /* An explicit partition: with none, 2.0.2 frees headers twice (#4627). */
    rc = rd_kafka_producev(
        outbox->rk, RD_KAFKA_V_RKT(outbox->topics[shipment->lane]),
        RD_KAFKA_V_PARTITION(parcel->rec.partition),
        RD_KAFKA_V_KEY((void *)(uintptr_t)parcel->rec.key.ptr,
                       parcel->rec.key.len),
        RD_KAFKA_V_VALUE(parcel->inputs, parcel->rec.value.len),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_FREE), RD_KAFKA_V_HEADERS(headers),
        RD_KAFKA_V_OPAQUE(shipment), RD_KAFKA_V_END);
    if (rc) {
        rd_kafka_headers_destroy(headers);
        return rc;
    }
    parcel->inputs = NULL; /* librdkafka's now */
    outbox->inflight++;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void ship(struct bf_outbox *outbox, struct bf_shipment *shipment)
{
    rd_kafka_resp_err_t rc =
        outbox->rk ? produce_one(outbox, shipment) : RD_KAFKA_RESP_ERR__STATE;

    parcel_free(bf_take(shipment->parcel));
    if (rc)
        report(shipment,
               rc == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ? BF_ACK_TOO_LARGE
                                                          : BF_ACK_NOT_STORED,
               rd_kafka_err2str(rc));
}

static int sign_pending(struct bf_outbox *outbox, struct bf_err *err)
{
    struct bf_record *records[BF_MAX_TREE];

    for (size_t i = 0; i < outbox->npending; i++)
        records[i] = &outbox->pending[i]->parcel->rec;
    return bf_sign_tree(outbox->conf.signer, bf_now_ms(), records,
                        outbox->npending, err);
}

void bf_outbox_flush(struct bf_outbox *outbox)
{
    struct bf_err err;
    int failed;

    if (!outbox->rk && open_producer(outbox, &err))
        bf_log_err(BF_LOG_ERROR, "producer_not_replaced", &err);
    if (outbox->npending == 0)
        return;
    failed = sign_pending(outbox, &err);
    if (failed)
        bf_log_err(BF_LOG_ERROR, "sign_failed", &err);
    for (size_t i = 0; i < outbox->npending; i++) {
        if (failed)
            report(outbox->pending[i], BF_ACK_NOT_STORED, "cannot be signed");
        else
            ship(outbox, outbox->pending[i]);
    }
    outbox->npending = 0;
}

static int build(struct bf_outbox *outbox, struct bf_shipment *shipment,
                 uint32_t shards, struct bf_err *err)
{
    struct bf_parcel *parcel = shipment->parcel;
    const struct bf_job *job = &parcel->intake.job;
    enum bf_topic topic = bf_lane_topic(shipment->lane);

    bf_record_init(&parcel->rec, bf_topic_name(outbox->conf.topics, topic),
                   bf_partition(job->workspace, job->order_key, job->id,
                                job->spread, shards));
    return bf_job_build(job, outbox->conf.fleet, &parcel->rec, err);
}

void bf_outbox_add(struct bf_outbox *outbox, struct bf_shipment *shipment,
                   uint32_t shards, bf_shipment_done_fn *done, void *arg)
{
    struct bf_err err;

    shipment->outbox = outbox;
    shipment->done = done;
    shipment->arg = arg;
    outbox->inflight_bytes += shipment->bytes;
    if (build(outbox, shipment, shards, &err)) {
        bf_log_err(BF_LOG_ERROR, "job_not_built", &err);
        report(shipment, BF_ACK_NOT_STORED, "no record can be made of it");
        return;
    }
    outbox->pending[outbox->npending++] = shipment;
    if (outbox->npending == BF_MAX_TREE)
        bf_outbox_flush(outbox);
}

/* ---- orders ---------------------------------------------------------------*/

/* The record with its value as librdkafka wants to have it. */
static int build_order(struct bf_outbox *outbox,
                       const struct bf_control *control,
                       const struct bf_placing *placing,
                       struct bf_parcel *parcel, struct bf_err *err)
{
    struct bf_record *rec = &parcel->rec;

    bf_record_init(rec, bf_topic_name(outbox->conf.topics, BF_TOPIC_CONTROL),
                   bf_partition(control->workspace, (struct bf_slice){0},
                                control->batch, placing->spread,
                                placing->shards));
    if (bf_control_build(control, outbox->conf.fleet, rec, err) ||
        bf_sign_tree(outbox->conf.control_signer, control->at_ms, &rec, 1, err))
        return -1;
    parcel->inputs = malloc(rec->value.len);
    if (!parcel->inputs)
        return bf_err_oom(err);
    memcpy(parcel->inputs, rec->value.ptr, rec->value.len);
    return 0;
}

int bf_outbox_order(struct bf_outbox *outbox, const struct bf_control *control,
                    const struct bf_placing *placing, bf_shipment_done_fn *done,
                    void *arg, struct bf_problem *problem)
{
    bf_autoshipment struct bf_shipment *shipment = calloc(1, sizeof(*shipment));
    struct bf_err err;

    if (!outbox->conf.control_signer)
        return bf_problem_set(problem, BF_PROBLEM_UNAVAILABLE, NULL,
                              "this dispatcher has no private key of purpose "
                              "control");
    if (!shipment)
        return out_of_memory(problem);
    shipment->parcel = calloc(1, sizeof(*shipment->parcel));
    if (!shipment->parcel)
        return out_of_memory(problem);
    if (build_order(outbox, control, placing, shipment->parcel, &err))
        return bf_problem_err(problem, BF_PROBLEM_INTERNAL, NULL, &err);
    shipment->outbox = outbox;
    shipment->lane = BF_LANE_CONTROL;
    shipment->bytes = OVERHEAD_BYTES;
    shipment->offset = shipment->partition = -1;
    shipment->done = done;
    shipment->arg = arg;
    outbox->inflight_bytes += shipment->bytes;
    ship(outbox, bf_take(shipment));
    return 0;
}
