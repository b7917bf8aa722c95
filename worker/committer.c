#include "worker/committer.h"

#include <pthread.h>

#include "config/clock.h"
#include "config/fleet_topics.h"
#include "config/log.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "worker/attempt.h"
#include "worker/committed.h"
#include "worker/crash.h"

#define MAX_ITEMS 2048    /* of one transaction */
#define RETRY_MS 100      /* between tries of what fails at once */
#define CALL_MS 2000      /* of one blocking query */
#define UNSTABLE_MS 1000  /* then a dead writer is fenced, again each time */
#define UNSETTLED_MS 5000 /* then it is somebody else's transaction */
#define MAX_FENCINGS 3    /* in FENCINGS_MS: somebody has our id */
#define FENCINGS_MS 60000
/*
 * After a commit is answered its markers are still being written, for 1 to 5
 * ms. What begins before that is told CONCURRENT_TRANSACTIONS and sleeps for 10
 * or 20 ms: at 500 jobs a second that was every tenth transaction, and at each
 * stall of the broker each one after it (p99 92 ms, 62 with the pause).
 */
#define PAUSE_MS 3

/* A queue of items, linked by msg.next. */
struct queue {
    struct bf_item *head;
    struct bf_item **tail;
    size_t n;
    size_t bytes;
};

struct bf_committer {
    struct bf_committer_config config;
    pthread_t thread;
    struct bf_mailbox *in;
    struct bf_mailbox *out;
    /* All below is the thread's own. */
    struct bf_txn *txn;
    const char *const *outputs;
    struct bf_commit_shard *shards;
    rd_kafka_consumer_group_metadata_t *group; /* NULL: not a member yet */
    bool stale; /* group is not the group's any more */
    struct queue pending;
    struct queue suspects; /* of a permanent refusal, taken in halves */
    size_t suspect_limit;
    struct bf_attempt *unsure; /* nobody said whether it is committed */
    bool was_suspect;          /* what unsure was made of */
    struct bf_query *queries;
    int64_t started_ms; /* the last transaction's */
    int64_t ended_ms;   /* the same */
    int64_t retry_ms;   /* nothing is tried before */
    int64_t fencings_ms[MAX_FENCINGS];
    struct bf_msg *stop; /* answered when all is over */
    bool over;
};

static void queue_init(struct queue *q)
{
    *q = (struct queue){.head = NULL};
    q->tail = &q->head;
}

static void queue_put(struct queue *q, struct bf_item *item)
{
    item->msg.next = NULL;
    *q->tail = item;
    q->tail = (struct bf_item **)&item->msg.next;
    q->n++;
    q->bytes += item->bytes;
}

static struct bf_item *queue_take(struct queue *q)
{
    struct bf_item *item = q->head;

    if (!item)
        return NULL;
    q->head = (struct bf_item *)item->msg.next;
    if (!q->head)
        q->tail = &q->head;
    q->n--;
    q->bytes -= item->bytes;
    return item;
}

static void reply_item(struct bf_committer *c, struct bf_item *item,
                       enum bf_item_end end)
{
    item->end = end;
    bf_mailbox_put(c->out, &item->msg);
}

static void reply_fatal(struct bf_committer *c, const struct bf_err *err)
{
    struct bf_fatal *fatal = bf_must(calloc(1, sizeof(*fatal)));

    fatal->msg.kind = BF_MSG_FATAL;
    snprintf(fatal->text, sizeof(fatal->text), "%s", err->msg);
    bf_mailbox_put(c->out, &fatal->msg);
    /* The loop ends the process; until then we only answer. */
    c->retry_ms = INT64_MAX;
}

static void reply_bases(struct bf_committer *c,
                        const struct bf_attempt *attempt)
{
    struct bf_bases *bases = bf_must(calloc(
        1, sizeof(*bases) + attempt->ntouched * sizeof(bases->shards[0])));

    bases->msg.kind = BF_MSG_BASES;
    bases->n = attempt->ntouched;
    for (size_t i = 0; i < bases->n; i++) {
        const struct bf_touched *t = &attempt->touched[i];

        bases->shards[i].shard = t->shard;
        bases->shards[i].epoch = t->epoch;
        bases->shards[i].written = t->writes_base;
        for (size_t lane = 0; lane < BF_INPUT_LANES; lane++)
            bases->shards[i].base[lane] = t->ledgers[lane].base;
    }
    bf_mailbox_put(c->out, &bases->msg);
}

