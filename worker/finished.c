#include "worker/finished.h"

#include "schemas/check.h"
#include "schemas/err.h"

#define ID BF_FINISHED_ID_SIZE

struct segment {
    uint64_t number;
    int64_t to_ms;
    unsigned char *ids;
    size_t nids, cap;
};

struct bf_finished {
    struct segment *segments; /* by number */
    size_t nsegments, cap;
    size_t count; /* ids in all segments */
    /* Open addressing; the zero id, which no hash is, is an empty place. */
    unsigned char *table;
    size_t places; /* a power of two */
    size_t used;
};

struct bf_finished *bf_finished_new(struct bf_err *err)
{
    struct bf_finished *finished = calloc(1, sizeof(*finished));

    if (!finished)
        bf_err_oom(err);
    return finished;
}

void bf_finished_free(struct bf_finished *finished)
{
    if (!finished)
        return;
    for (size_t i = 0; i < finished->nsegments; i++)
        free(finished->segments[i].ids);
    free(finished->segments);
    free(finished->table);
    free(finished);
}

static const unsigned char no_id[ID];

/* The ids are hashes: any eight bytes of one are as good as random. */
static unsigned char *place_of(const struct bf_finished *finished,
                               const unsigned char *id)
{
    uint64_t hash;
    size_t i;

    memcpy(&hash, id, sizeof(hash));
    for (i = hash & (finished->places - 1);;
         i = (i + 1) & (finished->places - 1)) {
        unsigned char *place = finished->table + i * ID;

        if (memcmp(place, id, ID) == 0 || memcmp(place, no_id, ID) == 0)
            return place;
    }
}

static void remember(struct bf_finished *finished, const unsigned char *id)
{
    unsigned char *place = place_of(finished, id);

    finished->used += memcmp(place, no_id, ID) == 0;
    memcpy(place, id, ID);
}

/* Room for so many ids, half empty; also forgets what no segment holds. */
static int rebuild(struct bf_finished *finished, size_t ids, struct bf_err *err)
{
    size_t places = 64;
    unsigned char *table;

    while (places < 2 * ids)
        places *= 2;
    table = calloc(places, ID);
    if (!table)
        return bf_err_oom(err);
    free(finished->table);
    finished->table = table;
    finished->places = places;
    finished->used = 0;
    for (size_t i = 0; i < finished->nsegments; i++) {
        for (size_t k = 0; k < finished->segments[i].nids; k++)
            remember(finished, finished->segments[i].ids + k * ID);
    }
    return 0;
}

