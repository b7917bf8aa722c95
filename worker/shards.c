#include "worker/shards.h"

#include "config/clock.h"
#include "config/fleet_topics.h"
#include "config/kafka_record.h"
#include "config/log.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/fleet.h"
#include "worker/committer.h"
#include "worker/crash.h"
#include "worker/ledger.h"
#include "worker/restore.h"
#include "worker/skip.h"

enum phase { AWAY, ASKING, READING, OPEN, DRAINING, STOPPED };

struct lane {
    struct bf_feed *feed;
    struct bf_ledger restored; /* what was complete when it was opened */
    int64_t next;              /* the offset that the log should give next */
    int64_t base;              /* committed: below, all is over */
    rd_kafka_message_t *held;  /* read, but does not fit the window yet */
    struct bf_skip skip;       /* over what cannot be unpacked */
    int64_t look_at;           /* go on there; -1: go on as it comes */
};

struct slot {
    enum phase phase;
    uint32_t epoch;
    bool facts_known;
    bool reopen; /* drained to be restored again, not to be given away */
    struct bf_query facts;
    struct bf_feed *state_feed;
    int64_t state_end; /* offset of the last end-of-partition; -1: none yet */
    struct bf_err problem; /* why its state must not be used */
    struct bf_shard *state;
    struct lane lanes[BF_INPUT_LANES];
    struct bf_restored restored;
    size_t under_way;
    bool base_sent; /* the last b entry is with the committer */
    bool folding;   /* a fold of the finished ids is with the committer */
    int64_t drain_until_ms;
};

struct bf_shards {
    struct bf_shards_config config;
    struct slot *slots;
    size_t turn;                               /* whose turn it is to pull */
    rd_kafka_topic_partition_list_t *revoking; /* unanswered REVOKE */
    bool any_reopen;
    bool any_look;
};

static const enum bf_topic lane_topics[] = {
    [BF_LANE_JOBS] = BF_TOPIC_JOBS,
    [BF_LANE_BATCH] = BF_TOPIC_BATCH,
};
_Static_assert(bf_countof(lane_topics) == BF_INPUT_LANES, "a topic each");

static const char *topic_name(const struct bf_shards *shards,
                              enum bf_topic which)
{
    return bf_topic_name(shards->config.topics, which);
}

struct bf_shards *bf_shards_new(const struct bf_shards_config *config,
                                struct bf_err *err)
{
    struct bf_shards *shards = calloc(1, sizeof(*shards));

    if (shards)
        shards->slots = calloc(config->shards, sizeof(*shards->slots));
    if (!shards || !shards->slots) {
        free(shards);
        bf_err_oom(err);
        return NULL;
    }
    shards->config = *config;
    return shards;
}

static void close_feeds(struct slot *slot)
{
    bf_feed_close(bf_take(slot->state_feed));
    for (size_t i = 0; i < BF_INPUT_LANES; i++) {
        struct lane *lane = &slot->lanes[i];

        bf_feed_close(bf_take(lane->feed));
        if (lane->held)
            rd_kafka_message_destroy(bf_take(lane->held));
    }
    bf_shard_free(bf_take(slot->state));
}

void bf_shards_free(struct bf_shards *shards)
{
    if (!shards)
        return;
    for (uint32_t i = 0; i < shards->config.shards; i++)
        close_feeds(&shards->slots[i]);
    if (shards->revoking)
        rd_kafka_topic_partition_list_destroy(shards->revoking);
    free(shards->slots);
    free(shards);
}

/* ---- assign: ask and read ---- */

static int ask(struct bf_shards *shards, uint32_t id, struct bf_err *err)
{
    struct slot *slot = &shards->slots[id];
    struct bf_query *query = calloc(1, sizeof(*query));

    slot->state = bf_shard_new(err);
    slot->state_feed =
        bf_feed_open(shards->config.consumer,
                     topic_name(shards, BF_TOPIC_STATE), (int32_t)id, err);
    if (!query || !slot->state || !slot->state_feed) {
        free(query);
        return bf_err_set(err, BF_ERR_FATAL, "oom", "no memory for a shard");
    }
    slot->phase = ASKING;
    slot->facts_known = false;
    slot->state_end = -1;
    slot->problem.kind = BF_ERR_NONE;
    query->msg.kind = BF_MSG_QUERY;
    query->shard = id;
    query->epoch = slot->epoch;
    bf_committer_put(shards->config.committer, &query->msg);
    return 0;
}