static bool is_current(const struct bf_committer *c, const struct bf_item *item)
{
    const struct bf_commit_shard *shard = &c->shards[item->shard];

    return shard->open && shard->epoch == item->epoch;
}

/* ---- transactions ---- */

/* Give the attempt's items back to where they came from, or to the loop. */
static void requeue(struct bf_committer *c, struct bf_attempt *attempt,
                    struct queue *to)
{
    struct queue rest = *to;

    if (!rest.head)
        rest.tail = &rest.head;
    queue_init(to);
    for (size_t i = 0; i < attempt->nitems; i++) {
        if (is_current(c, attempt->items[i]))
            queue_put(to, attempt->items[i]);
        else
            reply_item(c, attempt->items[i], BF_ITEM_DROPPED);
    }
    while (rest.head)
        queue_put(to, queue_take(&rest));
}

static bool is_refused(const struct bf_attempt *attempt,
                       const struct bf_item *item, rd_kafka_resp_err_t *ret)
{
    for (size_t i = 0; i < attempt->nout; i++) {
        if (!attempt->out[i].refused ||
            (attempt->owners[i] && attempt->owners[i] != item))
            continue;
        *ret = attempt->out[i].refused;
        return true;
    }
    return false;
}

/*
 * The broker refuses a whole batch for one record, so every item with a named
 * record is a suspect; suspects are tried in halves until one stands alone.
 */
static void accuse(struct bf_committer *c, struct bf_attempt *attempt)
{
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;

    for (size_t i = 0; i < attempt->nitems; i++) {
        struct bf_item *item = attempt->items[i];

        if (!is_refused(attempt, item, &code)) {
            queue_put(&c->pending, item);
        } else if (attempt->nitems == 1) {
            item->refused = code;
            reply_item(c, item, BF_ITEM_REFUSED);
        } else {
            queue_put(&c->suspects, item);
        }
    }
    c->suspect_limit = attempt->nitems > 2 ? attempt->nitems / 2 : 1;
}

static void committed(struct bf_committer *c, struct bf_attempt *attempt)
{
    bf_attempt_apply(attempt, c->shards);
    reply_bases(c, attempt);
    for (size_t i = 0; i < attempt->nitems; i++)
        reply_item(c, attempt->items[i], BF_ITEM_COMMITTED);
    if (c->was_suspect && c->suspects.n == 0)
        c->suspect_limit = MAX_ITEMS;
}

static void fenced(struct bf_committer *c)
{
    struct bf_err err = {0};
    int64_t now = bf_mono_ms();

    /* Our own transaction, grown too old, looks exactly the same. */
    if (bf_txn_age_ms(c->txn) >= c->config.txn_timeout_ms)
        return;
    memmove(c->fencings_ms, c->fencings_ms + 1,
            sizeof(c->fencings_ms) - sizeof(c->fencings_ms[0]));
    c->fencings_ms[MAX_FENCINGS - 1] = now;
    if (c->fencings_ms[0] == 0 || now - c->fencings_ms[0] > FENCINGS_MS)
        return;
    bf_err_set(&err, BF_ERR_FATAL, "fenced",
               "%d times in a minute another producer took transactional.id "
               "%s: two workers share instance and slot; the b entries of "
               "bf.state name host and pid",
               MAX_FENCINGS, c->config.txn_id);
    reply_fatal(c, &err);
}

static void finish(struct bf_committer *c, struct bf_attempt *attempt,
                   enum bf_txn_end end)
{
    struct queue *from = c->was_suspect ? &c->suspects : &c->pending;

    switch (end) {
    case BF_TXN_COMMITTED:
        committed(c, attempt);
        break;
    case BF_TXN_REFUSED:
        accuse(c, attempt);
        break;
    case BF_TXN_STALE:
        c->stale = true;
        requeue(c, attempt, from);
        break;
    case BF_TXN_ABORTED:
        c->retry_ms = bf_mono_ms() + RETRY_MS;
        requeue(c, attempt, from);
        break;
    case BF_TXN_FENCED:
        fenced(c);
        c->unsure = attempt;
        return;
    case BF_TXN_UNSURE:
        c->unsure = attempt;
        return;
    }
    bf_attempt_free(attempt);
}

