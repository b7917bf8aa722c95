#include "config/trust.h"

#include <pthread.h>
#include <string.h>

#include "config/keys_private.h"
#include "config/print.h"
#include "schemas/err.h"

#define LOOK_EVERY_MS 1000
#define PATH_SIZE 4096

struct bf_trust {
    char *dir;
    char path[PATH_SIZE];
    pthread_mutex_t lock; /* of ring alone; the rest is the looking thread's */
    struct bf_keyring *ring;
    struct bf_print judged; /* the content that was read, or refused */
    struct bf_print seen;   /* at the last look */
    bool unread;            /* the ring is not what judged says */
    int64_t next_ms;
};

static struct bf_keyring *read_ring(const char *dir, struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(BF_TRUSTED_FILE_MAX);
    struct bf_keyring *ring;

    if (bf_trusted_read(dir, false, &text, err))
        return NULL;
    ring = bf_keyring_parse(bf_buf_slice(&text), err);
    if (!ring)
        bf_err_prefix(err, "%.100s", dir);
    return ring;
}

struct bf_trust *bf_trust_new(const char *dir, struct bf_err *err)
{
    struct bf_trust *trust = calloc(1, sizeof(*trust));

    if (!trust) {
        bf_err_oom(err);
        return NULL;
    }
    pthread_mutex_init(&trust->lock, NULL);
    trust->dir = strdup(dir);
    if (!trust->dir) {
        bf_err_oom(err);
    } else if (bf_keys_path(trust->path, sizeof(trust->path), dir, "trusted",
                            err) == 0) {
        /* before it is read: a change in between is seen again, later */
        trust->judged = bf_print_of(trust->path);
        trust->seen = trust->judged;
        trust->ring = read_ring(dir, err);
    }
    if (trust->ring)
        return trust;
    bf_trust_free(trust);
    return NULL;
}

void bf_trust_free(struct bf_trust *trust)
{
    if (!trust)
        return;
    bf_keyring_free(trust->ring);
    pthread_mutex_destroy(&trust->lock);
    free(trust->dir);
    free(trust);
}

static void publish(struct bf_trust *trust, struct bf_keyring *ring)
{
    struct bf_keyring *old;

    pthread_mutex_lock(&trust->lock);
    old = trust->ring;
    trust->ring = ring;
    pthread_mutex_unlock(&trust->lock);
    bf_keyring_free(old);
}

enum bf_trust_news bf_trust_look(struct bf_trust *trust, int64_t now_ms,
                                 struct bf_err *err)
{
    struct bf_print now, after;
    struct bf_keyring *ring;
    bool quiet, told;

    if (now_ms < trust->next_ms)
        return BF_TRUST_SAME;
    trust->next_ms = now_ms + LOOK_EVERY_MS;
    now = bf_print_of(trust->path);
    quiet = bf_print_same(&now, &trust->seen);
    trust->seen = now;
    told = bf_print_same(&now, &trust->judged);
    if (!quiet || (told && !trust->unread))
        return BF_TRUST_SAME;
    ring = read_ring(trust->dir, err);
    after = bf_print_of(trust->path);
    if (!bf_print_same(&now, &after)) {
        bf_keyring_free(ring);
        return BF_TRUST_SAME;
    }
    trust->judged = now;
    /* It may not be the file's fault: no descriptor, no memory. Try again. */
    trust->unread = !ring;
    if (!ring)
        return told ? BF_TRUST_SAME : BF_TRUST_BAD;
    publish(trust, ring);
    return BF_TRUST_CHANGED;
}

bool bf_trust_find_key(void *arg, enum bf_purpose purpose, const char *key_id,
                       struct bf_slice workspace, struct bf_verify_key *ret)
{
    struct bf_trust *trust = arg;
    bool found;

    pthread_mutex_lock(&trust->lock);
    found = bf_keyring_find_key(trust->ring, purpose, key_id, workspace, ret);
    pthread_mutex_unlock(&trust->lock);
    return found;
}

bool bf_trust_has(struct bf_trust *trust, const struct bf_signer *signer)
{
    bool has;

    if (!signer)
        return false;
    pthread_mutex_lock(&trust->lock);
    has = bf_keyring_find(trust->ring, signer->purpose, signer->key_id);
    pthread_mutex_unlock(&trust->lock);
    return has;
}

size_t bf_trust_count(struct bf_trust *trust)
{
    size_t count = 0;

    pthread_mutex_lock(&trust->lock);
    for (size_t i = 0; i < bf_keyring_count(trust->ring); i++)
        count += !bf_keyring_at(trust->ring, i)->revoked;
    pthread_mutex_unlock(&trust->lock);
    return count;
}
