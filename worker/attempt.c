#include "worker/attempt.h"

#include "config/clock.h"
#include "config/fleet_topics.h"
#include "schemas/check.h"
#include "schemas/err.h"

/* A b entry is at most this often written for a shard that is busy. */
#define BASE_EVERY_MS 5000

void bf_attempt_free(struct bf_attempt *attempt)
{
    if (!attempt)
        return;
    for (size_t i = 0; i < attempt->nentries; i++)
        bf_record_release(&attempt->entries[i]);
    if (attempt->offsets)
        rd_kafka_topic_partition_list_destroy(attempt->offsets);
    free(attempt->entries);
    free(attempt->owners);
    free(attempt->out);
    free(attempt->touched);
    free(attempt->items);
    free(attempt);
}

static struct bf_touched *touch(struct bf_attempt *attempt,
                                const struct bf_commit_shard *shards,
                                const struct bf_item *item)
{
    const struct bf_commit_shard *shard = &shards[item->shard];
    struct bf_touched *t;

    /* Few shards a transaction: a walk beats a map. */
    for (size_t i = 0; i < attempt->ntouched; i++) {
        if (attempt->touched[i].shard == item->shard)
            return &attempt->touched[i];
    }
    bf_assert(shard->open && shard->epoch == item->epoch);
    t = &attempt->touched[attempt->ntouched++];
    *t = (struct bf_touched){
        .shard = item->shard, .epoch = item->epoch, .seq = shard->seq + 1};
    memcpy(t->ledgers, shard->ledgers, sizeof(t->ledgers));
    t->writes_base = bf_mono_ms() - shard->base_written_ms >= BASE_EVERY_MS;
    t->moved[0] = true; /* even where nothing moves: it carries the txn_seq */
    return t;
}

static void mark(struct bf_attempt *attempt,
                 const struct bf_commit_shard *shards,
                 const struct bf_item *item)
{
    struct bf_touched *t = touch(attempt, shards, item);

    t->writes_base = t->writes_base || item->wants_base;
    if (item->from < item->to) {
        bf_ledger_complete(&t->ledgers[item->lane], item->from, item->to);
        t->moved[item->lane] = true;
    }
}

static void add_out(struct bf_attempt *attempt, const struct bf_record *rec,
                    struct bf_item *owner)
{
    attempt->owners[attempt->nout] = owner;
    attempt->out[attempt->nout++] = (struct bf_outgoing){.rec = rec};
}

static int add_entry(struct bf_attempt *attempt, struct bf_entry *entry,
                     uint32_t shard, struct bf_item *owner, struct bf_err *err)
{
    const struct bf_committer_config *config = attempt->config;
    struct bf_record *rec = &attempt->entries[attempt->nentries++];

    bf_record_init(rec, bf_topic_name(config->topics, BF_TOPIC_STATE),
                   (int32_t)shard);
    if (bf_entry_build(entry, config->fleet, bf_now_ms(), rec, err)) {
        err->kind = BF_ERR_FATAL;
        return -1;
    }
    add_out(attempt, rec, owner);
    return 0;
}

static int add_bases(struct bf_attempt *attempt, const struct bf_touched *t,
                     struct bf_err *err)
{
    const struct bf_committer_config *config = attempt->config;

    for (size_t i = 0; i < BF_INPUT_LANES; i++) {
        struct bf_meta meta = {0};
        struct bf_entry entry = {
            .kind = BF_ENTRY_BASE, .lane = (enum bf_lane)i, .seq = t->seq};

        bf_ledger_store(&t->ledgers[i], &meta);
        entry.b.base = meta.base;
        entry.b.map = meta.map;
        entry.b.host = bf_slice_str(config->host);
        entry.b.txn_id = bf_slice_str(config->txn_id);
        entry.b.pid = (uint32_t)getpid();
        entry.b.at_ms = bf_now_ms();
        if (add_entry(attempt, &entry, t->shard, NULL, err))
            return -1;
    }
    return 0;
}