/* Up to limit current items, and no more bytes than one transaction takes. */
static size_t take_items(struct bf_committer *c, struct queue *from,
                         size_t limit, struct bf_item **ret)
{
    size_t n = 0, bytes = 0;

    while (n < limit && from->head) {
        struct bf_item *item = from->head;

        if (n > 0 && bytes + item->bytes > c->config.bytes)
            break;
        queue_take(from);
        if (!is_current(c, item)) {
            reply_item(c, item, BF_ITEM_DROPPED);
            continue;
        }
        bytes += item->bytes;
        ret[n++] = item;
    }
    return n;
}

static struct bf_attempt *prepare(struct bf_committer *c, struct bf_err *err)
{
    struct bf_item *items[MAX_ITEMS];
    struct bf_attempt *attempt;
    size_t n;

    c->was_suspect = !c->pending.head;
    n = c->was_suspect ? take_items(c, &c->suspects, c->suspect_limit, items)
                       : take_items(c, &c->pending, MAX_ITEMS, items);
    if (n == 0)
        return NULL;
    attempt = bf_attempt_new(&c->config, c->shards, items, n, err);
    if (attempt)
        return attempt;
    for (size_t i = 0; i < n; i++)
        queue_put(&c->pending, items[i]);
    if (err->kind == BF_ERR_RETRY)
        c->retry_ms = bf_mono_ms() + RETRY_MS;
    else
        reply_fatal(c, err);
    return NULL;
}

static void transact(struct bf_committer *c)
{
    struct bf_err err = {0};
    struct bf_attempt *attempt;
    enum bf_txn_end end;

    c->started_ms = bf_mono_ms();
    attempt = prepare(c, &err);
    if (!attempt)
        return;
    struct bf_txn_batch batch = {
        .out = attempt->out,
        .nout = attempt->nout,
        .offsets = attempt->offsets,
        .group = c->group,
    };
    end = bf_txn_run(c->txn, &batch, &err);
    c->ended_ms = bf_mono_ms();
    if (end != BF_TXN_COMMITTED)
        bf_log_err(BF_LOG_WARN, "transaction", &err,
                   bf_kv_str("end", bf_txn_end_name(end)));
    finish(c, attempt, end);
}

/* ---- recovery ---- */

static rd_kafka_conf_t *own_conf(void *arg, struct bf_err *err)
{
    struct bf_committer *c = arg;

    return c->config.producer_conf(c->config.arg, c->config.txn_id, err);
}

static void reopen(struct bf_committer *c)
{
    struct bf_err err = {0};

    if (bf_txn_open(c->txn, CALL_MS, &err) == 0)
        return;
    bf_log_err(BF_LOG_WARN, "producer_open", &err);
    c->retry_ms = bf_mono_ms() + RETRY_MS;
    if (err.kind == BF_ERR_FATAL)
        reply_fatal(c, &err);
}

static int ask_watermarks(const struct bf_committer *c, enum bf_topic topic,
                          uint32_t shard, int64_t *ret_low, int64_t *ret_high)
{
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
        c->config.reader, bf_topic_name(c->config.topics, topic),
        (int32_t)shard, ret_low, ret_high, CALL_MS);

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    bf_log_warn("watermarks",
                bf_kv_str("topic", bf_topic_name(c->config.topics, topic)),
                bf_kv_int("shard", shard),
                bf_kv_str("error", rd_kafka_err2name(code)));
    bf_topics_look_again(c->config.reader, CALL_MS);
    return -1;
}

/* The first that is still ours; NULL: none is. */
static const struct bf_touched *witness(const struct bf_committer *c,
                                        const struct bf_attempt *attempt)
{
    for (size_t i = 0; i < attempt->ntouched; i++) {
        const struct bf_touched *t = &attempt->touched[i];

        if (c->shards[t->shard].open && c->shards[t->shard].epoch == t->epoch)
            return t;
    }
    return NULL;
}

static int add_mark(const struct bf_committer *c, uint32_t shard,
                    const char *mark, rd_kafka_topic_partition_list_t *offsets)
{
    int64_t low, high;

    if (ask_watermarks(c, BF_TOPIC_STATE, shard, &low, &high))
        return -1;
    bf_committed_mark(offsets, c->config.topics, shard, high, mark);
    return 0;
}

/*
 * A transaction of its own, since a plain commit of a generation that has just
 * ended makes librdkafka throw away the whole assignment.
 */
