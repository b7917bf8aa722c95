#include "dispatcher/exchange.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "dispatcher/closed.h"
#include "dispatcher/loop.h"
#include "schemas/err.h"
#include "schemas/hash.h"

#define MAX_ENDED 65536
#define MAX_ACCEPTED 100000 /* about 50 MB */

struct keys {
    uint64_t items[MAX_ENDED];
    size_t count;
    bool all; /* more than fit */
};

struct bf_exchange {
    int wake_fd;
    struct keys *noted; /* the feed's thread alone */

    pthread_mutex_t lock; /* for all below */
    pthread_cond_t applied_more;
    struct bf_feed_state state;
    struct bf_accepted *first;
    struct bf_accepted **last;
    size_t naccepted;
    uint64_t accepted; /* tickets given */
    uint64_t applied;
    uint64_t turn;
    int waiters;
    struct keys ended;
    struct bf_closed closed;
};

struct bf_exchange *bf_exchange_new(int wake_fd, struct bf_err *err)
{
    struct bf_exchange *exchange = calloc(1, sizeof(*exchange));
    struct keys *noted = calloc(1, sizeof(*noted));
    pthread_condattr_t attr;

    if (!exchange || !noted) {
        free(exchange);
        free(noted);
        bf_err_oom(err);
        return NULL;
    }
    exchange->wake_fd = wake_fd;
    exchange->noted = noted;
    exchange->last = &exchange->first;
    snprintf(exchange->state.why, sizeof(exchange->state.why),
             "the topics have not been looked at yet");
    snprintf(exchange->state.view_why, sizeof(exchange->state.view_why),
             "the view has not been read yet");
    pthread_mutex_init(&exchange->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&exchange->applied_more, &attr);
    pthread_condattr_destroy(&attr);
    return exchange;
}

void bf_exchange_free(struct bf_exchange *exchange)
{
    struct bf_accepted *accepted;

    if (!exchange)
        return;
    for (accepted = exchange->first; accepted; accepted = exchange->first) {
        exchange->first = accepted->next;
        free(accepted);
    }
    bf_closed_release(&exchange->closed);
    pthread_cond_destroy(&exchange->applied_more);
    pthread_mutex_destroy(&exchange->lock);
    free(exchange->noted);
    free(exchange);
}

static void enter(struct bf_exchange *exchange)
{
    pthread_mutex_lock(&exchange->lock);
}

static void leave(struct bf_exchange *exchange)
{
    pthread_mutex_unlock(&exchange->lock);
}

void bf_exchange_state(struct bf_exchange *exchange, struct bf_feed_state *ret)
{
    enter(exchange);
    *ret = exchange->state;
    leave(exchange);
}

/* ---- accepted jobs --------------------------------------------------------*/

/* Labels come last in a row and are mostly short. */
static struct bf_accepted *accepted_new(const struct bf_row *row)
{
    size_t bytes = offsetof(struct bf_row, labels) + strlen(row->labels) + 1;
    struct bf_accepted *accepted = calloc(1, sizeof(*accepted) + bytes);

    if (!accepted)
        return NULL;
    accepted->row_bytes = bytes;
    memcpy(accepted->row, row, bytes);
    return accepted;
}

void bf_accepted_row(const struct bf_accepted *accepted, struct bf_row *ret)
{
    memset(ret, 0, sizeof(*ret));
    memcpy(ret, accepted->row, accepted->row_bytes);
}

void bf_exchange_accepted(struct bf_exchange *exchange, const char *workspace,
                          const char *job, const struct bf_row *row)
{
    struct bf_accepted *accepted =
        exchange->state.viewless ? NULL : accepted_new(row);

    if (!accepted)
        return;
    snprintf(accepted->workspace, sizeof(accepted->workspace), "%s", workspace);
    snprintf(accepted->job, sizeof(accepted->job), "%s", job);
    enter(exchange);
    if (exchange->naccepted < MAX_ACCEPTED) {
        *exchange->last = bf_take(accepted);
        exchange->last = &(*exchange->last)->next;
        exchange->naccepted++;
        exchange->accepted++;
    }
    leave(exchange);
    free(accepted);
}

uint64_t bf_exchange_ticket(struct bf_exchange *exchange)
{
    uint64_t ticket;

    enter(exchange);
    ticket = exchange->accepted;
    leave(exchange);
    return ticket;
}

