#include "dispatcher/feed.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "config/clock.h"
#include "config/kafka_record.h"
#include "config/log.h"
#include "dispatcher/source.h"
#include "dispatcher/view.h"
#include "schemas/err.h"
#include "schemas/fleet.h"
#include "schemas/sign.h"

#define CHECK_MS 10000     /* between two looks at good topics */
#define CHECK_SOON_MS 1000 /* at bad ones */
#define HORIZON_MS 1000    /* between two questions for the ends */
#define SWEEP_MS 60000     /* between two rounds of forgetting */
#define SWEEP_ROWS 5000
#define REQUEST_MS 3000
#define IDLE_MS 100
#define BATCH_RECORDS 2000 /* of one transaction of the view */
#define BATCH_MS 100

struct bf_feed {
    struct bf_feed_conf conf;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    struct bf_verifier *verifiers[BF_PURPOSES];
    pthread_t thread;
    bool started;
    atomic_bool stop;

    /* the thread alone */
    uint32_t shards; /* the count that jobs are placed by; 0: not known */
    struct bf_view *view;
    struct bf_source *source;
    bool caught_up;
    bool fleet_known;   /* its entry was read, or there is none */
    int64_t horizon_ms; /* when the ends were asked for; 0: not */
    int64_t next_check_ms, next_begin_ms, next_horizon_ms, next_sweep_ms;
    char topics_why[256]; /* "": the topics are as they must be */
    char fleet_why[256];  /* "": the fleet's entry m agrees with us */
};

/* ---- the topics -----------------------------------------------------------*/

static void set_shards(struct bf_feed *feed, uint32_t shards, const char *why)
{
    if (!bf_exchange_set_shards(feed->conf.exchange, shards, why))
        return;
    if (shards > 0)
        bf_log_info("topics_ready", bf_kv_int("shards", shards));
    else
        bf_log_warn("topics_not_ready", bf_kv_str("why", why));
}

/*
 * A count that changed under us would send one order key to two shards.
 * Changing it is a migration with everything stopped.
 */
static int check_same_shards(struct bf_feed *feed, uint32_t shards,
                             struct bf_err *err)
{
    if (feed->shards == 0)
        feed->shards = shards;
    if (feed->shards == shards)
        return 0;
    return bf_err_set(err, BF_ERR_FATAL, "shards_changed",
                      "every topic had %u partitions and now has %u: finish "
                      "the migration and start again",
                      feed->shards, shards);
}

/* Jobs are taken once it is known by which spread they are to be placed. */
static void publish_shards(struct bf_feed *feed)
{
    if (feed->source && bf_source_reached_one(feed->source, BF_TOPIC_STATE, 0))
        feed->fleet_known = true;
    if (feed->topics_why[0])
        set_shards(feed, 0, feed->topics_why);
    else if (feed->fleet_why[0])
        set_shards(feed, 0, feed->fleet_why);
    else if (!feed->fleet_known)
        set_shards(feed, 0, "the fleet's own entry has not been read yet");
    else
        set_shards(feed, feed->shards, "");
}

static void check_topics(struct bf_feed *feed)
{
    uint32_t shards = 0;
    struct bf_err err = {.msg = ""};
    bool good = !bf_topics_check(feed->rk, feed->conf.topics, REQUEST_MS,
                                 &shards, &err) &&
                !check_same_shards(feed, shards, &err);

    snprintf(feed->topics_why, sizeof(feed->topics_why), "%s",
             good ? "" : err.msg);
    publish_shards(feed);
    feed->next_check_ms = bf_mono_ms() + (good ? CHECK_MS : CHECK_SOON_MS);
}

/* ---- records --------------------------------------------------------------*/

/* The entry m of bf.state says what was decided when the fleet was born. */
static void take_fleet(struct bf_feed *feed, const struct bf_record *rec)
{
    struct bf_fleet fleet;
    struct bf_err err;

    if (bf_fleet_parse(rec, &fleet, &err)) {
        snprintf(feed->fleet_why, sizeof(feed->fleet_why), "%s", err.msg);
        return;
    }
    feed->fleet_why[0] = '\0';
    if (fleet.spread != feed->conf.spread || fleet.shards != feed->shards)
        snprintf(feed->fleet_why, sizeof(feed->fleet_why),
                 "the fleet was made with %u shards and topics.spread = %u; "
                 "this dispatcher sees %u and %u",
                 fleet.shards, fleet.spread, feed->shards, feed->conf.spread);
}