static int commit_marks(struct bf_committer *c,
                        const rd_kafka_topic_partition_list_t *offsets)
{
    struct bf_txn_batch batch = {.offsets = offsets, .group = c->group};
    struct bf_err err = {0};
    enum bf_txn_end end = bf_txn_run(c->txn, &batch, &err);

    if (end == BF_TXN_COMMITTED)
        return 0;
    bf_log_err(BF_LOG_WARN, "mark", &err,
               bf_kv_str("end", bf_txn_end_name(end)));
    if (end == BF_TXN_STALE)
        c->stale = true;
    if (end == BF_TXN_FENCED)
        fenced(c);
    return -1;
}

static bool may_mark(const struct bf_committer *c)
{
    return c->group && !c->stale && bf_txn_is_open(c->txn);
}

static int put_mark(struct bf_committer *c, uint32_t shard,
                    char ret_mark[BF_MARK_SIZE])
{
    rd_kafka_topic_partition_list_t *offsets =
        rd_kafka_topic_partition_list_new(1);
    int rc;

    bf_committed_new_mark(ret_mark);
    rc = add_mark(c, shard, ret_mark, offsets) || commit_marks(c, offsets);
    rd_kafka_topic_partition_list_destroy(offsets);
    return rc ? -1 : 0;
}

/*
 * The producer is new, so the old transaction is over: what is committed now
 * tells how it ended. One shard is enough, a transaction is atomic; a shard
 * that is not ours any more tells nothing, and matters to nobody.
 *
 * The question goes to whom the consumer takes for the group's coordinator. A
 * broker that has been replaced and does not know it yet answers too, with
 * what it had: believed, we would write it all a second time. It cannot have
 * our mark.
 */
static void read_back(struct bf_committer *c)
{
    struct bf_attempt *attempt = c->unsure;
    const struct bf_touched *t = witness(c, attempt);
    struct bf_resume_facts lanes[BF_INPUT_LANES] = {0};
    char mark[BF_MARK_SIZE];
    bool is = false;

    if (t) {
        c->retry_ms = bf_mono_ms() + RETRY_MS;
        if (!may_mark(c) || put_mark(c, t->shard, mark) ||
            bf_committed_ask(c->config.consumer, c->config.topics, t->shard,
                             mark, CALL_MS, lanes))
            return;
        is = lanes[BF_LANE_JOBS].committed &&
             bf_attempt_is(attempt, t, &lanes[BF_LANE_JOBS].meta);
        bf_log_info("read_back", bf_kv_bool("committed", is));
    }
    c->unsure = NULL;
    finish(c, attempt, is ? BF_TXN_COMMITTED : BF_TXN_ABORTED);
    c->retry_ms = 0;
}

/* ---- what is committed: asked by a new owner ---- */

struct dead_writer {
    const struct bf_committer *c;
    const char *txn_id;
};

static rd_kafka_conf_t *dead_conf(void *arg, struct bf_err *err)
{
    const struct dead_writer *dead = arg;

    return dead->c->config.producer_conf(dead->c->config.arg, dead->txn_id,
                                         err);
}

/*
 * Somebody died in the middle of a transaction on this shard. Its last stable
 * metadata names it; taking its id ends what it left, in half a second instead
 * of the broker's timeout. A live victim only makes itself a new producer.
 */
static void fence_writer(const struct bf_committer *c,
                         const struct bf_query *query)
{
    struct bf_query stable = {.shard = query->shard};
    struct bf_err err = {0};

    if (bf_committed_ask(c->config.reader, c->config.topics, query->shard, NULL,
                         CALL_MS, stable.lanes))
        return;
    for (size_t i = 0; i < BF_INPUT_LANES; i++) {
        const char *txn_id = stable.lanes[i].meta.writer;
        struct dead_writer dead = {c, txn_id};
        struct bf_txn_config config = {
            .conf = dead_conf, .arg = &dead, .ntopics = 0};
        struct bf_txn *txn;

        if (!stable.lanes[i].committed || !txn_id[0] ||
            strcmp(txn_id, c->config.txn_id) == 0)
            continue;
        bf_log_info("fence_writer", bf_kv_str("txn_id", txn_id),
                    bf_kv_int("shard", query->shard));
        txn = bf_txn_new(&config, &err);
        if (txn && bf_txn_open(txn, CALL_MS, &err))
            bf_log_err(BF_LOG_WARN, "fence_writer", &err);
        bf_txn_free(txn, 0);
        return;
    }
}

