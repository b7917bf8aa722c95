#ifndef BF_DISPATCHER_OUTBOX_H
#define BF_DISPATCHER_OUTBOX_H

/*
 * Jobs on their way to Kafka: signed in trees, produced to the shard that the
 * protocol says, answered from delivery reports alone. An idempotent producer
 * on the caller's loop; one thread, never blocks, save in bf_outbox_free().
 */

#include "config/fleet_topics.h"
#include "dispatcher/intake.h"
#include "dispatcher/kafka_stats.h"
#include "schemas/control.h"
#include "schemas/sign.h"

struct bf_outbox;

enum bf_ack_status {
    BF_ACK_STORED,
    BF_ACK_NOT_STORED, /* certainly: send it again */
    BF_ACK_MAYBE,      /* nobody knows: send it again with the same id */
    BF_ACK_TOO_LARGE,
};

/* One job from acceptance to its delivery report. */
struct bf_shipment {
    char workspace[BF_MAX_ID + 1];
    char job[BF_MAX_ID + 1];
    char order_key[BF_MAX_ORDER_KEY + 1]; /* "": none */
    char batch[BF_MAX_ID + 1];            /* "": none */
    uint32_t batch_index;                 /* when there is a batch */
    int64_t accepted_at_ms;
    int64_t expires_at_ms;
    enum bf_execution execution;
    enum bf_lane lane;
    uint32_t generation;
    char *labels; /* JSON text, or NULL */
    /* the delivery report */
    enum bf_ack_status status;
    const char *why; /* NULL when stored */
    int32_t partition;
    int64_t offset;
    int64_t tag; /* the caller's own */
    /* private */
    struct bf_outbox *outbox;
    struct bf_parcel *parcel; /* NULL once Kafka has it */
    size_t bytes;
    void (*done)(void *arg, struct bf_shipment *shipment);
    void *arg;
};

/*
 * Called once for each accepted shipment, on the loop, from bf_outbox_serve()
 * or bf_outbox_flush(). The callee frees the shipment.
 */
typedef void bf_shipment_done_fn(void *arg, struct bf_shipment *shipment);

/*
 * Read a job (see intake.h) and copy what has to outlive the request. NULL
 * with *problem set.
 */
struct bf_shipment *bf_shipment_new(struct bf_slice body,
                                    const struct bf_intake_ctx *ctx,
                                    struct bf_problem *problem);
void bf_shipment_free(struct bf_shipment *shipment);
BF_DEFINE_CLEANUP(bf_shipment_freep_, struct bf_shipment *, bf_shipment_free)
#define bf_autoshipment bf_cleanup(bf_shipment_freep_)

/* Everything is borrowed until bf_outbox_free(). */
struct bf_outbox_conf {
    /* A fresh configuration with brokers and whatever the operator asked. */
    rd_kafka_conf_t *(*kafka)(void *arg, struct bf_err *err);
    void *kafka_arg;
    const struct bf_topics *topics;
    const char *fleet;
    const struct bf_signer *signer;         /* of jobs */
    const struct bf_signer *control_signer; /* NULL: no orders are given */
    size_t max_inflight_bytes;
};

struct bf_outbox *bf_outbox_new(const struct bf_outbox_conf *conf,
                                struct bf_err *err);

/* Waits up to timeout_ms for what is in flight; 0 when all was reported. */
int bf_outbox_drain(struct bf_outbox *outbox, int timeout_ms);

/* NULL is a no-op. What is still in flight is reported as "maybe" first. */
void bf_outbox_free(struct bf_outbox *outbox);
BF_DEFINE_CLEANUP(bf_outbox_freep_, struct bf_outbox *, bf_outbox_free)
#define bf_autooutbox bf_cleanup(bf_outbox_freep_)

/* How it is, and what it has done. */
struct bf_outbox_stats {
    uint64_t reported[BF_LANES][BF_ACK_TOO_LARGE + 1]; /* by status */
    uint64_t stored_bytes;
    uint64_t inflight; /* records */
    uint64_t inflight_bytes;
    uint64_t max_inflight_bytes;
    uint64_t queued; /* in librdkafka */
    struct bf_kafka_stats kafka;
};
void bf_outbox_stats(struct bf_outbox *outbox, struct bf_outbox_stats *ret);

/* Readable when bf_outbox_serve() has something to do. */
int bf_outbox_fd(const struct bf_outbox *outbox);
void bf_outbox_serve(struct bf_outbox *outbox);

/* Is there room for a job of about that size? */
bool bf_outbox_has_room(const struct bf_outbox *outbox, size_t bytes);

/* No job is on its way: room comes from bodies alone. */
bool bf_outbox_is_idle(const struct bf_outbox *outbox);

/* Bodies that are still arriving count as well: was and is, in bytes. */
void bf_outbox_hold(struct bf_outbox *outbox, size_t was, size_t is);

/*
 * Accept a shipment for one of shards partitions; it is produced by the next
 * flush, or now when a tree is full. Takes it in any case: done is called.
 */
void bf_outbox_add(struct bf_outbox *outbox, struct bf_shipment *shipment,
                   uint32_t shards, bf_shipment_done_fn *done, void *arg);

/*
 * An order about a batch, signed and produced now, reported like a job; the
 * shipment has nothing of a job's. -1 with *problem set: done is not called.
 */
struct bf_placing {
    uint32_t spread, shards;
};
int bf_outbox_order(struct bf_outbox *outbox, const struct bf_control *control,
                    const struct bf_placing *placing, bf_shipment_done_fn *done,
                    void *arg, struct bf_problem *problem);

/* Sign and produce what was added since: once per turn of the loop. */
void bf_outbox_flush(struct bf_outbox *outbox);

#endif