static int verify(struct bf_feed *feed, enum bf_topic topic,
                  const struct bf_record *rec, struct bf_err *err)
{
    enum bf_purpose purpose = bf_topic_purpose(topic);
    struct bf_slice workspace = bf_record_get(rec, "bf_workspace");

    return bf_verify(feed->verifiers[purpose], purpose, rec, workspace,
                     bf_now_ms(), err);
}

/*
 * What is not signed by whom it must be, or breaks its rules, is not in the
 * view: the workers write a dead letter about it. -1 only when the view
 * cannot be written.
 */
static int take_record(struct bf_feed *feed, enum bf_topic topic,
                       const rd_kafka_message_t *message, struct bf_err *err)
{
    bf_autorecord struct bf_record rec;
    struct bf_view_change change = {0};
    int rc = bf_kafka_record(message, bf_topic_name(feed->conf.topics, topic),
                             &rec, err);

    if (rc == 0)
        rc = verify(feed, topic, &rec, err);
    if (rc == 0 && topic == BF_TOPIC_STATE && bf_fleet_is(&rec)) {
        take_fleet(feed, &rec);
        return 0;
    }
    if (rc == 0 && feed->view)
        rc = bf_view_apply(feed->view, topic, &rec, &change, err);
    if (rc && err->kind != BF_ERR_REJECT)
        return -1;
    if (rc)
        bf_log_err(BF_LOG_WARN, "view_ignores", err,
                   bf_kv_str("topic", rec.topic),
                   bf_kv_int("partition", rec.partition),
                   bf_kv_int("offset", rec.offset));
    else if (change.ended)
        bf_exchange_note_end(feed->conf.exchange, change.workspace, change.job);
    return 0;
}

/* ---- transactions of the view ---------------------------------------------*/

/* Frees the list, and does nothing else when rc says that all is lost. */
static int apply_accepted(struct bf_feed *feed, struct bf_accepted *list,
                          int rc, struct bf_err *err)
{
    while (list) {
        struct bf_accepted *next = list->next;
        struct bf_row row;
        unsigned changed;

        bf_accepted_row(list, &row);
        if (rc == 0)
            rc = bf_view_merge(feed->view, bf_slice_str(list->workspace),
                               bf_slice_str(list->job), &row, &changed, err);
        free(list);
        list = next;
    }
    return rc;
}

/* Destroys the message and those that follow it. */
static int apply_records(struct bf_feed *feed, rd_kafka_message_t *message,
                         enum bf_topic topic, int rc, struct bf_err *err)
{
    int64_t until = bf_mono_ms() + BATCH_MS;

    for (int i = 0; message; i++) {
        if (rc == 0)
            rc = take_record(feed, topic, message, err);
        if (rc == 0)
            bf_source_done(feed->source, topic, message->partition,
                           message->offset);
        rd_kafka_message_destroy(message);
        message = NULL;
        if (rc == 0 && i < BATCH_RECORDS && bf_mono_ms() < until)
            message = bf_source_next(feed->source, 0, &topic);
    }
    return rc;
}

/* What of a batch has to be known where jobs are taken. */
static void tell_batch(void *arg, const char *workspace, const char *batch,
                       const struct bf_batch *facts)
{
    struct bf_feed *feed = arg;

    if (facts->opened || facts->sealed)
        bf_exchange_set_batch(
            feed->conf.exchange, workspace, batch, bf_batch_closed(facts),
            facts->opened && !facts->sealed ? facts->until_ms : INT64_MAX);
}

static int save_positions(struct bf_feed *feed, struct bf_err *err)
{
    for (size_t i = 0; i < BF_SOURCE_TOPICS; i++) {
        enum bf_topic topic = bf_source_topics[i];

        for (int32_t p = 0; (uint32_t)p < feed->shards; p++) {
            if (bf_source_moved(feed->source, topic, p) &&
                bf_view_set_position(feed->view, topic, p,
                                     bf_source_position(feed->source, topic, p),
                                     err))
                return -1;
        }
    }
    return 0;
}