/*
 * A writer that died before it sent its offsets leaves them stable, and holds
 * back readers of its outputs, us too, until the broker ends its transaction.
 */
static bool is_settled(const struct bf_committer *c,
                       const struct bf_query *query)
{
    return bf_mono_ms() - query->asked_ms >= UNSETTLED_MS ||
           bf_committed_settled(c->config.consumer, c->config.reader,
                                c->config.topics, query->shard,
                                UNSTABLE_MS) == 1;
}

/* For all who wait for one, in one transaction. */
static int mark_queries(struct bf_committer *c)
{
    rd_kafka_topic_partition_list_t *offsets =
        rd_kafka_topic_partition_list_new((int)c->config.shards);
    char mark[BF_MARK_SIZE];
    int rc = 0;

    bf_committed_new_mark(mark);
    for (struct bf_query *q = c->queries; q && rc == 0;
         q = (struct bf_query *)q->msg.next)
        rc = q->mark[0] ? 0 : add_mark(c, q->shard, mark, offsets);
    rc = rc || commit_marks(c, offsets);
    for (struct bf_query *q = c->queries; q && rc == 0;
         q = (struct bf_query *)q->msg.next) {
        if (q->mark[0])
            continue;
        memcpy(q->mark, mark, sizeof(mark));
        /* Until now nobody else was waited for. */
        q->fence_ms = bf_mono_ms() + UNSTABLE_MS;
    }
    rd_kafka_topic_partition_list_destroy(offsets);
    return rc ? -1 : 0;
}

/*
 * A coordinator that was killed and comes back may answer before it has read
 * all that it had written: offsets of minutes ago, in our generation, and said
 * to be stable (Kafka 4.3.1: a load that is overtaken by another ends that one,
 * too, wherever it is; seen after kill -9 of a busy single broker). It has to
 * put our mark behind all that the last owner committed, so whoever shows the
 * mark has read the rest.
 */
static int ask_marked(struct bf_committer *c, struct bf_query *query)
{
    int rc;

    if (!query->mark[0] && (!may_mark(c) || c->unsure || mark_queries(c)))
        return -1;
    rc = bf_committed_ask(c->config.consumer, c->config.topics, query->shard,
                          query->mark, UNSTABLE_MS, query->lanes);
    /*
     * Who does not show it has it to write, now. No new one for want of an
     * answer: that would be pending itself, for ever.
     */
    if (rc > 0)
        query->mark[0] = 0;
    return rc;
}

/* 0 when all facts are there. */
static int answer_query(struct bf_committer *c, struct bf_query *query)
{
    memset(query->lanes, 0, sizeof(query->lanes));
    if (ask_marked(c, query))
        return -1;
    bf_crash_point("after_offset_fetch");
    if (!is_settled(c, query))
        return -1;
    query->fence_ms = bf_mono_ms() + UNSTABLE_MS; /* nobody is in our way */
    /*
     * After the offsets, not before: once they are stable, all that the last
     * owner committed to the state lies below its high watermark.
     */
    if (ask_watermarks(c, BF_TOPIC_STATE, query->shard, &query->state_low,
                       &query->state_high))
        return -1;
    return ask_watermarks(c, BF_TOPIC_JOBS, query->shard, &query->lanes[0].low,
                          &query->lanes[0].high) ||
                   ask_watermarks(c, BF_TOPIC_BATCH, query->shard,
                                  &query->lanes[1].low, &query->lanes[1].high)
               ? -1
               : 0;
}

static void serve_queries(struct bf_committer *c)
{
    struct bf_query **at = &c->queries;

    while (*at) {
        struct bf_query *query = *at;
        int64_t now = bf_mono_ms();

        if (now < query->next_ms) {
            at = (struct bf_query **)&query->msg.next;
            continue;
        }
        if (answer_query(c, query) == 0) {
            *at = (struct bf_query *)query->msg.next;
            bf_mailbox_put(c->out, &query->msg);
            continue;
        }
        /* The answer has taken its time: that counts, too. */
        if (query->mark[0] && bf_mono_ms() >= query->fence_ms) {
            fence_writer(c, query);
            query->fence_ms = bf_mono_ms() + UNSTABLE_MS;
        }
        /* Never less: rd_kafka_committed answers NOT_COORDINATOR at once. */
        query->next_ms = bf_mono_ms() + RETRY_MS;
        at = (struct bf_query **)&query->msg.next;
    }
}

