#ifndef BF_WORKER_FINISHED_H
#define BF_WORKER_FINISHED_H

/*
 * The ids of the jobs that a shard has ended, for as long as a copy of one
 * must not run again: in segments, as they stand in bf.state (d entries). A
 * transaction writes one small segment; now and then the small ones are folded
 * into a large one. At most BF_FINISHED_MAX ids, and BF_FINISHED_MS old: both
 * are the promise, design.md §4.8. Pure. Loop thread.
 */

#include "schemas/ids.h"
#include "schemas/limits.h"

struct bf_err;
struct bf_finished;

#define BF_FINISHED_MAX 262144U
#define BF_FINISHED_MS 86400000
#define BF_FINISHED_SMALL 64 /* so many small segments are worth a fold */

struct bf_finished *bf_finished_new(struct bf_err *err);
void bf_finished_free(struct bf_finished *finished);
BF_DEFINE_CLEANUP(bf_finished_freep_, struct bf_finished *, bf_finished_free)
#define bf_autofinished bf_cleanup(bf_finished_freep_)

/* A segment as written, replacing what had its number. ids are copied. */
int bf_finished_put(struct bf_finished *finished, uint64_t segment,
                    const unsigned char *ids, size_t nids, int64_t to_ms,
                    struct bf_err *err);

/* One more id of a segment that was just written. */
int bf_finished_add(struct bf_finished *finished, uint64_t segment,
                    const unsigned char id[BF_FINISHED_ID_SIZE], int64_t to_ms,
                    struct bf_err *err);

/* A tombstone; an unknown segment is no error. */
void bf_finished_end(struct bf_finished *finished, uint64_t segment);

bool bf_finished_has(const struct bf_finished *finished,
                     const unsigned char id[BF_FINISHED_ID_SIZE]);
size_t bf_finished_count(const struct bf_finished *finished);

/* Segments to end, and one to write in their place. Owned by the caller. */
struct bf_fold {
    uint64_t segment; /* gets ids; 0 ids: only ends */
    unsigned char *ids;
    size_t nids;
    int64_t from_ms, to_ms;
    uint64_t *ends;
    size_t nends;
};
void bf_fold_release(struct bf_fold *fold);

/*
 * What is worth folding now: true when *ret is filled. Leaves the newest
 * segment alone, which may still grow. Nothing changes here
 * until bf_finished_folded() says that it is committed.
 */
bool bf_finished_fold(const struct bf_finished *finished, int64_t now_ms,
                      struct bf_fold *ret);
int bf_finished_folded(struct bf_finished *finished, const struct bf_fold *fold,
                       struct bf_err *err);

#endif