static int write_both(struct bf_feed *feed, struct bf_accepted *accepted,
                      rd_kafka_message_t *message, enum bf_topic topic,
                      struct bf_err *err)
{
    int rc = bf_view_begin(feed->view, err);

    /* Both lists are freed on the way, good or bad. */
    rc = apply_accepted(feed, accepted, rc, err);
    rc = apply_records(feed, message, topic, rc, err);
    if (rc || save_positions(feed, err) ||
        bf_view_batches(feed->view, false, tell_batch, feed, err))
        return -1;
    return bf_view_commit(feed->view, err);
}

/* One transaction: what was accepted here and what Kafka has. */
static int write_batch(struct bf_feed *feed, rd_kafka_message_t *message,
                       enum bf_topic topic, struct bf_err *err)
{
    struct bf_exchange *exchange = feed->conf.exchange;
    uint64_t ticket;
    struct bf_accepted *accepted = bf_exchange_take(exchange, &ticket);
    int rc;

    if (!message && !accepted)
        return 0;
    rc = write_both(feed, accepted, message, topic, err);
    /* After a failure too: Kafka has them, the view will read them there. */
    bf_exchange_applied(exchange, ticket);
    bf_exchange_publish(exchange);
    return rc;
}

/* ---- horizons -------------------------------------------------------------*/

/* Read to where Kafka ended at horizon_ms: so fresh is the view at least. */
static void check_horizon(struct bf_feed *feed)
{
    struct bf_err err;
    int64_t now = bf_mono_ms();

    if (feed->horizon_ms > 0 && bf_source_reached(feed->source)) {
        bf_exchange_set_as_of(feed->conf.exchange, feed->horizon_ms);
        feed->horizon_ms = 0;
        if (!feed->caught_up)
            bf_log_info("view_ready");
        feed->caught_up = true;
        bf_exchange_set_view(feed->conf.exchange, true, "");
    }
    if (feed->horizon_ms > 0 || now < feed->next_horizon_ms)
        return;
    feed->next_horizon_ms = now + HORIZON_MS;
    feed->horizon_ms = bf_now_ms();
    if (bf_source_ask_ends(feed->source, REQUEST_MS, &err) < 0)
        feed->horizon_ms = 0;
}

static int sweep(struct bf_feed *feed, struct bf_err *err)
{
    int count = 0;

    if (bf_mono_ms() < feed->next_sweep_ms)
        return 0;
    if (bf_view_begin(feed->view, err) ||
        bf_view_forget(feed->view, bf_now_ms(), SWEEP_ROWS, &count, err) ||
        bf_view_commit(feed->view, err))
        return -1;
    feed->next_sweep_ms =
        bf_mono_ms() + (count < SWEEP_ROWS ? SWEEP_MS : HORIZON_MS);
    return 0;
}

/* ---- beginning to read ----------------------------------------------------*/

static int load_positions(struct bf_feed *feed, struct bf_err *err)
{
    for (size_t i = 0; i < BF_SOURCE_TOPICS; i++) {
        for (int32_t p = 0; (uint32_t)p < feed->shards; p++) {
            int64_t next;

            if (bf_view_position(feed->view, bf_source_topics[i], p, &next,
                                 err))
                return -1;
            /* The fleet's own entry is not in the view: read it again. */
            if (bf_source_topics[i] == BF_TOPIC_STATE && p == 0)
                next = -1;
            bf_source_set_position(feed->source, bf_source_topics[i], p, next);
        }
    }
    return 0;
}

static int open_view(struct bf_feed *feed, struct bf_err *err)
{
    char *cluster = rd_kafka_clusterid(feed->rk, REQUEST_MS);
    char identity[512];

    if (!cluster)
        return bf_err_set(err, BF_ERR_RETRY, "kafka_cluster",
                          "the cluster's id is not known yet");
    snprintf(identity, sizeof(identity), "%s %u %s", cluster, feed->shards,
             bf_topic_name(feed->conf.topics, BF_TOPIC_JOBS));
    rd_kafka_mem_free(feed->rk, cluster);
    feed->view = bf_view_open(feed->conf.view_path, identity, err);
    if (!feed->view)
        return -1;
    return bf_view_batches(feed->view, true, tell_batch, feed, err);
}