static void send_group(struct bf_shards *shards)
{
    struct bf_group_msg *msg = calloc(1, sizeof(*msg));

    bf_assert(msg);
    msg->msg.kind = BF_MSG_GROUP;
    /* Without a member id the broker would not fence us: anchors.md §2.2. */
    if (bf_consumer_is_member(shards->config.consumer))
        msg->group = bf_consumer_group(shards->config.consumer);
    bf_committer_put(shards->config.committer, &msg->msg);
}

static int assigned(struct bf_shards *shards,
                    const rd_kafka_topic_partition_list_t *parts,
                    struct bf_err *err)
{
    rd_kafka_topic_partition_list_t *states =
        rd_kafka_topic_partition_list_new(parts->cnt);
    int rc = 0;

    for (int i = 0; i < parts->cnt && rc == 0; i++) {
        uint32_t id = (uint32_t)parts->elems[i].partition;

        bf_assert(id < shards->config.shards);
        bf_assert(shards->slots[id].phase == AWAY);
        shards->slots[id].epoch++;
        rc = ask(shards, id, err);
        rd_kafka_topic_partition_list_add(
            states, topic_name(shards, BF_TOPIC_STATE), (int32_t)id)
            ->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    if (rc == 0)
        rc = bf_consumer_assign(shards->config.consumer, states, err);
    rd_kafka_topic_partition_list_destroy(states);
    return rc;
}

/* ---- restore ---- */

static void add_lanes(const struct bf_shards *shards, uint32_t id,
                      rd_kafka_topic_partition_list_t *parts)
{
    for (size_t i = 0; i < BF_INPUT_LANES; i++)
        rd_kafka_topic_partition_list_add(
            parts, topic_name(shards, lane_topics[i]), (int32_t)id)
            ->offset = shards->slots[id].lanes[i].next;
}

static int unassign_state(struct bf_shards *shards, uint32_t id,
                          struct bf_err *err)
{
    rd_kafka_topic_partition_list_t *parts =
        rd_kafka_topic_partition_list_new(1);
    int rc;

    rd_kafka_topic_partition_list_add(parts, topic_name(shards, BF_TOPIC_STATE),
                                      (int32_t)id);
    rc = bf_consumer_unassign(shards->config.consumer, parts, err);
    rd_kafka_topic_partition_list_destroy(parts);
    bf_feed_close(bf_take(shards->slots[id].state_feed));
    return rc;
}

static int assign_lanes(struct bf_shards *shards, uint32_t id,
                        struct bf_err *err)
{
    rd_kafka_topic_partition_list_t *parts =
        rd_kafka_topic_partition_list_new(BF_INPUT_LANES);
    int rc = 0;

