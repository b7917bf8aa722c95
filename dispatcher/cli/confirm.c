#include "dispatcher/cli/confirm.h"

#include "schemas/err.h"

/* More transactions than a shard can make between two b entries. */
#define UNREAD_TRANSACTIONS 1000000

static const char *const words[] = {
    [BF_CONFIRM_BASE] = "base",
    [BF_CONFIRM_COMMITTED] = "committed",
    [BF_CONFIRM_EARLIEST] = "earliest",
    [BF_CONFIRM_LATEST] = "latest",
};

int bf_confirm_parse(const char *word, struct bf_confirm_want *ret,
                     struct bf_err *err)
{
    struct bf_confirm_want want = {.from = BF_CONFIRM_OFFSET};
    uint64_t offset;

    for (size_t i = 0; i < bf_countof(words); i++) {
        if (strcmp(word, words[i]) == 0) {
            ret->from = (enum bf_confirm_from)i;
            return 0;
        }
    }
    if (bf_slice_u64(bf_slice_str(word), INT64_MAX, &offset))
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "--from '%.40s' is neither base, committed, "
                          "earliest, latest nor an offset",
                          word);
    want.offset = (int64_t)offset;
    *ret = want;
    return 0;
}

static int refuse(const struct bf_lane_seen *seen, const char *what,
                  struct bf_err *err)
{
    return bf_err_set(err, BF_ERR_REJECT, "refused", "shard %u, lane %s: %s",
                      seen->shard, bf_lane_name(seen->lane), what);
}

/* Has it ended, as far as anybody can tell? */
static bool has_ended(const struct bf_lane_seen *seen, int64_t offset)
{
    const struct bf_resume_facts *facts = &seen->facts;
    const struct bf_resume_base *base = &seen->base->base;

    if (facts->committed && bf_meta_has(&facts->meta, offset))
        return true;
    if (facts->corrupt && offset < facts->offset)
        return true;
    return base->known && bf_meta_has(&base->meta, offset);
}

/* All below offset, and what b says of the rest. */
static void merge(const struct bf_lane_seen *seen, int64_t offset,
                  struct bf_meta *ret)
{
    const struct bf_resume_base *base = &seen->base->base;

    ret->base = offset;
    if (!base->known)
        return;
    if (base->meta.base > offset)
        ret->base = base->meta.base;
    while (bf_meta_has(&base->meta, ret->base))
        ret->base++;
    for (int64_t bit = 1; bit < (int64_t)BF_WINDOW; bit++) {
        if (bf_meta_has(&base->meta, ret->base + bit))
            ret->map[bit / 8] |= (unsigned char)(1U << (bit % 8));
    }
}

static int start_at(const struct bf_lane_seen *seen,
                    const struct bf_confirm_want *want, struct bf_meta *ret,
                    struct bf_err *err)
{
    const struct bf_resume_facts *facts = &seen->facts;

    switch (want->from) {
    case BF_CONFIRM_BASE:
        if (!seen->base->base.known)
            return refuse(seen, "the state has no b entry to start from", err);
        *ret = seen->base->base.meta;
        break;
    case BF_CONFIRM_COMMITTED:
        if (facts->committed)
            *ret = facts->meta;
        else if (facts->corrupt)
            merge(seen, facts->offset, ret);
        else
            return refuse(seen, "nothing is committed", err);
        break;
    case BF_CONFIRM_EARLIEST:
        ret->base = facts->low;
        break;
    case BF_CONFIRM_LATEST:
        ret->base = facts->high;
        break;
    case BF_CONFIRM_OFFSET:
        if (want->offset < facts->low || want->offset > facts->high)
            return bf_err_set(err, BF_ERR_REJECT, "refused",
                              "shard %u, lane %s: the log holds %lld to %lld, "
                              "not %lld",
                              seen->shard, bf_lane_name(seen->lane),
                              (long long)facts->low, (long long)facts->high,
                              (long long)want->offset);
        ret->base = want->offset;
        break;
    }
    return 0;
}

static int number(const struct bf_lane_seen *seen, uint64_t state_seq,
                  struct bf_meta *ret, struct bf_err *err)
{
    const struct bf_resume_facts *facts = &seen->facts;
    uint64_t seq = state_seq;

    if (facts->committed && facts->meta.txn_seq > seq)
        seq = facts->meta.txn_seq;
    if (seq > (uint64_t)INT64_MAX - UNREAD_TRANSACTIONS - 1)
        return refuse(seen, "no txn_seq is left above what is there", err);
    ret->txn_seq = seq + 1 + (facts->corrupt ? UNREAD_TRANSACTIONS : 0);
    return 0;
}

static void count(const struct bf_lane_seen *seen, struct bf_confirm *plan)
{
    for (int64_t at = seen->facts.low; at < seen->facts.high; at++) {
        bool ended = has_ended(seen, at);
        bool left_out = bf_meta_has(&plan->meta, at);

        plan->todo += !ended && !left_out;
        plan->again += ended && !left_out;
        plan->skipped += !ended && left_out;
    }
    plan->unsure = seen->facts.corrupt;
}

/* A worker, when the entry is there, must agree. */
static int check(const struct bf_lane_seen *seen, struct bf_confirm *plan,
                 struct bf_err *err)
{
    struct bf_resume_base base = {.known = true, .meta = plan->meta};

    memcpy(base.confirmed, seen->facts.commit_id, sizeof(base.confirmed));
    if (bf_resume(&seen->facts, &base, seen->lane, &plan->resume, err) == 0)
        return 0;
    err->code = "refused";
    return bf_err_prefix(err, "shard %u", seen->shard);
}

int bf_confirm_plan(const struct bf_lane_seen *seen,
                    const struct bf_confirm_want *want, uint64_t state_seq,
                    struct bf_confirm *ret, struct bf_err *err)
{
    struct bf_confirm plan = {.todo = 0};

    if (start_at(seen, want, &plan.meta, err) ||
        number(seen, state_seq, &plan.meta, err) || check(seen, &plan, err))
        return -1;
    count(seen, &plan);
    *ret = plan;
    return 0;
}