static int add_offset(struct bf_attempt *attempt, const struct bf_touched *t,
                      size_t lane, struct bf_err *err)
{
    const struct bf_committer_config *config = attempt->config;
    struct bf_meta meta = {.txn_seq = t->seq};
    char text[BF_MAX_METADATA];
    rd_kafka_topic_partition_t *part;

    bf_ledger_store(&t->ledgers[lane], &meta);
    snprintf(meta.writer, sizeof(meta.writer), "%s", config->txn_id);
    bf_meta_encode(&meta, text);
    part = rd_kafka_topic_partition_list_add(
        attempt->offsets,
        bf_topic_name(config->topics, bf_lane_topic((enum bf_lane)lane)),
        (int32_t)t->shard);
    part->offset = meta.base;
    part->metadata = strdup(text);
    if (!part->metadata)
        return bf_err_oom(err);
    part->metadata_size = strlen(text);
    return 0;
}

/* One d entry for what the transaction ends in this shard. */
static int add_finished(struct bf_attempt *attempt, const struct bf_touched *t,
                        struct bf_err *err)
{
    struct bf_entry entry = {.kind = BF_ENTRY_FINISHED, .seq = t->seq};
    bf_autofree unsigned char *ids =
        malloc(attempt->nitems * BF_FINISHED_ID_SIZE);

    if (!ids)
        return bf_err_oom(err);
    for (size_t i = 0; i < attempt->nitems; i++) {
        struct bf_item *item = attempt->items[i];

        if (!bf_item_finishes(item) || item->shard != t->shard)
            continue;
        item->segment = t->seq;
        memcpy(ids + entry.d.nids++ * BF_FINISHED_ID_SIZE, item->finished_id,
               BF_FINISHED_ID_SIZE);
    }
    if (entry.d.nids == 0)
        return 0;
    entry.d.segment = t->seq;
    entry.d.ids = ids;
    entry.d.from_ms = bf_now_ms();
    entry.d.to_ms = entry.d.from_ms;
    return add_entry(attempt, &entry, t->shard, NULL, err);
}

static int add_shards(struct bf_attempt *attempt, struct bf_err *err)
{
    for (size_t i = 0; i < attempt->ntouched; i++) {
        struct bf_touched *t = &attempt->touched[i];

        for (size_t lane = 0; lane < BF_INPUT_LANES; lane++) {
            /* All of them with a b entry, so that none looks older than it. */
            t->moved[lane] = t->moved[lane] || t->writes_base;
            if (t->moved[lane] && add_offset(attempt, t, lane, err))
                return -1;
        }
        if ((t->writes_base && add_bases(attempt, t, err)) ||
            add_finished(attempt, t, err))
            return -1;
    }
    return 0;
}

static int add_items_entry(struct bf_attempt *attempt, struct bf_item *item,
                           struct bf_entry *entry, uint64_t seq,
                           struct bf_err *err)
{
    entry->seq = seq;
    return add_entry(attempt, entry, item->shard, item, err);
}

static int add_items(struct bf_attempt *attempt,
                     const struct bf_commit_shard *shards, struct bf_err *err)
{
    for (size_t i = 0; i < attempt->nitems; i++) {
        struct bf_item *item = attempt->items[i];
        uint64_t seq = shards[item->shard].seq + 1;

        mark(attempt, shards, item);
        for (size_t k = 0; k < item->nout; k++)
            add_out(attempt, item->out[k], item);
        if (item->has_entry &&
            add_items_entry(attempt, item, &item->entry, seq, err))
            return -1;
        for (size_t k = 0; k < item->nmore; k++) {
            if (add_items_entry(attempt, item, &item->more[k], seq, err))
                return -1;
        }
    }
    return 0;
}

/* Trees are filled in produce order; an output keeps its first signature. */
struct tree {
    const struct bf_signer *signer;
    struct bf_record *leaves[BF_MAX_TREE];
    size_t n;
};

static int tree_sign(struct tree *tree, struct bf_err *err)
{
    size_t n = tree->n;

    tree->n = 0;
    return n == 0
               ? 0
               : bf_sign_tree(tree->signer, bf_now_ms(), tree->leaves, n, err);
}