    for (size_t i = 0; i < BF_INPUT_LANES; i++) {
        struct lane *lane = &shards->slots[id].lanes[i];

        lane->feed =
            bf_feed_open(shards->config.consumer,
                         topic_name(shards, lane_topics[i]), (int32_t)id, err);
        rc = rc || !lane->feed;
    }
    add_lanes(shards, id, parts);
    rc = rc || bf_consumer_assign(shards->config.consumer, parts, err);
    rd_kafka_topic_partition_list_destroy(parts);
    return rc ? -1 : 0;
}

static void tell_committer(struct bf_shards *shards, uint32_t id,
                           const struct bf_restored *restored)
{
    struct bf_open *open = calloc(1, sizeof(*open));

    bf_assert(open);
    open->msg.kind = BF_MSG_OPEN;
    open->shard = id;
    open->epoch = shards->slots[id].epoch;
    open->seq = restored->seq;
    for (size_t i = 0; i < BF_INPUT_LANES; i++)
        open->metas[i] = restored->lanes[i].meta;
    bf_committer_put(shards->config.committer, &open->msg);
}

static int open_shard(struct bf_shards *shards, uint32_t id, struct bf_err *err)
{
    struct slot *slot = &shards->slots[id];

    for (size_t i = 0; i < BF_INPUT_LANES; i++) {
        const struct bf_resume *from = &slot->restored.lanes[i];
        struct lane *lane = &slot->lanes[i];

        bf_ledger_load(&lane->restored, &from->meta);
        lane->base = from->meta.base;
        lane->next = from->start;
        lane->look_at = -1;
        bf_skip_init(&lane->skip);
        if (from->from_base)
            bf_log_warn("offsets_expired", bf_kv_int("shard", id),
                        bf_kv_str("lane", bf_lane_name((enum bf_lane)i)),
                        bf_kv_int("base", lane->base));
    }
    tell_committer(shards, id, &slot->restored);
    slot->phase = OPEN;
    slot->base_sent = false;
    bf_log_info("shard_open", bf_kv_int("shard", id),
                bf_kv_int("epoch", slot->epoch),
                bf_kv_int("base", slot->lanes[0].base),
                bf_kv_int("above", bf_ledger_above(&slot->lanes[0].restored)),
                bf_kv_int("started", (int64_t)bf_shard_count(slot->state)));
    return unassign_state(shards, id, err) || assign_lanes(shards, id, err) ? -1
                                                                            : 0;
}

/* Both halves of a restore may come first. */
static int try_open(struct bf_shards *shards, uint32_t id, struct bf_err *err)
{
    struct slot *slot = &shards->slots[id];
    struct bf_err why = slot->problem;

    if (!slot->facts_known || slot->state_end < slot->facts.state_high)
        return 0;
    bf_crash_point("before_restore");
    if (why.kind == BF_ERR_NONE &&
        bf_restore(&slot->facts, slot->state, &slot->restored, &why) == 0)
        return open_shard(shards, id, err);
    bf_log_err(BF_LOG_ERROR, "shard_stopped", &why, bf_kv_int("shard", id));
    slot->phase = STOPPED;
    return unassign_state(shards, id, err);
}

/* REJECT leaves the entry out; anything else stops the shard. */
static int apply_entry(struct bf_shards *shards, uint32_t id,
                       const rd_kafka_message_t *msg, struct bf_err *err)
{
    bf_autorecord struct bf_record rec = {0};
    bf_autoentry struct bf_entry entry = {0};

    /* the fleet's own entry is none of a shard's */
    if (bf_slice_is((struct bf_slice){msg->key, msg->key_len}, BF_FLEET_KEY))
        return 0;
    if (bf_kafka_record(msg, topic_name(shards, BF_TOPIC_STATE), &rec, err) ||
        bf_verify(shards->config.verifier, BF_PURPOSE_STATE, &rec,
                  (struct bf_slice){NULL, 0}, bf_now_ms(), err))
        return -1;
    if (bf_entry_parse(&rec, &entry, err)) {
        /* One of us has written it, and knows something that we do not. */
        err->kind = BF_ERR_FATAL;
        return bf_err_prefix(err, "entry %.*s", BF_SLICE_ARG(rec.key));
    }
    return bf_shard_apply(shards->slots[id].state, &entry, err);
}

static void take_entry(struct bf_shards *shards, uint32_t id,
                       const rd_kafka_message_t *msg)
{
    struct slot *slot = &shards->slots[id];
    struct bf_err err = {0};

    if (apply_entry(shards, id, msg, &err) == 0)
        return;
    if (err.kind != BF_ERR_REJECT)
        slot->problem = err;
    else
        bf_log_err(BF_LOG_ERROR, "state_entry_ignored", &err,
                   bf_kv_int("shard", id), bf_kv_int("offset", msg->offset));
}

static int read_state(struct bf_shards *shards, uint32_t id, struct bf_err *err)
{
    struct slot *slot = &shards->slots[id];
    rd_kafka_message_t *msg;

    while ((slot->phase == ASKING || slot->phase == READING) &&
           (msg = bf_feed_next(slot->state_feed))) {
        if (!msg->err)
            take_entry(shards, id, msg);
        else if (msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
            slot->state_end = msg->offset;
        else
            bf_log_warn("state_read", bf_kv_int("shard", id),
                        bf_kv_str("error", rd_kafka_message_errstr(msg)));
        rd_kafka_message_destroy(msg);
        if (slot->state_end >= 0 && try_open(shards, id, err))
            return -1;
    }
    return 0;
}

static int take_facts(struct bf_shards *shards, const struct bf_query *facts,
                      struct bf_err *err)
{
    struct slot *slot = &shards->slots[facts->shard];

    if (slot->epoch != facts->epoch || slot->phase != ASKING)
        return 0;
    slot->facts = *facts;
    slot->facts_known = true;
    slot->phase = READING;
    return try_open(shards, facts->shard, err);
}

static void take_bases(struct bf_shards *shards, const struct bf_bases *bases)
{
    for (size_t i = 0; i < bases->n; i++) {
        const struct bf_base *base = &bases->shards[i];
        struct slot *slot = &shards->slots[base->shard];

        for (size_t k = 0; slot->epoch == base->epoch && k < BF_INPUT_LANES;
             k++)
            slot->lanes[k].base = base->base[k];
    }
}

int bf_shards_take(struct bf_shards *shards, struct bf_msg *msg,
                   struct bf_err *err)
{
    int rc = 0;

    if (msg->kind == BF_MSG_QUERY)
        rc = take_facts(shards, (struct bf_query *)msg, err);
    else if (msg->kind == BF_MSG_BASES)
        take_bases(shards, (struct bf_bases *)msg);
    free(msg);
    return rc;
}

/* ---- revoke ---- */

static void fence(struct bf_shards *shards, uint32_t id)
{
    struct slot *slot = &shards->slots[id];
    struct bf_fence *msg = calloc(1, sizeof(*msg));

    bf_assert(msg);
    msg->msg.kind = BF_MSG_FENCE;
    msg->shard = id;
    bf_committer_put(shards->config.committer, &msg->msg);
    bf_log_info("shard_fenced", bf_kv_int("shard", id),
                bf_kv_int("epoch", slot->epoch),
                bf_kv_int("under_way", (int64_t)slot->under_way));
    slot->epoch++;
    slot->folding = false;
    slot->under_way = 0;
    slot->phase = AWAY;
    slot->reopen = false;
}

/* What is assigned for a shard, whatever its phase. */
static void add_assigned(const struct bf_shards *shards, uint32_t id,
                         rd_kafka_topic_partition_list_t *parts)
{
    switch (shards->slots[id].phase) {
    case ASKING:
    case READING:
        rd_kafka_topic_partition_list_add(
            parts, topic_name(shards, BF_TOPIC_STATE), (int32_t)id);
        break;
    case OPEN:
    case DRAINING:
        add_lanes(shards, id, parts);
        break;
    case AWAY:
    case STOPPED:
        break;
    }
}

static int answer_revoke(struct bf_shards *shards, struct bf_err *err)
{
    rd_kafka_topic_partition_list_t *revoked = bf_take(shards->revoking);
    rd_kafka_topic_partition_list_t *parts =
        rd_kafka_topic_partition_list_new(revoked->cnt);
    int rc;

    for (int i = 0; i < revoked->cnt; i++)
        add_assigned(shards, (uint32_t)revoked->elems[i].partition, parts);
    /* Epochs first: from here on nothing of these shards is committed. */
    for (int i = 0; i < revoked->cnt; i++)
        fence(shards, (uint32_t)revoked->elems[i].partition);
    rc = bf_consumer_unassign(shards->config.consumer, parts, err);
    for (int i = 0; i < revoked->cnt; i++)
        close_feeds(&shards->slots[revoked->elems[i].partition]);
    rd_kafka_topic_partition_list_destroy(parts);
    rd_kafka_topic_partition_list_destroy(revoked);
    return rc;
}

static void begin_drain(struct bf_shards *shards, uint32_t id)
{
    struct slot *slot = &shards->slots[id];

    if (slot->phase != OPEN)
        return;
    slot->phase = DRAINING;
    slot->drain_until_ms = bf_mono_ms() + shards->config.drain_ms;
}

static int revoked(struct bf_shards *shards, struct bf_consumer_event *event,
                   struct bf_err *err)
{
    if (shards->revoking && answer_revoke(shards, err))
        return -1;
    shards->revoking = bf_take(event->shards);
    if (event->lost)
        return answer_revoke(shards, err);
    for (int i = 0; i < shards->revoking->cnt; i++)
        begin_drain(shards, (uint32_t)shards->revoking->elems[i].partition);
    return 0;
}

static void send_base(struct bf_shards *shards, uint32_t id)
{
    struct bf_item *item = calloc(1, sizeof(*item));

    bf_assert(item);
    item->msg.kind = BF_MSG_ITEM;
    item->shard = id;
    item->epoch = shards->slots[id].epoch;
    item->of_shard = true;
    item->wants_base = true;
    shards->slots[id].base_sent = true;
    shards->slots[id].under_way++;
    bf_committer_put(shards->config.committer, &item->msg);
}

/* True when nothing of it is under way any more, or time is up. */
static bool is_drained(struct bf_shards *shards, uint32_t id)
{
    struct slot *slot = &shards->slots[id];

    if (slot->phase != DRAINING)
        return true;
    if (bf_mono_ms() >= slot->drain_until_ms)
        return true;
    if (slot->under_way == 0 && !slot->base_sent)
        send_base(shards, id);
    return slot->under_way == 0;
}

static int serve_revoke(struct bf_shards *shards, struct bf_err *err)
{
    bool drained = true;

    for (int i = 0; i < shards->revoking->cnt; i++)
        drained = is_drained(shards,
                             (uint32_t)shards->revoking->elems[i].partition) &&
                  drained;
    if (!drained && !bf_consumer_is_lost(shards->config.consumer))
        return 0;
    return answer_revoke(shards, err);
}

/* Its log was cut under our feet: look again where to go on. */
static int reopen(struct bf_shards *shards, uint32_t id, struct bf_err *err)
{
    struct slot *slot = &shards->slots[id];
    rd_kafka_topic_partition_list_t *parts =
        rd_kafka_topic_partition_list_new(BF_INPUT_LANES);
    int rc;

    add_lanes(shards, id, parts);
    fence(shards, id);
    rc = bf_consumer_unassign(shards->config.consumer, parts, err);
    rd_kafka_topic_partition_list_destroy(parts);
    close_feeds(slot);
    if (rc)
        return -1;
    parts = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(parts, topic_name(shards, BF_TOPIC_STATE),
                                      (int32_t)id)
        ->offset = RD_KAFKA_OFFSET_BEGINNING;
    rc = ask(shards, id, err) ||
         bf_consumer_assign(shards->config.consumer, parts, err);
    rd_kafka_topic_partition_list_destroy(parts);
    return rc ? -1 : 0;
}

static int serve_reopens(struct bf_shards *shards, struct bf_err *err)
{
    for (uint32_t i = 0; shards->any_reopen && i < shards->config.shards; i++) {
        if (shards->slots[i].reopen && is_drained(shards, i) &&
            reopen(shards, i, err))
            return -1;
    }
    shards->any_reopen = false;
    for (uint32_t i = 0; i < shards->config.shards; i++)
        shards->any_reopen = shards->any_reopen || shards->slots[i].reopen;
    return 0;
}

/* Read the lane from another place. */
static int look(struct bf_shards *shards, uint32_t id, size_t which,
                struct bf_err *err)
{
    struct lane *lane = &shards->slots[id].lanes[which];
    rd_kafka_topic_partition_list_t *parts =
        rd_kafka_topic_partition_list_new(1);
    const char *topic = topic_name(shards, lane_topics[which]);
    int rc;

    rd_kafka_topic_partition_list_add(parts, topic, (int32_t)id)->offset =
        lane->look_at;
    lane->look_at = -1;
    rc = bf_consumer_unassign(shards->config.consumer, parts, err);
    bf_feed_close(bf_take(lane->feed));
    lane->feed =
        rc ? NULL
           : bf_feed_open(shards->config.consumer, topic, (int32_t)id, err);
    if (lane->feed)
        rc = bf_consumer_assign(shards->config.consumer, parts, err);
    rd_kafka_topic_partition_list_destroy(parts);
    return rc || !lane->feed ? -1 : 0;
}

static int serve_looks(struct bf_shards *shards, struct bf_err *err)
{
    for (uint32_t i = 0; i < shards->config.shards; i++) {
        struct slot *slot = &shards->slots[i];

        for (size_t which = 0; slot->phase == OPEN && which < BF_INPUT_LANES;
             which++) {
            if (slot->lanes[which].look_at >= 0 && look(shards, i, which, err))
                return -1;
        }
    }
    shards->any_look = false;
    return 0;
}

/* ---- events ---- */

static int serve_event(struct bf_shards *shards,
                       struct bf_consumer_event *event, struct bf_err *err)
{
    int rc;

    bf_log_info("rebalance",
                bf_kv_str("what", event->kind == BF_CONSUMER_ASSIGN ? "assign"
                                                                    : "revoke"),
                bf_kv_bool("lost", event->lost),
                bf_kv_int("shards", event->shards->cnt));
    /* Before the answer: it is the generation in which we own them. */
    send_group(shards);
    rc = event->kind == BF_CONSUMER_ASSIGN
             ? assigned(shards, event->shards, err)
             : revoked(shards, event, err);
    if (event->shards)
        rd_kafka_topic_partition_list_destroy(event->shards);
    return rc;
}

int bf_shards_serve(struct bf_shards *shards, struct bf_err *err)
{
    struct bf_consumer_event event = {0};
    enum bf_consumer_event_kind kind;

    while ((kind = bf_consumer_next(shards->config.consumer, &event, err)) !=
           BF_CONSUMER_NONE) {
        if (kind == BF_CONSUMER_FATAL || serve_event(shards, &event, err))
            return -1;
    }
    for (uint32_t i = 0; i < shards->config.shards; i++) {
        if (read_state(shards, i, err))
            return -1;
    }
    if (shards->any_look && serve_looks(shards, err))
        return -1;
    if (shards->any_reopen && serve_reopens(shards, err))
        return -1;
    return shards->revoking ? serve_revoke(shards, err) : 0;
}

int bf_shards_wait(const struct bf_shards *shards, int max_ms)
{
    int64_t now = bf_mono_ms();
    int64_t wait = max_ms;

    if (shards->any_look)
        return 0;
    if (!shards->revoking && !shards->any_reopen)
        return max_ms;
    for (uint32_t i = 0; i < shards->config.shards; i++) {
        const struct slot *slot = &shards->slots[i];

        if (slot->phase == DRAINING && slot->drain_until_ms - now < wait)
            wait = slot->drain_until_ms - now;
    }
    /* Also to see a lost assignment while we drain. */
    wait = wait > 100 ? 100 : wait;
    return wait > 0 ? (int)wait : 0;
}

/* ---- records ---- */

static void gap_pull(struct slot *slot, uint32_t id, enum bf_lane which,
                     int64_t to, struct bf_pull *ret)
{
    struct lane *lane = &slot->lanes[which];

    *ret = (struct bf_pull){.kind = BF_PULL_GAP,
                            .shard = id,
                            .epoch = slot->epoch,
                            .lane = which,
                            .from = lane->next,
                            .to = to};
    for (int64_t o = lane->next; o < to; o++) {
        /* What was complete may well be gone; above the map, nothing was. */
        if (o >= lane->restored.base + (int64_t)BF_WINDOW) {
            ret->lost += to - o;
            break;
        }
        ret->lost += !bf_ledger_has(&lane->restored, o);
    }
    lane->next = to;
}

/* The log was read up to here; what lies between was not in it. */
static enum bf_pull_kind pull_gap(struct bf_shards *shards, uint32_t id,
                                  enum bf_lane which, int64_t to,
                                  struct bf_pull *ret)
{
    struct slot *slot = &shards->slots[id];
    struct lane *lane = &slot->lanes[which];

    if (lane->next > lane->base && to > lane->base + shards->config.window)
        return BF_PULL_NONE; /* until the base has come so far */
    gap_pull(slot, id, which, to, ret);
    slot->under_way++;
    return BF_PULL_GAP;
}

/* msg is kept in lane->held when it has to wait. */
static enum bf_pull_kind pull_record(struct bf_shards *shards, uint32_t id,
                                     enum bf_lane which,
                                     rd_kafka_message_t *msg,
                                     struct bf_pull *ret)
{
    struct slot *slot = &shards->slots[id];
    struct lane *lane = &slot->lanes[which];

    if (msg->offset > lane->next) {
        lane->held = msg;
        return pull_gap(shards, id, which, msg->offset, ret);
    }
    if (msg->offset >= lane->base + shards->config.window) {
        lane->held = msg;
        return BF_PULL_NONE;
    }
    lane->next = msg->offset + 1;
    *ret = (struct bf_pull){.kind = BF_PULL_RECORD,
                            .shard = id,
                            .epoch = slot->epoch,
                            .lane = which,
                            .msg = msg};
    slot->under_way++;
    return BF_PULL_RECORD;
}

static bool is_unreadable(const rd_kafka_message_t *msg)
{
    return msg->err == RD_KAFKA_RESP_ERR__BAD_COMPRESSION ||
           msg->err == RD_KAFKA_RESP_ERR__BAD_MSG;
}

/* True when msg is to be left, because we have to look at another place. */
static bool skips(struct bf_shards *shards, uint32_t id, struct lane *lane,
                  const rd_kafka_message_t *msg)
{
    if (is_unreadable(msg)) {
        bf_log_error("unreadable", bf_kv_int("shard", id),
                     bf_kv_int("offset", msg->offset),
                     bf_kv_str("error", rd_kafka_message_errstr(msg)));
        lane->look_at =
            bf_skip_unreadable(&lane->skip, lane->next, msg->offset);
    } else {
        lane->look_at = bf_skip_readable(&lane->skip);
    }
    shards->any_look = shards->any_look || lane->look_at >= 0;
    return lane->look_at >= 0;
}

/* The log does not hold what we want to read next. */
static void cut_log(struct bf_shards *shards, uint32_t id,
                    const rd_kafka_message_t *msg)
{
    if (is_unreadable(msg))
        return; /* said, and being tried again */
    bf_log_warn("log_cut", bf_kv_int("shard", id),
                bf_kv_int("offset", msg->offset),
                bf_kv_str("error", rd_kafka_message_errstr(msg)));
    if (msg->err != RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET &&
        msg->err != RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)
        return;
    begin_drain(shards, id);
    shards->slots[id].reopen = true;
    shards->any_reopen = true;
}

/* Nothing to give of this message: an error, an end, one known to be over. */
static bool is_nothing(const struct lane *lane, const rd_kafka_message_t *msg)
{
    if (msg->err)
        return true;
    return msg->offset < lane->next ||
           (msg->offset == lane->next &&
            bf_ledger_has(&lane->restored, msg->offset));
}

static enum bf_pull_kind pull_lane(struct bf_shards *shards, uint32_t id,
                                   enum bf_lane which, struct bf_pull *ret)
{
    struct lane *lane = &shards->slots[id].lanes[which];
    rd_kafka_message_t *msg;

    if (lane->look_at >= 0)
        return BF_PULL_NONE;
    while (
        (msg = lane->held ? bf_take(lane->held) : bf_feed_next(lane->feed))) {
        if (skips(shards, id, lane, msg)) {
            rd_kafka_message_destroy(msg);
            break;
        }
        if (!is_nothing(lane, msg))
            return pull_record(shards, id, which, msg, ret);
        if (msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF &&
            msg->offset > lane->next) {
            lane->held = msg;
            return pull_gap(shards, id, which, msg->offset, ret);
        }
        if (msg->err && msg->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
            cut_log(shards, id, msg);
        else if (!msg->err && msg->offset == lane->next)
            lane->next++;
        rd_kafka_message_destroy(msg);
        if (shards->slots[id].phase != OPEN)
            break;
    }
    return BF_PULL_NONE;
}

/* Where the log starts above the base, what lay between is the first pull. */
static enum bf_pull_kind pull_lost(struct slot *slot, uint32_t id,
                                   enum bf_lane which, struct bf_pull *ret)
{
    struct bf_resume *from = &slot->restored.lanes[which];
    struct lane *lane = &slot->lanes[which];

    if (from->start <= from->meta.base)
        return BF_PULL_NONE;
    lane->next = from->meta.base;
    gap_pull(slot, id, which, from->start, ret);
    from->start = from->meta.base;
    slot->under_way++;
    return BF_PULL_GAP;
}

enum bf_pull_kind bf_shards_pull(struct bf_shards *shards, struct bf_pull *ret)
{
    size_t lanes = (size_t)shards->config.shards * BF_INPUT_LANES;

    for (size_t i = 0; i < lanes; i++) {
        size_t turn = (shards->turn + i) % lanes;
        uint32_t id = (uint32_t)(turn / BF_INPUT_LANES);
        enum bf_lane which = (enum bf_lane)(turn % BF_INPUT_LANES);
        struct slot *slot = &shards->slots[id];

        if (slot->phase != OPEN)
            continue;
        if (pull_lost(slot, id, which, ret) == BF_PULL_NONE &&
            pull_lane(shards, id, which, ret) == BF_PULL_NONE)
            continue;
        shards->turn = (turn + 1) % lanes;
        return ret->kind;
    }
    return BF_PULL_NONE;
}

void bf_shards_done(struct bf_shards *shards, uint32_t shard, uint32_t epoch)
{
    struct slot *slot = &shards->slots[shard];

    if (slot->epoch != epoch)
        return;
    bf_assert(slot->under_way > 0);
    slot->under_way--;
}

/* ---- finished ids ---- */

/* A fold on its way; more and ids belong to it. */
struct fold_item {
    struct bf_item item; /* first */
    struct bf_fold fold;
};

static void free_own(struct bf_item *item)
{
    if (!item->wants_base) {
        bf_fold_release(&((struct fold_item *)item)->fold);
        free(item->more);
    }
    free(item);
}

static int fill_fold(struct fold_item *own)
{
    const struct bf_fold *fold = &own->fold;
    struct bf_entry *entries = calloc(fold->nends + 1, sizeof(*entries));
    size_t n = 0;

    if (!entries)
        return -1;
    for (size_t i = 0; i < fold->nends; i++) {
        if (fold->nids > 0 && fold->ends[i] == fold->segment)
            continue;
        entries[n].kind = BF_ENTRY_FINISHED;
        entries[n].tombstone = true;
        entries[n++].d.segment = fold->ends[i];
    }
    if (fold->nids > 0) {
        entries[n].kind = BF_ENTRY_FINISHED;
        entries[n].d.segment = fold->segment;
        entries[n].d.ids = fold->ids;
        entries[n].d.nids = fold->nids;
        entries[n].d.from_ms = fold->from_ms;
        entries[n++].d.to_ms = fold->to_ms;
    }
    own->item.more = entries;
    own->item.nmore = n;
    return 0;
}

/* Now and then the small segments become one: fewer keys to restore. */
static void fold_finished(struct bf_shards *shards, uint32_t id)
{
    struct slot *slot = &shards->slots[id];
    struct bf_fold fold;
    struct fold_item *own;

    if (slot->folding || slot->phase != OPEN ||
        !bf_finished_fold(bf_shard_finished(slot->state), bf_now_ms(), &fold))
        return;
    own = calloc(1, sizeof(*own));
    if (!own) {
        bf_fold_release(&fold);
        return;
    }
    own->fold = fold;
    own->item.msg.kind = BF_MSG_ITEM;
    own->item.shard = id;
    own->item.epoch = slot->epoch;
    own->item.of_shard = true;
    if (fill_fold(own)) {
        free_own(&own->item);
        return;
    }
    slot->folding = true;
    slot->under_way++;
    bf_committer_put(shards->config.committer, &own->item.msg);
}

bool bf_shards_finished(const struct bf_shards *shards, uint32_t shard,
                        const unsigned char id[BF_FINISHED_ID_SIZE])
{
    return bf_finished_has(bf_shard_finished(shards->slots[shard].state), id);
}

static int fold_answered(struct slot *slot, struct bf_item *item,
                         struct bf_err *err)
{
    slot->folding = false;
    if (item->end != BF_ITEM_COMMITTED)
        return 0;
    bf_log_debug("finished_folded", bf_kv_int("shard", item->shard),
                 bf_kv_int("segments", (int64_t)item->nmore));
    return bf_finished_folded(bf_shard_finished(slot->state),
                              &((struct fold_item *)item)->fold, err);
}

int bf_shards_answered(struct bf_shards *shards, struct bf_item *item,
                       struct bf_err *err)
{
    struct slot *slot = &shards->slots[item->shard];
    int rc = 0;

    if (bf_shards_owns(shards, item->shard, item->epoch)) {
        if (item->of_shard && !item->wants_base)
            rc = fold_answered(slot, item, err);
        else if (bf_item_finishes(item) && item->end == BF_ITEM_COMMITTED)
            rc = bf_finished_add(bf_shard_finished(slot->state), item->segment,
                                 item->finished_id, bf_now_ms(), err);
        if (rc == 0 && bf_item_finishes(item))
            fold_finished(shards, item->shard);
    }
    if (!item->of_shard)
        return rc;
    bf_shards_done(shards, item->shard, item->epoch);
    free_own(item);
    return rc;
}

bool bf_shards_owns(const struct bf_shards *shards, uint32_t shard,
                    uint32_t epoch)
{
    const struct slot *slot = &shards->slots[shard];

    return slot->epoch == epoch &&
           (slot->phase == OPEN || slot->phase == DRAINING);
}

bool bf_shards_draining(const struct bf_shards *shards, uint32_t shard)
{
    return shards->slots[shard].phase == DRAINING;
}

const struct bf_started *bf_shards_started(const struct bf_shards *shards,
                                           uint32_t shard, enum bf_lane lane,
                                           int64_t offset)
{
    return bf_shard_started(shards->slots[shard].state, lane, offset);
}

void bf_shards_count(const struct bf_shards *shards, size_t *ret_open,
                     size_t *ret_stopped)
{
    *ret_open = 0;
    *ret_stopped = 0;
    for (uint32_t i = 0; i < shards->config.shards; i++) {
        *ret_open += shards->slots[i].phase == OPEN;
        *ret_stopped += shards->slots[i].phase == STOPPED;
    }
}
