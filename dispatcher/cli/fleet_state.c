#include "dispatcher/cli/fleet_state.h"

#include <stdio.h>

#include "config/clock.h"
#include "config/keys.h"
#include "dispatcher/cli/log_read.h"
#include "schemas/err.h"

BF_DEFINE_CLEANUP(verifier_freep, struct bf_verifier *, bf_verifier_free)

/* One reading of the topic. */
struct reading {
    struct bf_fleet_state *state;
    struct bf_verifier *verifier;
    int64_t now_ms;
};

const struct bf_base_seen *
bf_fleet_state_base(const struct bf_fleet_state *state, uint32_t shard,
                    enum bf_lane lane)
{
    bf_assert(shard < state->shards && lane < BF_LANES);
    return &state->bases[shard * BF_LANES + lane];
}

void bf_fleet_state_release(struct bf_fleet_state *state)
{
    free(state->bases);
    free(state->each);
    state->bases = NULL;
    state->each = NULL;
}

/* The lane when key is "b/<lane>", else -1. */
static int base_lane(struct bf_slice key)
{
    if (key.len < 2 || memcmp(key.ptr, "b/", 2) != 0)
        return -1;
    return bf_lane_parse((struct bf_slice){key.ptr + 2, key.len - 2});
}

static void take_fleet(struct reading *reading, const struct bf_record *rec,
                       bool trusted, struct bf_err *why)
{
    struct bf_fleet_state *state = reading->state;

    if (trusted && bf_fleet_parse(rec, &state->fleet, why) == 0) {
        state->fleet_seen = BF_SEEN_TRUSTED;
        return;
    }
    if (state->fleet_seen == BF_SEEN_TRUSTED)
        return;
    state->fleet_seen = BF_SEEN_UNTRUSTED;
    snprintf(state->fleet_why, sizeof(state->fleet_why), "%.*s",
             BF_WHY_SIZE - 1, why->msg);
}

static void take_base(struct bf_base_seen *seen, const struct bf_entry *entry)
{
    if (bf_resume_base_take(&seen->base, entry, NULL) || entry->tombstone) {
        seen->seen = seen->base.known ? BF_SEEN_TRUSTED : BF_SEEN_NOT;
        return;
    }
    seen->seen = BF_SEEN_TRUSTED;
    seen->at_ms = entry->b.at_ms;
    seen->pid = entry->b.pid;
    snprintf(seen->host, sizeof(seen->host), "%.*s",
             BF_SLICE_ARG(entry->b.host));
}

/* The log is compacted: it is this record that will be left. */
static void take_untrusted(struct bf_base_seen *seen, const struct bf_err *why)
{
    seen->seen = BF_SEEN_UNTRUSTED;
    snprintf(seen->why, sizeof(seen->why), "%.*s", BF_WHY_SIZE - 1, why->msg);
}

/* As a worker takes it that restores the shard. base NULL: no b entry. */
static void take_entry(struct bf_shard_seen *seen, struct bf_base_seen *base,
                       const struct bf_record *rec)
{
    bf_autoentry struct bf_entry entry = {0};
    struct bf_err why = {0};

    if (bf_entry_parse(rec, &entry, &why) == 0) {
        if (entry.seq > seen->seq)
            seen->seq = entry.seq;
        if (base)
            take_base(base, &entry);
        return;
    }
    snprintf(seen->odd, sizeof(seen->odd), "entry %.*s: %.*s",
             rec->key.len < 60 ? (int)rec->key.len : 60, rec->key.ptr,
             BF_WHY_SIZE - 80, why.msg);
    if (base)
        take_untrusted(base, &why);
}

static int take(void *arg, const struct bf_record *rec,
                const struct bf_err *bad, struct bf_err *err)
{
    struct reading *reading = arg;
    struct bf_fleet_state *state = reading->state;
    struct bf_err why = bad ? *bad : (struct bf_err){0};
    bool trusted = !bad && bf_verify(reading->verifier, BF_PURPOSE_STATE, rec,
                                     (struct bf_slice){NULL, 0},
                                     reading->now_ms, &why) == 0;
    uint32_t shard = (uint32_t)rec->partition;
    int lane = base_lane(rec->key);
    struct bf_base_seen *base = NULL;

    (void)err; /* what is wrong with a record is in the state */
    state->records++;
    if (!trusted)
        state->untrusted++;
    if (lane >= 0 && shard < state->shards)
        base = &state->bases[shard * BF_LANES + (uint32_t)lane];
    if (bf_fleet_is(rec))
        take_fleet(reading, rec, trusted, &why);
    else if (shard < state->shards && trusted)
        take_entry(&state->each[shard], base, rec);
    else if (base)
        take_untrusted(base, &why);
    return 0;
}

int bf_fleet_state_read(struct bf_kafka *kafka, const char *topic,
                        uint32_t shards, struct bf_keyring *ring,
                        struct bf_fleet_state *ret, struct bf_err *err)
{
    bf_autofleetstate struct bf_fleet_state state = {
        .shards = shards,
        .bases = calloc((size_t)shards * BF_LANES, sizeof(*state.bases)),
        .each = calloc(shards, sizeof(*state.each)),
    };
    bf_cleanup(verifier_freep) struct bf_verifier *verifier =
        bf_verifier_new(bf_keyring_find_key, ring, err);
    struct reading reading = {&state, verifier, bf_now_ms()};
    const struct bf_log_range range = {
        .topic = topic,
        .partitions = shards,
        .partition = -1,
        .offset = -1,
        .from_ms = -1,
    };

    if (!verifier)
        return -1;
    if (!state.bases || !state.each)
        return bf_err_oom(err);
    if (bf_log_read(kafka, &range, take, &reading, err))
        return -1;
    *ret = state;
    state.bases = NULL;
    state.each = NULL;
    return 0;
}
