#include "worker/shard.h"

#include <search.h>

#include "schemas/check.h"
#include "schemas/err.h"

/* A node of the tree; ended ones stay, so that seq cannot go back. */
struct node {
    struct bf_started started; /* first: the key */
    uint64_t seq;
    bool ended;
};

struct bf_shard {
    void *runs; /* tsearch tree of struct node */
    size_t live;
    struct bf_finished *finished;
    uint64_t seq;
    struct bf_resume_base bases[BF_LANES];
};

static int compare(const void *a, const void *b)
{
    const struct bf_started *x = a;
    const struct bf_started *y = b;

    if (x->lane != y->lane)
        return x->lane < y->lane ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

struct bf_shard *bf_shard_new(struct bf_err *err)
{
    struct bf_shard *shard = calloc(1, sizeof(*shard));

    if (!shard) {
        bf_err_oom(err);
        return NULL;
    }
    shard->finished = bf_finished_new(err);
    if (!shard->finished) {
        free(shard);
        return NULL;
    }
    return shard;
}

void bf_shard_free(struct bf_shard *shard)
{
    if (!shard)
        return;
    tdestroy(shard->runs, free);
    bf_finished_free(shard->finished);
    free(shard);
}

static int went_back(const struct bf_entry *entry, uint64_t seq,
                     struct bf_err *err)
{
    return bf_err_set(err, BF_ERR_REJECT, "state_went_back",
                      "an entry of txn_seq %llu follows one of %llu",
                      (unsigned long long)entry->seq, (unsigned long long)seq);
}

static struct node *node_of(struct bf_shard *shard,
                            const struct bf_entry *entry, struct bf_err *err)
{
    struct node *fresh = calloc(1, sizeof(*fresh));
    struct node **at;

    if (!fresh) {
        bf_err_oom(err);
        return NULL;
    }
    fresh->started.lane = entry->lane;
    fresh->started.offset = entry->offset;
    fresh->ended = true;
    at = tsearch(fresh, &shard->runs, compare);
    if (!at || *at != fresh)
        free(fresh);
    if (!at)
        bf_err_oom(err);
    return at ? *at : NULL;
}

static int apply_run(struct bf_shard *shard, const struct bf_entry *entry,
                     struct bf_err *err)
{
    struct node *node = node_of(shard, entry, err);

    if (!node)
        return -1;
    if (entry->seq < node->seq)
        return went_back(entry, node->seq, err);
    node->seq = entry->seq;
    shard->live -= !node->ended;
    node->ended = entry->tombstone || entry->r.state == BF_RUN_PARKED;
    shard->live += !node->ended;
    if (node->ended)
        return 0;
    bf_finished_id(entry->workspace, entry->job, entry->r.generation,
                   node->started.id);
    node->started.attempt = entry->r.attempt;
    snprintf(node->started.run_id, sizeof(node->started.run_id), "%.*s",
             BF_SLICE_ARG(entry->r.run_id));
    return 0;
}

static int apply_finished(struct bf_shard *shard, const struct bf_entry *entry,
                          struct bf_err *err)
{
    if (!entry->tombstone)
        return bf_finished_put(shard->finished, entry->d.segment, entry->d.ids,
                               entry->d.nids, entry->d.to_ms, err);
    bf_finished_end(shard->finished, entry->d.segment);
    return 0;
}

int bf_shard_apply(struct bf_shard *shard, const struct bf_entry *entry,
                   struct bf_err *err)
{
    if (entry->seq > shard->seq)
        shard->seq = entry->seq;
    switch (entry->kind) {
    case BF_ENTRY_BASE:
        return bf_resume_base_take(&shard->bases[entry->lane], entry, err);
    case BF_ENTRY_RUN:
        return apply_run(shard, entry, err);
    case BF_ENTRY_FINISHED:
        return apply_finished(shard, entry, err);
    case BF_ENTRY_RANGE:
    case BF_ENTRY_CANCEL:
        return 0;
    }
    return 0;
}

const struct bf_resume_base *bf_shard_base(const struct bf_shard *shard,
                                           enum bf_lane lane)
{
    return &shard->bases[lane];
}

static struct node *find(const struct bf_shard *shard, enum bf_lane lane,
                         int64_t offset)
{
    struct node key = {.started = {.lane = lane, .offset = offset}};
    struct node **at = tfind(&key, &shard->runs, compare);

    return at && !(*at)->ended ? *at : NULL;
}

const struct bf_started *bf_shard_started(const struct bf_shard *shard,
                                          enum bf_lane lane, int64_t offset)
{
    const struct node *node = find(shard, lane, offset);

    return node ? &node->started : NULL;
}

void bf_shard_run_ended(struct bf_shard *shard, enum bf_lane lane,
                        int64_t offset)
{
    struct node *node = find(shard, lane, offset);

    if (!node)
        return;
    node->ended = true;
    shard->live--;
}

struct search {
    const unsigned char *id;
    const struct bf_started *found;
};

static void look_at(const void *at, VISIT order, void *arg)
{
    const struct node *node = *(struct node *const *)at;
    struct search *search = arg;

    if ((order == preorder || order == leaf) && !node->ended &&
        memcmp(node->started.id, search->id, BF_FINISHED_ID_SIZE) == 0)
        search->found = &node->started;
}

/* Some there are after a worker's death only, until what it left has ended. */
const struct bf_started *
bf_shard_started_of(const struct bf_shard *shard,
                    const unsigned char id[BF_FINISHED_ID_SIZE])
{
    struct search search = {.id = id};

    if (shard->live > 0)
        twalk_r(shard->runs, look_at, &search);
    return search.found;
}

size_t bf_shard_count(const struct bf_shard *shard)
{
    return shard->live;
}

struct bf_finished *bf_shard_finished(const struct bf_shard *shard)
{
    return shard->finished;
}

uint64_t bf_shard_seq(const struct bf_shard *shard)
{
    return shard->seq;
}