/* ---- messages ---- */

static void open_shard(struct bf_committer *c, const struct bf_open *open)
{
    struct bf_commit_shard *shard = &c->shards[open->shard];

    *shard = (struct bf_commit_shard){.open = true,
                                      .epoch = open->epoch,
                                      .seq = open->seq,
                                      .base_written_ms = bf_mono_ms()};
    for (size_t i = 0; i < BF_INPUT_LANES; i++)
        bf_ledger_load(&shard->ledgers[i], &open->metas[i]);
}

static void drop_stale(struct bf_committer *c, struct queue *q)
{
    struct queue old = *q;

    if (!old.head)
        return;
    queue_init(q);
    while (old.head) {
        struct bf_item *item = queue_take(&old);

        if (is_current(c, item))
            queue_put(q, item);
        else
            reply_item(c, item, BF_ITEM_DROPPED);
    }
}

/*
 * Nobody waits for the answers. Asked on, they would hold us up, and the next
 * owner's transactions could look like a dead writer's.
 */
static void drop_queries(struct bf_committer *c, uint32_t shard)
{
    struct bf_query **at = &c->queries;

    while (*at) {
        struct bf_query *query = *at;

        if (query->shard != shard) {
            at = (struct bf_query **)&query->msg.next;
            continue;
        }
        *at = (struct bf_query *)query->msg.next;
        free(query);
    }
}

static void fence_shard(struct bf_committer *c, uint32_t shard)
{
    c->shards[shard].open = false;
    drop_stale(c, &c->pending);
    drop_stale(c, &c->suspects);
    drop_queries(c, shard);
}

static void new_group(struct bf_committer *c,
                      rd_kafka_consumer_group_metadata_t *group)
{
    if (c->group)
        rd_kafka_consumer_group_metadata_destroy(c->group);
    c->group = group;
    c->stale = false;
}

static void serve_message(struct bf_committer *c, struct bf_msg *msg)
{
    switch ((enum bf_msg_kind)msg->kind) {
    case BF_MSG_ITEM:
        if (is_current(c, (struct bf_item *)msg))
            queue_put(&c->pending, (struct bf_item *)msg);
        else
            reply_item(c, (struct bf_item *)msg, BF_ITEM_DROPPED);
        return;
    case BF_MSG_QUERY:
        ((struct bf_query *)msg)->asked_ms = bf_mono_ms();
        ((struct bf_query *)msg)->fence_ms = bf_mono_ms() + UNSTABLE_MS;
        msg->next = c->queries ? &c->queries->msg : NULL;
        c->queries = (struct bf_query *)msg;
        return;
    case BF_MSG_GROUP:
        new_group(c, ((struct bf_group_msg *)msg)->group);
        break;
    case BF_MSG_OPEN:
        open_shard(c, (struct bf_open *)msg);
        break;
    case BF_MSG_FENCE:
        fence_shard(c, ((struct bf_fence *)msg)->shard);
        break;
    case BF_MSG_STOP:
        c->stop = msg;
        return;
    case BF_MSG_BASES:
    case BF_MSG_FATAL:
    case BF_MSG_STOPPED:
        bf_assert(!"a message that only goes the other way");
    }
    free(msg);
}

static void serve_messages(struct bf_committer *c)
{
    struct bf_msg *msg = bf_mailbox_take(c->in);

    while (msg) {
        struct bf_msg *next = msg->next;

        serve_message(c, msg);
        msg = next;
    }
}

/* ---- the thread ---- */

static bool has_work(const struct bf_committer *c)
{
    return (c->pending.head || c->suspects.head) && c->group && !c->stale;
}

/* When the next transaction may start: soon, when there is a lot to write. */
static int64_t due_ms(const struct bf_committer *c)
{
    int64_t soon = c->ended_ms + PAUSE_MS;
    int64_t due = c->started_ms + c->config.interval_ms;

    if (c->pending.bytes >= c->config.bytes || c->pending.n >= MAX_ITEMS)
        return soon;
    return due > soon ? due : soon;
}