static int tree_add(struct tree *tree, struct bf_record *rec,
                    struct bf_err *err)
{
    tree->leaves[tree->n++] = rec;
    return tree->n == BF_MAX_TREE ? tree_sign(tree, err) : 0;
}

static int sign_items(struct bf_attempt *attempt, struct bf_err *err)
{
    struct tree tree = {.signer = attempt->config->result_signer};

    for (size_t i = 0; i < attempt->nitems; i++) {
        struct bf_item *item = attempt->items[i];

        while (item->nsigned < item->nout) {
            if (tree_add(&tree, item->out[item->nsigned++], err))
                return -1;
        }
    }
    return tree_sign(&tree, err);
}

static int sign_entries(struct bf_attempt *attempt, struct bf_err *err)
{
    struct tree tree = {.signer = attempt->config->state_signer};

    for (size_t i = 0; i < attempt->nentries; i++) {
        if (tree_add(&tree, &attempt->entries[i], err))
            return -1;
    }
    return tree_sign(&tree, err);
}

static int allocate(struct bf_attempt *attempt, struct bf_item **items,
                    size_t nitems, struct bf_err *err)
{
    size_t shards = attempt->config->shards;
    size_t touched = nitems < shards ? nitems : shards;
    size_t entries = touched * (BF_INPUT_LANES + 1);
    size_t out;

    for (size_t i = 0; i < nitems; i++)
        entries += items[i]->has_entry + items[i]->nmore;
    out = entries;
    for (size_t i = 0; i < nitems; i++)
        out += items[i]->nout;
    attempt->items = calloc(nitems, sizeof(struct bf_item *));
    attempt->touched = calloc(touched, sizeof(*attempt->touched));
    attempt->entries = calloc(entries, sizeof(*attempt->entries));
    attempt->out = calloc(out, sizeof(*attempt->out));
    attempt->owners = calloc(out, sizeof(struct bf_item *));
    /* Room for one an item would make malloc() tidy up at each free(). */
    attempt->offsets =
        rd_kafka_topic_partition_list_new((int)(touched * BF_INPUT_LANES));
    if (!attempt->items || !attempt->touched || !attempt->entries ||
        !attempt->out || !attempt->owners || !attempt->offsets)
        return bf_err_oom(err);
    memcpy(attempt->items, items, nitems * sizeof(struct bf_item *));
    attempt->nitems = nitems;
    return 0;
}

struct bf_attempt *bf_attempt_new(const struct bf_committer_config *config,
                                  const struct bf_commit_shard *shards,
                                  struct bf_item **items, size_t nitems,
                                  struct bf_err *err)
{
    struct bf_attempt *attempt = calloc(1, sizeof(*attempt));

    bf_assert(nitems > 0);
    if (!attempt) {
        bf_err_oom(err);
        return NULL;
    }
    attempt->config = config;
    if (allocate(attempt, items, nitems, err) ||
        add_items(attempt, shards, err) || add_shards(attempt, err) ||
        sign_items(attempt, err) || sign_entries(attempt, err)) {
        bf_attempt_free(attempt);
        return NULL;
    }
    return attempt;
}

void bf_attempt_apply(const struct bf_attempt *attempt,
                      struct bf_commit_shard *shards)
{
    for (size_t i = 0; i < attempt->ntouched; i++) {
        const struct bf_touched *t = &attempt->touched[i];
        struct bf_commit_shard *shard = &shards[t->shard];

        /* Read back as committed after the shard had moved on. */
        if (!shard->open || shard->epoch != t->epoch)
            continue;
        shard->seq = t->seq;
        memcpy(shard->ledgers, t->ledgers, sizeof(shard->ledgers));
        if (t->writes_base)
            shard->base_written_ms = bf_mono_ms();
    }
}

bool bf_attempt_is(const struct bf_attempt *attempt, const struct bf_touched *t,
                   const struct bf_meta *what)
{
    return what->txn_seq == t->seq &&
           strcmp(what->writer, attempt->config->txn_id) == 0;
}
