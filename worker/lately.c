#include "worker/lately.h"

#include <stdlib.h>
#include <string.h>

#include "schemas/err.h"

#define WAYS 4U

struct place {
    uint64_t hash; /* 0: free */
    int64_t number;
};

struct bf_lately {
    size_t sets;
    struct place places[]; /* WAYS of each set, the latest first */
};

struct bf_lately *bf_lately_new(size_t sets, struct bf_err *err)
{
    struct bf_lately *lately =
        calloc(1, sizeof(*lately) + sets * WAYS * sizeof(struct place));

    bf_assert(sets > 0 && (sets & (sets - 1)) == 0);
    if (!lately) {
        bf_err_oom(err);
        return NULL;
    }
    lately->sets = sets;
    return lately;
}

void bf_lately_free(struct bf_lately *lately)
{
    free(lately);
}

static uint64_t real(uint64_t hash)
{
    return hash ? hash : 1;
}

static struct place *set_of(struct bf_lately *lately, uint64_t hash)
{
    return &lately->places[(hash & (lately->sets - 1)) * WAYS];
}

/* Its place in the set; WAYS: none. */
static size_t way_of(const struct place *set, uint64_t hash)
{
    size_t i = 0;

    while (i < WAYS && set[i].hash != hash)
        i++;
    return i;
}

static void move_to_front(struct place *set, size_t way)
{
    struct place it = set[way];

    memmove(set + 1, set, way * sizeof(*set));
    set[0] = it;
}

int64_t *bf_lately_find(struct bf_lately *lately, uint64_t hash)
{
    struct place *set = set_of(lately, real(hash));
    size_t way = way_of(set, real(hash));

    if (way == WAYS)
        return NULL;
    move_to_front(set, way);
    return &set[0].number;
}

void bf_lately_put(struct bf_lately *lately, uint64_t hash, int64_t number)
{
    struct place *set = set_of(lately, real(hash));
    size_t way = way_of(set, real(hash));

    /* The last one is forgotten. */
    move_to_front(set, way < WAYS ? way : WAYS - 1);
    set[0] = (struct place){real(hash), number};
}

void bf_lately_forget(struct bf_lately *lately, uint64_t hash)
{
    struct place *set = set_of(lately, real(hash));
    size_t way = way_of(set, real(hash));

    if (way < WAYS)
        set[way] = (struct place){0};
}
