#ifndef BF_DISPATCHER_EXCHANGE_H
#define BF_DISPATCHER_EXCHANGE_H

/*
 * What the loop, the feed's thread and the readers tell each other. Every
 * function may be called from any thread unless it says otherwise.
 */

#include "dispatcher/row.h"

struct bf_err;
struct bf_exchange;

struct bf_feed_state {
    uint32_t shards; /* 0: jobs cannot be accepted, see why */
    char why[256];
    bool viewless;  /* and never will: there is no view here, nor an error */
    bool caught_up; /* false: the view cannot be asked, see view_why */
    char view_why[256];
    int64_t as_of_ms; /* everything that was in Kafka then is in the view */
    bool broken;      /* for good: view_why says what; stop the program */
};

/* wake_fd: borrowed, woken when the loop should look. */
struct bf_exchange *bf_exchange_new(int wake_fd, struct bf_err *err);
void bf_exchange_free(struct bf_exchange *exchange);
BF_DEFINE_CLEANUP(bf_exchange_freep_, struct bf_exchange *, bf_exchange_free)
#define bf_autoexchange bf_cleanup(bf_exchange_freep_)

void bf_exchange_state(struct bf_exchange *exchange, struct bf_feed_state *ret);

/* ---- loop: what it accepted, so that one reads one's own writes -----------*/

/*
 * A job that Kafka has just confirmed. Nothing happens without memory, without
 * a view, or when it is far behind: it will read the job from Kafka.
 */
void bf_exchange_accepted(struct bf_exchange *exchange, const char *workspace,
                          const char *job, const struct bf_row *row);

/* A ticket for everything accepted so far. */
uint64_t bf_exchange_ticket(struct bf_exchange *exchange);

/* Blocks until the view has what the ticket stands for, up to timeout_ms. */
void bf_exchange_wait(struct bf_exchange *exchange, uint64_t ticket,
                      int timeout_ms);

/* How often the view was written; may have been written, after a failure. */
uint64_t bf_exchange_turn(struct bf_exchange *exchange);

/* Blocks until it is another number than turn, up to timeout_ms. */
void bf_exchange_wait_turn(struct bf_exchange *exchange, uint64_t turn,
                           int timeout_ms);

/* ---- batches --------------------------------------------------------------*/

/*
 * The feed: why the batch takes no more jobs (a literal, or NULL), and from
 * when on it will not.
 */
void bf_exchange_set_batch(struct bf_exchange *exchange, const char *workspace,
                           const char *batch, const char *why,
                           int64_t until_ms);

/* Why no job may be added now, as far as is known here; NULL: one may. */
const char *bf_exchange_batch_closed(struct bf_exchange *exchange,
                                     const char *workspace, const char *batch,
                                     int64_t now_ms);

/* ---- loop: jobs whose end somebody waits for ------------------------------*/

uint64_t bf_exchange_key(const char *workspace, const char *job);

/* Somebody waits from now on (1), or not any more (-1). */
void bf_exchange_expect(struct bf_exchange *exchange, int change);

/*
 * Keys of jobs that ended since, up to max; more are left for the next call.
 * *ret_all: too many to remember, any job may have ended.
 */
size_t bf_exchange_ended(struct bf_exchange *exchange, uint64_t *ret,
                         size_t max, bool *ret_all);

/* ---- the feed's thread ----------------------------------------------------*/

struct bf_accepted {
    struct bf_accepted *next;
    char workspace[BF_MAX_ID + 1];
    char job[BF_MAX_ID + 1];
    size_t row_bytes;    /* private */
    unsigned char row[]; /* private: a struct bf_row without its tail */
};
void bf_accepted_row(const struct bf_accepted *accepted, struct bf_row *ret);

/*
 * All that was accepted, the oldest first; the caller frees each. After it is
 * in the view, bf_exchange_applied() with the ticket.
 */
struct bf_accepted *bf_exchange_take(struct bf_exchange *exchange,
                                     uint64_t *ret_ticket);
void bf_exchange_applied(struct bf_exchange *exchange, uint64_t ticket);

/* Collected until bf_exchange_publish(). Cheap when nobody waits. */
void bf_exchange_note_end(struct bf_exchange *exchange,
                          struct bf_slice workspace, struct bf_slice job);

/* After a commit: wakes the loop when jobs ended that somebody waits for. */
void bf_exchange_publish(struct bf_exchange *exchange);

/* Before any other thread is there. */
void bf_exchange_set_viewless(struct bf_exchange *exchange, const char *why);

/* Each true when it is news. */
bool bf_exchange_set_shards(struct bf_exchange *exchange, uint32_t shards,
                            const char *why);
bool bf_exchange_set_view(struct bf_exchange *exchange, bool caught_up,
                          const char *why);
void bf_exchange_set_as_of(struct bf_exchange *exchange, int64_t as_of_ms);
void bf_exchange_set_broken(struct bf_exchange *exchange, const char *why);

#endif