static size_t index_of(const struct bf_finished *finished, uint64_t number)
{
    size_t low = 0, high = finished->nsegments;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (finished->segments[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct segment *find(const struct bf_finished *finished, uint64_t number)
{
    size_t i = index_of(finished, number);

    return i < finished->nsegments && finished->segments[i].number == number
               ? &finished->segments[i]
               : NULL;
}

static struct segment *insert(struct bf_finished *finished, uint64_t number,
                              struct bf_err *err)
{
    size_t i = index_of(finished, number);
    struct segment *segments = finished->segments;

    if (finished->nsegments == finished->cap) {
        size_t cap = finished->cap ? finished->cap * 2 : 16;

        segments = realloc(segments, cap * sizeof(*segments));
        if (!segments) {
            bf_err_oom(err);
            return NULL;
        }
        finished->segments = segments;
        finished->cap = cap;
    }
    memmove(segments + i + 1, segments + i,
            (finished->nsegments - i) * sizeof(*segments));
    segments[i] = (struct segment){.number = number};
    finished->nsegments++;
    return &segments[i];
}

static int grow(struct segment *segment, size_t more, struct bf_err *err)
{
    size_t cap = segment->cap ? segment->cap : 4;
    unsigned char *ids;

    while (cap < segment->nids + more)
        cap *= 2;
    if (cap == segment->cap)
        return 0;
    ids = realloc(segment->ids, cap * ID);
    if (!ids)
        return bf_err_oom(err);
    segment->ids = ids;
    segment->cap = cap;
    return 0;
}

static int append(struct bf_finished *finished, uint64_t number,
                  const unsigned char *ids, size_t nids, struct bf_err *err)
{
    struct segment *segment = find(finished, number);

    if (!segment)
        segment = insert(finished, number, err);
    if (!segment || grow(segment, nids, err))
        return -1;
    if (2 * (finished->used + nids) > finished->places &&
        rebuild(finished, 2 * (finished->used + nids), err))
        return -1;
    bf_assert(segment->ids);
    memcpy(segment->ids + segment->nids * ID, ids, nids * ID);
    segment->nids += nids;
    finished->count += nids;
    for (size_t i = 0; i < nids; i++)
        remember(finished, ids + i * ID);
    return 0;
}

static void stamp(struct bf_finished *finished, uint64_t number, int64_t to_ms)
{
    struct segment *segment = find(finished, number);

    if (segment->to_ms < to_ms)
        segment->to_ms = to_ms;
}

int bf_finished_put(struct bf_finished *finished, uint64_t segment,
                    const unsigned char *ids, size_t nids, int64_t to_ms,
                    struct bf_err *err)
{
    bf_finished_end(finished, segment);
    if (append(finished, segment, ids, nids, err))
        return -1;
    stamp(finished, segment, to_ms);
    return 0;
}

int bf_finished_add(struct bf_finished *finished, uint64_t segment,
                    const unsigned char id[BF_FINISHED_ID_SIZE], int64_t to_ms,
                    struct bf_err *err)
{
    if (append(finished, segment, id, 1, err))
        return -1;
    stamp(finished, segment, to_ms);
    return 0;
}

void bf_finished_end(struct bf_finished *finished, uint64_t segment)
{
    struct segment *old = find(finished, segment);
    size_t i;

    if (!old)
        return;
    i = (size_t)(old - finished->segments);
    finished->count -= old->nids;
    free(old->ids);
    memmove(old, old + 1, (finished->nsegments - i - 1) * sizeof(*old));
    finished->nsegments--;
}

bool bf_finished_has(const struct bf_finished *finished,
                     const unsigned char id[BF_FINISHED_ID_SIZE])
{
    return finished->places > 0 && memcmp(place_of(finished, id), id, ID) == 0;
}

size_t bf_finished_count(const struct bf_finished *finished)
{
    return finished->count;
}

void bf_fold_release(struct bf_fold *fold)
{
    free(fold->ids);
    free(fold->ends);
    *fold = (struct bf_fold){.ids = NULL};
}

/* Too old, or one more than we promise to remember: the oldest go first. */
static bool is_over(const struct bf_finished *finished, size_t i, size_t before,
                    int64_t now_ms)
{
    return finished->segments[i].to_ms < now_ms - BF_FINISHED_MS ||
           finished->count - before > BF_FINISHED_MAX;
}

static bool is_small(const struct segment *segment)
{
    return segment->nids < BF_MAX_SEGMENT / 2;
}

/*
 * All but the newest: its ids come one by one, and folding half of it would
 * write over the rest in Kafka.
 */
static size_t settled(const struct bf_finished *finished)
{
    return finished->nsegments > 0 ? finished->nsegments - 1 : 0;
}

static bool is_worth_it(const struct bf_finished *finished, int64_t now_ms)
{
    size_t small = 0;

    for (size_t i = 0; i < settled(finished); i++) {
        if (is_over(finished, i, 0, now_ms))
            return true;
        small += is_small(&finished->segments[i]);
    }
    return small >= BF_FINISHED_SMALL;
}

static void take(struct bf_fold *fold, const struct segment *segment)
{
    fold->ends[fold->nends++] = segment->number;
    memcpy(fold->ids + fold->nids * ID, segment->ids, segment->nids * ID);
    fold->nids += segment->nids;
    fold->segment = segment->number;
    if (fold->from_ms == 0 || segment->to_ms < fold->from_ms)
        fold->from_ms = segment->to_ms;
    if (segment->to_ms > fold->to_ms)
        fold->to_ms = segment->to_ms;
}

bool bf_finished_fold(const struct bf_finished *finished, int64_t now_ms,
                      struct bf_fold *ret)
{
    struct bf_fold fold = {.ids = NULL};
    size_t before = 0;

    if (!is_worth_it(finished, now_ms))
        return false;
    fold.ids = malloc((size_t)BF_MAX_SEGMENT * ID);
    fold.ends = calloc(finished->nsegments, sizeof(*fold.ends));
    if (!fold.ids || !fold.ends) {
        bf_fold_release(&fold);
        return false;
    }
    for (size_t i = 0; i < settled(finished); i++) {
        const struct segment *segment = &finished->segments[i];

        if (is_over(finished, i, before, now_ms)) {
            fold.ends[fold.nends++] = segment->number;
            before += segment->nids;
        } else if (is_small(segment) &&
                   fold.nids + segment->nids <= BF_MAX_SEGMENT) {
            take(&fold, segment);
        }
    }
    *ret = fold;
    return true;
}

int bf_finished_folded(struct bf_finished *finished, const struct bf_fold *fold,
                       struct bf_err *err)
{
    for (size_t i = 0; i < fold->nends; i++)
        bf_finished_end(finished, fold->ends[i]);
    if (fold->nids > 0 && bf_finished_put(finished, fold->segment, fold->ids,
                                          fold->nids, fold->to_ms, err))
        return -1;
    return rebuild(finished, finished->count, err);
}