/* Where to read from, and what. */
static int prepare_source(struct bf_feed *feed, struct bf_err *err)
{
    if (feed->view)
        return load_positions(feed, err);
    bf_source_only_fleet(feed->source);
    bf_source_set_position(feed->source, BF_TOPIC_STATE, 0, -1);
    return 0;
}

static int open_source(struct bf_feed *feed, struct bf_err *err)
{
    int above;

    feed->source = bf_source_new(feed->rk, feed->queue, feed->conf.topics,
                                 feed->shards, err);
    if (!feed->source || prepare_source(feed, err))
        return -1;
    feed->horizon_ms = bf_now_ms();
    above = bf_source_ask_ends(feed->source, REQUEST_MS, err);
    if (above < 0)
        return -1;
    if (above > 0 && feed->view) {
        /* Topics were made anew under the same names. */
        bf_log_warn("view_rebuilt", bf_kv_str("why", "offsets went back"));
        if (bf_view_reset(feed->view, err) || load_positions(feed, err))
            return -1;
    }
    return bf_source_start(feed->source, err);
}

static int begin_reading(struct bf_feed *feed, struct bf_err *err)
{
    if (feed->conf.view_path && !feed->view && open_view(feed, err))
        return -1;
    if (open_source(feed, err)) {
        bf_source_free(bf_take(feed->source));
        feed->horizon_ms = 0;
        return -1;
    }
    return 0;
}

/* ---- the thread -----------------------------------------------------------*/

/* A view that cannot be written is begun anew by the next process. */
static void on_error(struct bf_feed *feed, const struct bf_err *err)
{
    bf_log_err(err->kind == BF_ERR_FATAL ? BF_LOG_ERROR : BF_LOG_WARN,
               "view_failed", err);
    if (feed->view)
        bf_view_rollback(feed->view);
    if (err->kind == BF_ERR_FATAL) {
        bf_exchange_set_broken(feed->conf.exchange, err->msg);
        return;
    }
    /* Read on from what is committed: what was not is read again. */
    bf_source_free(bf_take(feed->source));
    feed->horizon_ms = 0;
    feed->caught_up = false;
    feed->next_begin_ms = bf_mono_ms() + CHECK_SOON_MS;
    if (feed->conf.view_path)
        bf_exchange_set_view(feed->conf.exchange, false, err->msg);
}

/* Without a view: the fleet's own entry is all there is to be read. */
static int read_fleet(struct bf_feed *feed, rd_kafka_message_t *message,
                      enum bf_topic topic, struct bf_err *err)
{
    if (apply_records(feed, message, topic, 0, err))
        return -1;
    publish_shards(feed);
    if (feed->fleet_known)
        bf_source_free(bf_take(feed->source));
    return 0;
}

static int read_some(struct bf_feed *feed, struct bf_err *err)
{
    enum bf_topic topic = BF_TOPIC_JOBS;
    rd_kafka_message_t *message = bf_source_next(feed->source, IDLE_MS, &topic);

    if (!feed->view)
        return read_fleet(feed, message, topic, err);
    if (write_batch(feed, message, topic, err) || sweep(feed, err))
        return -1;
    publish_shards(feed);
    check_horizon(feed);
    return 0;
}

static void idle(struct bf_feed *feed)
{
    rd_kafka_message_t *message = rd_kafka_consume_queue(feed->queue, IDLE_MS);

    if (message)
        rd_kafka_message_destroy(message);
}

