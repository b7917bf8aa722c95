#include "dispatcher/recent.h"

#include <sys/queue.h>

#include "schemas/err.h"
#include "schemas/hash.h"

#define CHAINS 4096U

struct entry;
TAILQ_HEAD(entries, entry);

/* The one that was used last comes first. */
struct owner {
    struct owner *next; /* in its chain */
    size_t bytes;
    struct entries entries;
    size_t name_len;
    char name[];
};

struct entry {
    struct entry *next; /* in its chain */
    TAILQ_ENTRY(entry) of_all, of_owner;
    struct owner *owner;
    int64_t at_ms;
    size_t key_len, text_len;
    char bytes[]; /* key, text */
};

struct bf_recent {
    struct bf_recent_conf conf;
    size_t bytes;
    struct entries entries; /* of all owners */
    struct entry *by_key[CHAINS];
    struct owner *by_name[CHAINS];
};

struct bf_recent *bf_recent_new(const struct bf_recent_conf *conf,
                                struct bf_err *err)
{
    struct bf_recent *recent = calloc(1, sizeof(*recent));

    if (!recent) {
        bf_err_oom(err);
        return NULL;
    }
    recent->conf = *conf;
    TAILQ_INIT(&recent->entries);
    return recent;
}

/* ---- owners ---------------------------------------------------------------*/

static struct owner **owner_at(struct bf_recent *recent,
                               struct bf_slice workspace)
{
    struct owner **at = &recent->by_name[bf_hash64(workspace) % CHAINS];

    while (*at && !bf_slice_eq(workspace,
                               (struct bf_slice){(*at)->name, (*at)->name_len}))
        at = &(*at)->next;
    return at;
}

static struct owner *owner_of(struct bf_recent *recent,
                              struct bf_slice workspace)
{
    struct owner **at = owner_at(recent, workspace);

    if (*at)
        return *at;
    *at = calloc(1, sizeof(**at) + workspace.len);
    if (!*at)
        return NULL;
    TAILQ_INIT(&(*at)->entries);
    (*at)->name_len = workspace.len;
    memcpy((*at)->name, workspace.ptr, workspace.len);
    return *at;
}

static void forget_if_idle(struct bf_recent *recent, struct owner *owner)
{
    struct owner **at =
        owner_at(recent, (struct bf_slice){owner->name, owner->name_len});

    bf_assert(*at == owner);
    if (!TAILQ_EMPTY(&owner->entries))
        return;
    *at = owner->next;
    free(owner);
}

/* ---- entries --------------------------------------------------------------*/

static struct bf_slice key_of(const struct entry *entry)
{
    return (struct bf_slice){entry->bytes, entry->key_len};
}

static size_t cost(size_t key_len, size_t text_len)
{
    return sizeof(struct entry) + key_len + text_len;
}

/* Chains hold all workspaces' entries of a key; a key is a hash mostly. */
static struct entry **chain_of(struct bf_recent *recent, struct bf_slice key)
{
    return &recent->by_key[bf_hash64(key) % CHAINS];
}

static struct entry *find(struct bf_recent *recent, const struct owner *owner,
                          struct bf_slice key)
{
    struct entry *entry = *chain_of(recent, key);

    while (entry && (entry->owner != owner || !bf_slice_eq(key_of(entry), key)))
        entry = entry->next;
    return entry;
}

/* Its owner stays, even with nothing. */
static void drop(struct bf_recent *recent, struct entry *entry)
{
    struct entry **at = chain_of(recent, key_of(entry));
    size_t bytes = cost(entry->key_len, entry->text_len);

    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
    TAILQ_REMOVE(&recent->entries, entry, of_all);
    TAILQ_REMOVE(&entry->owner->entries, entry, of_owner);
    recent->bytes -= bytes;
    entry->owner->bytes -= bytes;
    free(entry);
}

void bf_recent_free(struct bf_recent *recent)
{
    if (!recent)
        return;
    while (!TAILQ_EMPTY(&recent->entries)) {
        struct entry *entry = TAILQ_FIRST(&recent->entries);
        struct owner *owner = entry->owner;

        drop(recent, entry);
        forget_if_idle(recent, owner);
    }
    free(recent);
}

static void use(struct bf_recent *recent, struct entry *entry)
{
    TAILQ_REMOVE(&recent->entries, entry, of_all);
    TAILQ_INSERT_HEAD(&recent->entries, entry, of_all);
    TAILQ_REMOVE(&entry->owner->entries, entry, of_owner);
    TAILQ_INSERT_HEAD(&entry->owner->entries, entry, of_owner);
}

struct bf_slice bf_recent_get(struct bf_recent *recent,
                              struct bf_slice workspace, struct bf_slice key,
                              int64_t now_ms)
{
    struct owner *owner = *owner_at(recent, workspace);
    struct entry *entry = owner ? find(recent, owner, key) : NULL;
    int64_t max_age_ms = recent->conf.max_age_ms;

    if (!entry)
        return (struct bf_slice){0};
    if (max_age_ms > 0 && now_ms - entry->at_ms >= max_age_ms) {
        drop(recent, entry);
        forget_if_idle(recent, owner);
        return (struct bf_slice){0};
    }
    use(recent, entry);
    return (struct bf_slice){entry->bytes + entry->key_len, entry->text_len};
}

static struct entry *entry_new(struct bf_slice key, struct bf_slice text)
{
    struct entry *entry = calloc(1, cost(key.len, text.len));

    if (!entry)
        return NULL;
    entry->key_len = key.len;
    entry->text_len = text.len;
    memcpy(entry->bytes, key.ptr, key.len);
    memcpy(entry->bytes + key.len, text.ptr, text.len);
    return entry;
}

static void add(struct bf_recent *recent, struct owner *owner,
                struct entry *entry)
{
    struct entry **chain = chain_of(recent, key_of(entry));
    size_t bytes = cost(entry->key_len, entry->text_len);

    entry->owner = owner;
    entry->next = *chain;
    *chain = entry;
    TAILQ_INSERT_HEAD(&recent->entries, entry, of_all);
    TAILQ_INSERT_HEAD(&owner->entries, entry, of_owner);
    recent->bytes += bytes;
    owner->bytes += bytes;
}

/* The newest, which is the first of both lists, stays. */
static void make_room(struct bf_recent *recent, struct owner *owner)
{
    while (owner->bytes > recent->conf.workspace_bytes)
        drop(recent, TAILQ_LAST(&owner->entries, entries));
    while (recent->bytes > recent->conf.total_bytes) {
        struct entry *last = TAILQ_LAST(&recent->entries, entries);
        struct owner *its = last->owner;

        drop(recent, last);
        forget_if_idle(recent, its);
    }
}

void bf_recent_put(struct bf_recent *recent, struct bf_slice workspace,
                   struct bf_slice key, int64_t now_ms, struct bf_slice text)
{
    size_t bytes = cost(key.len, text.len);
    struct owner *owner;
    struct entry *old, *entry;

    if (bytes > recent->conf.workspace_bytes ||
        bytes > recent->conf.total_bytes)
        return;
    entry = entry_new(key, text);
    owner = entry ? owner_of(recent, workspace) : NULL;
    if (!owner) {
        free(entry);
        return;
    }
    old = find(recent, owner, key);
    if (old)
        drop(recent, old);
    entry->at_ms = now_ms;
    add(recent, owner, entry);
    make_room(recent, owner);
}

size_t bf_recent_bytes(const struct bf_recent *recent)
{
    return recent->bytes;
}
