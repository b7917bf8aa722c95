#include "dispatcher/rate.h"

#include <stdio.h>

#include "schemas/err.h"
#include "schemas/hash.h"
#include "schemas/limits.h"

#define CHAINS 4096U
#define SECOND_US 1000000
/* Of one job: no arithmetic overflows, and nobody waits for a year. */
#define MAX_COST_US (INT64_C(3600) * SECOND_US)

/* When everything that was charged is paid for. */
struct bucket {
    struct bucket *next;
    int64_t jobs_us;
    int64_t bytes_us;
    char workspace[BF_MAX_ID + 1];
};

struct bf_rate {
    struct bf_rate_conf conf;
    struct bucket *chains[CHAINS];
    size_t count;
    struct bucket others;
};

struct bf_rate *bf_rate_new(const struct bf_rate_conf *conf, struct bf_err *err)
{
    struct bf_rate *rate = calloc(1, sizeof(*rate));

    if (!rate) {
        bf_err_oom(err);
        return NULL;
    }
    rate->conf = *conf;
    return rate;
}

static bool is_paid(const struct bucket *bucket, int64_t now_us)
{
    return bucket->jobs_us <= now_us && bucket->bytes_us <= now_us;
}

/* Whoever owes nothing need not be remembered. */
static void forget(struct bf_rate *rate, struct bucket **chain, int64_t now_us)
{
    while (*chain) {
        struct bucket *bucket = *chain;

        if (is_paid(bucket, now_us)) {
            *chain = bucket->next;
            free(bucket);
            rate->count--;
        } else {
            chain = &bucket->next;
        }
    }
}

void bf_rate_free(struct bf_rate *rate)
{
    if (!rate)
        return;
    for (size_t i = 0; i < CHAINS; i++)
        forget(rate, &rate->chains[i], INT64_MAX);
    free(rate);
}

static struct bucket **chain_of(struct bf_rate *rate, struct bf_slice workspace)
{
    return &rate->chains[bf_hash64(workspace) % CHAINS];
}

static struct bucket *find(struct bucket *chain, struct bf_slice workspace)
{
    for (; chain; chain = chain->next) {
        if (bf_slice_is(workspace, chain->workspace))
            return chain;
    }
    return NULL;
}

static struct bucket *find_or_add(struct bf_rate *rate,
                                  struct bf_slice workspace, int64_t now_us)
{
    struct bucket **chain = chain_of(rate, workspace);
    struct bucket *bucket = find(*chain, workspace);

    if (bucket)
        return bucket;
    forget(rate, chain, now_us);
    if (rate->count >= BF_RATE_WORKSPACES)
        return &rate->others;
    bucket = calloc(1, sizeof(*bucket));
    if (!bucket)
        return &rate->others;
    snprintf(bucket->workspace, sizeof(bucket->workspace), "%.*s",
             BF_SLICE_ARG(workspace));
    bucket->next = *chain;
    *chain = bucket;
    rate->count++;
    return bucket;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t bf_rate_wait_ms(struct bf_rate *rate, struct bf_slice workspace,
                        int64_t mono_us)
{
    const struct bucket *bucket = find(*chain_of(rate, workspace), workspace);
    int64_t paid_us, wait_us;

    if (!bucket)
        bucket = rate->count >= BF_RATE_WORKSPACES ? &rate->others : NULL;
    if (!bucket)
        return 0;
    paid_us = later(bucket->jobs_us, bucket->bytes_us);
    wait_us = paid_us - mono_us - SECOND_US; /* a second is given on trust */
    return wait_us > 0 ? (wait_us + 999) / 1000 : 0;
}

static int64_t cost_us(uint64_t amount, uint64_t per_s)
{
    uint64_t us;

    if (per_s == 0 || __builtin_mul_overflow(amount, SECOND_US, &us))
        return per_s == 0 ? 0 : MAX_COST_US;
    us /= per_s;
    return us < MAX_COST_US ? (int64_t)us : MAX_COST_US;
}

void bf_rate_charge(struct bf_rate *rate, struct bf_slice workspace,
                    uint64_t bytes, int64_t mono_us)
{
    struct bucket *bucket = find_or_add(rate, workspace, mono_us);

    bucket->jobs_us =
        later(bucket->jobs_us, mono_us) + cost_us(1, rate->conf.jobs_per_s);
    bucket->bytes_us = later(bucket->bytes_us, mono_us) +
                       cost_us(bytes, rate->conf.bytes_per_s);
}
