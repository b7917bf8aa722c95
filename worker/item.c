#include "worker/item.h"

#include "schemas/check.h"
#include "schemas/err.h"

static int make_room(struct bf_item *item, struct bf_err *err)
{
    struct bf_record **grown;

    if (item->nout < bf_countof(item->few)) {
        item->out = item->few;
        return 0;
    }
    grown =
        reallocarray(item->many, item->nout + 1, sizeof(struct bf_record *));
    if (!grown)
        return bf_err_oom(err);
    if (!item->many)
        memcpy(grown, item->few, sizeof(item->few));
    item->out = item->many = grown;
    return 0;
}

struct bf_record *bf_item_add(struct bf_item *item, const char *topic,
                              struct bf_err *err)
{
    struct bf_record *rec = malloc(sizeof(*rec));

    bf_assert(item->nout < BF_ITEM_OUTPUTS);
    if (!rec || make_room(item, err)) {
        free(rec);
        bf_err_oom(err);
        return NULL;
    }
    bf_record_init(rec, topic, (int32_t)item->shard);
    item->out[item->nout++] = rec;
    return rec;
}

void bf_item_drop(struct bf_item *item)
{
    for (size_t i = 0; i < item->nout; i++) {
        bf_record_release(item->out[i]);
        free(bf_take(item->out[i]));
    }
    free(bf_take(item->many));
    item->nout = 0;
    item->nsigned = 0;
    item->bytes = 0;
}
