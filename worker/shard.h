#ifndef BF_WORKER_SHARD_H
#define BF_WORKER_SHARD_H

/*
 * The state of one shard as bf.state tells it: its bases, the runs that were
 * started and not ended, the ids that are finished. Pure: entries in, answers
 * out. Loop thread.
 */

#include "schemas/resume.h"
#include "worker/finished.h"

struct bf_shard;

/* A run that a worker committed to begin. */
struct bf_started {
    enum bf_lane lane;
    int64_t offset;
    unsigned char id[BF_FINISHED_ID_SIZE]; /* of which job: bf_finished_id() */
    uint32_t attempt;
    char run_id[BF_HEX128_SIZE]; /* empty when the entry names none */
};

struct bf_shard *bf_shard_new(struct bf_err *err);
void bf_shard_free(struct bf_shard *shard);
BF_DEFINE_CLEANUP(bf_shard_freep_, struct bf_shard *, bf_shard_free)
#define bf_autoshard bf_cleanup(bf_shard_freep_)

/*
 * The next record of the changelog. Kinds that this version does not act on
 * are kept in Kafka and ignored here. REJECT "state_went_back": a later entry
 * of the same key with a lower txn_seq.
 */
int bf_shard_apply(struct bf_shard *shard, const struct bf_entry *entry,
                   struct bf_err *err);

/* The lane's newest b entry; borrowed until the next apply. */
const struct bf_resume_base *bf_shard_base(const struct bf_shard *shard,
                                           enum bf_lane lane);

/* The started run of a job record, or NULL. */
const struct bf_started *bf_shard_started(const struct bf_shard *shard,
                                          enum bf_lane lane, int64_t offset);

/* Its end is committed. No error when there is none. */
void bf_shard_run_ended(struct bf_shard *shard, enum bf_lane lane,
                        int64_t offset);

/* A started run of this job, wherever its record stands, or NULL. */
const struct bf_started *
bf_shard_started_of(const struct bf_shard *shard,
                    const unsigned char id[BF_FINISHED_ID_SIZE]);

/* Runs that are started. */
size_t bf_shard_count(const struct bf_shard *shard);

/* Borrowed; what is committed later is put into it by the caller. */
struct bf_finished *bf_shard_finished(const struct bf_shard *shard);

/* The highest txn_seq of any entry. */
uint64_t bf_shard_seq(const struct bf_shard *shard);

#endif