static struct timespec deadline_in(int timeout_ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += timeout_ms / 1000;
    at.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

void bf_exchange_wait(struct bf_exchange *exchange, uint64_t ticket,
                      int timeout_ms)
{
    struct timespec at = deadline_in(timeout_ms);
    int rc = 0;

    enter(exchange);
    while (exchange->applied < ticket && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&exchange->applied_more, &exchange->lock,
                                    &at);
    leave(exchange);
}

uint64_t bf_exchange_turn(struct bf_exchange *exchange)
{
    uint64_t turn;

    enter(exchange);
    turn = exchange->turn;
    leave(exchange);
    return turn;
}

void bf_exchange_wait_turn(struct bf_exchange *exchange, uint64_t turn,
                           int timeout_ms)
{
    struct timespec at = deadline_in(timeout_ms);
    int rc = 0;

    enter(exchange);
    while (exchange->turn == turn && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&exchange->applied_more, &exchange->lock,
                                    &at);
    leave(exchange);
}

struct bf_accepted *bf_exchange_take(struct bf_exchange *exchange,
                                     uint64_t *ret_ticket)
{
    struct bf_accepted *accepted;

    enter(exchange);
    accepted = exchange->first;
    exchange->first = NULL;
    exchange->last = &exchange->first;
    exchange->naccepted = 0;
    *ret_ticket = exchange->accepted;
    leave(exchange);
    return accepted;
}

void bf_exchange_applied(struct bf_exchange *exchange, uint64_t ticket)
{
    enter(exchange);
    exchange->applied = ticket;
    exchange->turn++;
    pthread_cond_broadcast(&exchange->applied_more);
    leave(exchange);
}

/* ---- ended jobs -----------------------------------------------------------*/

uint64_t bf_exchange_key(const char *workspace, const char *job)
{
    char text[2 * BF_MAX_ID + 2];

    snprintf(text, sizeof(text), "%s/%s", workspace, job);
    return bf_hash64(bf_slice_str(text));
}

void bf_exchange_expect(struct bf_exchange *exchange, int change)
{
    enter(exchange);
    exchange->waiters += change;
    bf_assert(exchange->waiters >= 0);
    if (exchange->waiters == 0)
        exchange->ended.count = 0;
    leave(exchange);
}

static void add_key(struct keys *keys, uint64_t key)
{
    if (keys->count < MAX_ENDED)
        keys->items[keys->count++] = key;
    else
        keys->all = true;
}

void bf_exchange_note_end(struct bf_exchange *exchange,
                          struct bf_slice workspace, struct bf_slice job)
{
    char text[2 * BF_MAX_ID + 2];

    snprintf(text, sizeof(text), "%.*s/%.*s", BF_SLICE_ARG(workspace),
             BF_SLICE_ARG(job));
    add_key(exchange->noted, bf_hash64(bf_slice_str(text)));
}

void bf_exchange_publish(struct bf_exchange *exchange)
{
    struct keys *noted = exchange->noted;
    bool wake = false;

    enter(exchange);
    if (exchange->waiters > 0 && noted->count > 0) {
        for (size_t i = 0; i < noted->count; i++)
            add_key(&exchange->ended, noted->items[i]);
        exchange->ended.all = exchange->ended.all || noted->all;
        wake = true;
    }
    leave(exchange);
    noted->count = 0;
    noted->all = false;
    if (wake)
        bf_wake(exchange->wake_fd);
}

size_t bf_exchange_ended(struct bf_exchange *exchange, uint64_t *ret,
                         size_t max, bool *ret_all)
{
    struct keys *ended = &exchange->ended;
    size_t count;

    enter(exchange);
    count = ended->count < max ? ended->count : max;
    ended->count -= count;
    memcpy(ret, ended->items + ended->count, count * sizeof(*ret));
    *ret_all = ended->all;
    ended->all = false;
    leave(exchange);
    return count;
}

/* ---- batches --------------------------------------------------------------*/

void bf_exchange_set_batch(struct bf_exchange *exchange, const char *workspace,
                           const char *batch, const char *why, int64_t until_ms)
{
    uint64_t key = bf_exchange_key(workspace, batch);

    enter(exchange);
    bf_closed_set(&exchange->closed, key, why, until_ms);
    leave(exchange);
}

const char *bf_exchange_batch_closed(struct bf_exchange *exchange,
                                     const char *workspace, const char *batch,
                                     int64_t now_ms)
{
    uint64_t key = bf_exchange_key(workspace, batch);
    const char *why;

    enter(exchange);
    why = bf_closed_find(&exchange->closed, key, now_ms);
    leave(exchange);
    return why;
}

/* ---- state ----------------------------------------------------------------*/

static bool set_text(char *out, size_t size, const char *text)
{
    bool changed = strncmp(out, text, size - 1) != 0;

    snprintf(out, size, "%s", text);
    return changed;
}

bool bf_exchange_set_shards(struct bf_exchange *exchange, uint32_t shards,
                            const char *why)
{
    struct bf_feed_state *state = &exchange->state;
    bool changed;

    enter(exchange);
    changed = state->shards != shards;
    state->shards = shards;
    changed = set_text(state->why, sizeof(state->why), why) || changed;
    leave(exchange);
    return changed;
}

void bf_exchange_set_viewless(struct bf_exchange *exchange, const char *why)
{
    bf_exchange_set_view(exchange, false, why);
    exchange->state.viewless = true;
}

bool bf_exchange_set_view(struct bf_exchange *exchange, bool caught_up,
                          const char *why)
{
    struct bf_feed_state *state = &exchange->state;
    bool changed;

    enter(exchange);
    changed = state->caught_up != caught_up;
    state->caught_up = caught_up;
    changed =
        set_text(state->view_why, sizeof(state->view_why), why) || changed;
    leave(exchange);
    return changed;
}

void bf_exchange_set_as_of(struct bf_exchange *exchange, int64_t as_of_ms)
{
    enter(exchange);
    exchange->state.as_of_ms = as_of_ms;
    leave(exchange);
}

void bf_exchange_set_broken(struct bf_exchange *exchange, const char *why)
{
    bf_exchange_set_view(exchange, false, why);
    enter(exchange);
    exchange->state.broken = true;
    leave(exchange);
    bf_wake(exchange->wake_fd);
}
