#include "schemas/resume.h"

void bf_resume_facts_take(struct bf_resume_facts *facts, int64_t offset,
                          struct bf_slice metadata)
{
    bf_commit_id(offset, metadata, facts->commit_id);
    facts->committed = false;
    facts->corrupt = false;
    facts->offset = offset;
    if (offset < 0)
        return;
    if (bf_meta_decode(metadata, &facts->meta, &facts->problem) == 0) {
        if (facts->meta.base == offset) {
            facts->committed = true;
            return;
        }
        bf_err_set(&facts->problem, BF_ERR_REJECT, "bad_metadata",
                   "offset %lld is committed with metadata of base %lld",
                   (long long)offset, (long long)facts->meta.base);
    }
    facts->corrupt = true;
}

int bf_resume_base_take(struct bf_resume_base *base,
                        const struct bf_entry *entry, struct bf_err *err)
{
    if (base->known && entry->seq < base->meta.txn_seq)
        return bf_err_set(err, BF_ERR_REJECT, "state_went_back",
                          "an entry of txn_seq %llu follows one of %llu",
                          (unsigned long long)entry->seq,
                          (unsigned long long)base->meta.txn_seq);
    *base = (struct bf_resume_base){.known = !entry->tombstone};
    base->meta.txn_seq = entry->seq;
    if (entry->tombstone)
        return 0;
    base->meta.base = entry->b.base;
    if (entry->b.map)
        memcpy(base->meta.map, entry->b.map, sizeof(base->meta.map));
    snprintf(base->meta.writer, sizeof(base->meta.writer), "%.*s",
             BF_SLICE_ARG(entry->b.txn_id));
    snprintf(base->confirmed, sizeof(base->confirmed), "%.*s",
             BF_SLICE_ARG(entry->b.confirmed));
    return 0;
}

/*
 * A confirmation is of what the operator saw, and of nothing else: when a
 * worker has committed since, it is over.
 */
static bool is_confirmed(const struct bf_resume_facts *facts,
                         const struct bf_resume_base *base)
{
    if (!base->confirmed[0] || strcmp(base->confirmed, facts->commit_id) != 0)
        return false;
    return !facts->committed || facts->meta.txn_seq < base->meta.txn_seq;
}

static int check(const struct bf_resume_facts *facts,
                 const struct bf_resume_base *base, enum bf_lane lane,
                 struct bf_err *err)
{
    if (facts->corrupt)
        return bf_err_set(err, BF_ERR_REJECT, "corrupt_metadata", "lane %s: %s",
                          bf_lane_name(lane), facts->problem.msg);
    if (facts->committed && facts->meta.txn_seq < base->meta.txn_seq)
        return bf_err_set(err, BF_ERR_REJECT, "older_than_base",
                          "lane %s: committed txn_seq %llu is older than the "
                          "b entry's %llu",
                          bf_lane_name(lane),
                          (unsigned long long)facts->meta.txn_seq,
                          (unsigned long long)base->meta.txn_seq);
    return 0;
}

int bf_resume(const struct bf_resume_facts *facts,
              const struct bf_resume_base *base, enum bf_lane lane,
              struct bf_resume *ret, struct bf_err *err)
{
    struct bf_resume resume = {.confirmed = is_confirmed(facts, base)};
    bool by_base = resume.confirmed || !facts->committed;

    if (!base->known)
        return bf_err_set(err, BF_ERR_REJECT, "no_base",
                          "lane %s: bf.state has no b entry; was `blockfleet "
                          "topics init` run, or was the topic emptied?",
                          bf_lane_name(lane));
    if (!resume.confirmed && check(facts, base, lane, err))
        return -1;
    resume.meta = by_base ? base->meta : facts->meta;
    resume.from_base = by_base && !resume.confirmed && base->meta.txn_seq > 0;
    if (resume.meta.base > facts->high)
        return bf_err_set(err, BF_ERR_REJECT, "ahead_of_log",
                          "lane %s: base %lld is above the log's end %lld",
                          bf_lane_name(lane), (long long)resume.meta.base,
                          (long long)facts->high);
    resume.start =
        resume.meta.base < facts->low ? facts->low : resume.meta.base;
    resume.lost =
        bf_meta_incomplete(&resume.meta, resume.meta.base, resume.start);
    *ret = resume;
    return 0;
}
