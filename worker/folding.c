#include "worker/folding.h"

#include "schemas/check.h"

struct folding {
    struct bf_item item; /* first; its more is ours */
    struct bf_fold fold;
};

static size_t put_ends(const struct bf_fold *fold, struct bf_entry *entries)
{
    size_t n = 0;

    for (size_t i = 0; i < fold->nends; i++) {
        if (fold->nids > 0 && fold->ends[i] == fold->segment)
            continue;
        entries[n].kind = BF_ENTRY_FINISHED;
        entries[n].tombstone = true;
        entries[n++].d.segment = fold->ends[i];
    }
    return n;
}

static int fill(struct folding *folding)
{
    const struct bf_fold *fold = &folding->fold;
    struct bf_entry *entries = calloc(fold->nends + 1, sizeof(*entries));
    size_t n;

    if (!entries)
        return -1;
    n = put_ends(fold, entries);
    if (fold->nids > 0) {
        entries[n].kind = BF_ENTRY_FINISHED;
        entries[n].d.segment = fold->segment;
        entries[n].d.ids = fold->ids;
        entries[n].d.nids = fold->nids;
        entries[n].d.from_ms = fold->from_ms;
        entries[n++].d.to_ms = fold->to_ms;
    }
    folding->item.more = entries;
    folding->item.nmore = n;
    return 0;
}

struct bf_item *bf_folding_new(const struct bf_finished *finished,
                               int64_t now_ms)
{
    struct bf_fold fold;
    struct folding *folding;

    if (!bf_finished_fold(finished, now_ms, &fold))
        return NULL;
    folding = calloc(1, sizeof(*folding));
    if (!folding) {
        bf_fold_release(&fold);
        return NULL;
    }
    folding->fold = fold;
    folding->item.msg.kind = BF_MSG_ITEM;
    folding->item.of_shard = true;
    if (fill(folding)) {
        bf_folding_free(&folding->item);
        return NULL;
    }
    return &folding->item;
}

void bf_folding_free(struct bf_item *item)
{
    struct folding *folding = (struct folding *)item;

    if (!folding)
        return;
    bf_fold_release(&folding->fold);
    free(folding->item.more);
    free(folding);
}

int bf_folding_done(const struct bf_item *item, struct bf_finished *finished,
                    struct bf_err *err)
{
    return bf_finished_folded(finished, &((const struct folding *)item)->fold,
                              err);
}