static void look_at_trust(struct bf_feed *feed, int64_t now_ms)
{
    struct bf_trust *trust = feed->conf.trust;
    struct bf_err err = {0};

    switch (bf_trust_look(trust, now_ms, &err)) {
    case BF_TRUST_SAME:
        break;
    case BF_TRUST_CHANGED:
        bf_log_info("keys_read",
                    bf_kv_int("trusted", (int64_t)bf_trust_count(trust)));
        if (!bf_trust_has(trust, feed->conf.signer))
            bf_log_error("signing_key_revoked", bf_kv_str("purpose", "job"),
                         bf_kv_str("key", feed->conf.signer->key_id));
        break;
    case BF_TRUST_BAD:
        bf_log_err(BF_LOG_ERROR, "keys_unchanged", &err);
        break;
    }
}

static bool wants_source(const struct bf_feed *feed)
{
    return !feed->source && feed->shards > 0 &&
           (feed->conf.view_path || !feed->fleet_known);
}

static int turn(struct bf_feed *feed, struct bf_err *err)
{
    int64_t now = bf_mono_ms();

    look_at_trust(feed, now);
    if (now >= feed->next_check_ms)
        check_topics(feed);
    if (wants_source(feed) && now >= feed->next_begin_ms) {
        feed->next_begin_ms = now + CHECK_SOON_MS;
        if (begin_reading(feed, err))
            return -1;
    }
    if (feed->source)
        return read_some(feed, err);
    idle(feed);
    return 0;
}

static void *run(void *arg)
{
    struct bf_feed *feed = arg;
    struct bf_err err = {.kind = BF_ERR_NONE};

    while (!atomic_load(&feed->stop) && err.kind != BF_ERR_FATAL) {
        if (turn(feed, &err))
            on_error(feed, &err);
    }
    return NULL;
}

/* ---- life -----------------------------------------------------------------*/

static int open_consumer(struct bf_feed *feed, struct bf_err *err)
{
    rd_kafka_conf_t *conf = feed->conf.kafka(feed->conf.kafka_arg, err);
    char why[160];

    if (!conf)
        return -1;
    feed->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    if (!feed->rk) {
        rd_kafka_conf_destroy(conf);
        return bf_err_set(err, BF_ERR_FATAL, "kafka_consumer", "%s", why);
    }
    feed->queue = rd_kafka_queue_new(feed->rk);
    return 0;
}

static int open_verifiers(struct bf_feed *feed, struct bf_err *err)
{
    for (size_t i = 0; i < BF_PURPOSES; i++) {
        feed->verifiers[i] =
            bf_verifier_new(bf_trust_find_key, feed->conf.trust, err);
        if (!feed->verifiers[i])
            return -1;
    }
    return 0;
}

/* Signals are the loop's business. */
static int start_thread(struct bf_feed *feed, struct bf_err *err)
{
    sigset_t all, old;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&feed->thread, NULL, run, feed);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    feed->started = rc == 0;
    if (rc != 0)
        return bf_err_set(err, BF_ERR_FATAL, "thread", "errno %d", rc);
    return 0;
}

struct bf_feed *bf_feed_new(const struct bf_feed_conf *conf, struct bf_err *err)
{
    bf_autofeed struct bf_feed *feed = calloc(1, sizeof(*feed));

    if (!feed) {
        bf_err_oom(err);
        return NULL;
    }
    feed->conf = *conf;
    if (!conf->view_path)
        bf_exchange_set_viewless(conf->exchange,
                                 "this dispatcher only takes jobs "
                                 "(dispatcher.keep_view): ask another");
    if (open_consumer(feed, err) || open_verifiers(feed, err) ||
        start_thread(feed, err))
        return NULL;
    return bf_take(feed);
}

void bf_feed_wake(struct bf_feed *feed)
{
    rd_kafka_queue_yield(feed->queue);
}

void bf_feed_free(struct bf_feed *feed)
{
    if (!feed)
        return;
    atomic_store(&feed->stop, true);
    if (feed->started) {
        bf_feed_wake(feed);
        pthread_join(feed->thread, NULL);
    }
    bf_source_free(feed->source);
    bf_view_close(feed->view);
    for (size_t i = 0; i < BF_PURPOSES; i++)
        bf_verifier_free(feed->verifiers[i]);
    if (feed->queue)
        rd_kafka_queue_destroy(feed->queue);
    if (feed->rk)
        rd_kafka_destroy(feed->rk);
    free(feed);
}