static int wait_ms(const struct bf_committer *c)
{
    int64_t now = bf_mono_ms();
    int64_t until = now + 1000;

    if (c->retry_ms != INT64_MAX) {
        if (!bf_txn_is_open(c->txn) || c->unsure)
            until = c->retry_ms;
        else if (has_work(c))
            until = due_ms(c) > c->retry_ms ? due_ms(c) : c->retry_ms;
    }
    for (const struct bf_query *q = c->queries; q;
         q = (const struct bf_query *)q->msg.next)
        until = q->next_ms < until ? q->next_ms : until;
    return until > now ? (int)(until - now) : 0;
}

static void step(struct bf_committer *c)
{
    int64_t now = bf_mono_ms();

    if (now < c->retry_ms)
        return;
    if (!bf_txn_is_open(c->txn))
        reopen(c);
    else if (c->unsure)
        read_back(c);
    else if (has_work(c) && now >= due_ms(c))
        transact(c);
}

static void drop_all(struct bf_committer *c)
{
    for (uint32_t i = 0; i < c->config.shards; i++)
        c->shards[i].open = false;
    if (c->unsure) {
        requeue(c, c->unsure, &c->pending);
        bf_attempt_free(c->unsure);
        c->unsure = NULL;
    }
    drop_stale(c, &c->pending);
    drop_stale(c, &c->suspects);
    while (c->queries) {
        struct bf_query *query = c->queries;

        c->queries = (struct bf_query *)query->msg.next;
        free(query);
    }
}

static void *committer_main(void *arg)
{
    struct bf_committer *c = arg;

    while (!c->stop) {
        bf_mailbox_wait(c->in, wait_ms(c));
        serve_messages(c);
        serve_queries(c);
        bf_txn_poll(c->txn);
        step(c);
    }
    drop_all(c);
    bf_txn_free(bf_take(c->txn), CALL_MS);
    c->stop->kind = BF_MSG_STOPPED;
    bf_mailbox_put(c->out, c->stop);
    return NULL;
}

static int create(struct bf_committer *c, struct bf_err *err)
{
    const char **names = calloc(BF_OUTPUTS, sizeof(char *));
    struct bf_txn_config config = {
        .conf = own_conf, .arg = c, .topics = names, .ntopics = BF_OUTPUTS};
    int code;

    c->outputs = names;
    c->shards = calloc(c->config.shards, sizeof(*c->shards));
    if (!names || !c->shards)
        return bf_err_oom(err);
    for (size_t i = 0; i < BF_OUTPUTS; i++)
        names[i] = bf_topic_name(c->config.topics, bf_outputs[i]);
    c->txn = bf_txn_new(&config, err);
    c->in = c->txn ? bf_mailbox_new(err) : NULL;
    c->out = c->in ? bf_mailbox_new(err) : NULL;
    if (!c->out)
        return -1;
    code = pthread_create(&c->thread, NULL, committer_main, c);
    if (code)
        return bf_err_set(err, BF_ERR_FATAL, "thread", "pthread_create: %s",
                          strerrorname_np(code));
    return 0;
}

static void destroy(struct bf_committer *c)
{
    bf_txn_free(c->txn, 0);
    bf_mailbox_free(c->in);
    bf_mailbox_free(c->out);
    if (c->group)
        rd_kafka_consumer_group_metadata_destroy(c->group);
    free(c->shards);
    free((void *)(uintptr_t)c->outputs);
    free(c);
}

struct bf_committer *bf_committer_new(const struct bf_committer_config *config,
                                      struct bf_err *err)
{
    struct bf_committer *c = calloc(1, sizeof(*c));

    if (!c) {
        bf_err_oom(err);
        return NULL;
    }
    c->config = *config;
    queue_init(&c->pending);
    queue_init(&c->suspects);
    c->suspect_limit = MAX_ITEMS;
    if (create(c, err)) {
        destroy(c);
        return NULL;
    }
    return c;
}

void bf_committer_free(struct bf_committer *committer)
{
    if (!committer)
        return;
    pthread_join(committer->thread, NULL);
    destroy(committer);
}

void bf_committer_put(struct bf_committer *committer, struct bf_msg *msg)
{
    bf_mailbox_put(committer->in, msg);
}

int bf_committer_fd(const struct bf_committer *committer)
{
    return bf_mailbox_fd(committer->out);
}

struct bf_msg *bf_committer_take(struct bf_committer *committer)
{
    return bf_mailbox_take(committer->out);
}
