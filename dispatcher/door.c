#include "dispatcher/door.h"

#include <errno.h>
#include <strings.h>

#include "config/clock.h"
#include "config/print.h"

#define REFRESH_MS 1000

struct bf_door {
    char *path;
    bool anonymous;
    struct bf_apikeys *keys;
    struct bf_print print;
    bool unread;          /* the keys are not what that file says */
    int64_t next_look_ms; /* bf_mono_ms() */
};

/* ---- the file -------------------------------------------------------------*/

int bf_door_refresh(struct bf_door *door, struct bf_err *err)
{
    struct bf_apikeys *keys;
    struct bf_print print;
    bool told;

    if (bf_mono_ms() < door->next_look_ms)
        return 0;
    door->next_look_ms = bf_mono_ms() + REFRESH_MS;
    print = bf_print_of(door->path);
    told = bf_print_same(&print, &door->print);
    if (told && !door->unread)
        return 0;
    /* Looked at before it is read: what changes meanwhile is seen next time. */
    door->print = print;
    keys = bf_apikeys_load(door->path, false, err);
    /* It may not be the file's fault: no descriptor, no memory. Try again. */
    door->unread = !keys;
    if (!keys)
        return told ? 0 : -1;
    bf_apikeys_free(door->keys);
    door->keys = keys;
    return 1;
}

/* ---- life -----------------------------------------------------------------*/

struct bf_door *bf_door_new(const struct bf_door_conf *conf, struct bf_err *err)
{
    bf_autodoor struct bf_door *door = calloc(1, sizeof(*door));

    if (door)
        door->path = strdup(conf->path);
    if (!door || !door->path) {
        bf_err_oom(err);
        return NULL;
    }
    door->anonymous = conf->anonymous;
    door->print = bf_print_of(door->path);
    door->keys = bf_apikeys_load(door->path, true, err);
    if (!door->keys)
        return NULL;
    door->next_look_ms = bf_mono_ms() + REFRESH_MS;
    return bf_take(door);
}

void bf_door_free(struct bf_door *door)
{
    if (!door)
        return;
    bf_apikeys_free(door->keys);
    free(door->path);
    free(door);
}

size_t bf_door_keys(const struct bf_door *door)
{
    size_t live = 0;

    for (size_t i = 0; i < bf_apikeys_count(door->keys); i++) {
        if (bf_apikey_live(bf_apikeys_at(door->keys, i), bf_now_ms()))
            live++;
    }
    return live;
}

/* ---- questions ------------------------------------------------------------*/

/* What follows "Bearer " (RFC 6750 §2.1); absent for another scheme. */
static struct bf_slice bearer(const char *header)
{
    static const char scheme[] = "Bearer ";
    size_t len = strlen(scheme);

    if (strncasecmp(header, scheme, len) != 0)
        return (struct bf_slice){0};
    header += len;
    return bf_slice_str(header + strspn(header, " "));
}

static int who_are_you(struct bf_problem *problem, const char *why)
{
    return bf_problem_set(problem, BF_PROBLEM_UNAUTHORIZED, NULL, "%s", why);
}

static int prove(const struct bf_door *door, struct bf_slice token,
                 struct bf_caller *ret, struct bf_problem *problem)
{
    const struct bf_apikey *key = bf_apikeys_prove(door->keys, token);

    if (!key)
        return who_are_you(problem, "this API key is not known here");
    if (!bf_apikey_live(key, bf_now_ms()))
        return who_are_you(problem, key->revoked ? "this API key was revoked"
                                                 : "this API key has expired");
    memcpy(ret->key_id, key->id, sizeof(ret->key_id));
    return 0;
}

int bf_door_enter(const struct bf_door *door, const char *authorization,
                  struct bf_caller *ret, struct bf_problem *problem)
{
    struct bf_slice token;

    if (!authorization && !door->anonymous)
        return who_are_you(problem,
                           "an API key is needed: Authorization: Bearer ...");
    if (!authorization) {
        *ret = (struct bf_caller){0};
        return 0;
    }
    token = bearer(authorization);
    if (!token.ptr)
        return who_are_you(problem, "Authorization: must be Bearer and a key");
    return prove(door, token, ret, problem);
}

int bf_door_enter_modal(const struct bf_door *door, const char *id,
                        const char *secret, struct bf_caller *ret,
                        struct bf_problem *problem)
{
    struct bf_caller caller = {0};

    if (door->anonymous && (!id || strcmp(id, BF_DOOR_ANONYMOUS) == 0)) {
        *ret = caller;
        return 0;
    }
    if (!id || !secret)
        return who_are_you(problem, "an API key is needed: its id in "
                                    "Modal-Key, the key in Modal-Secret");
    if (prove(door, bf_slice_str(secret), &caller, problem))
        return -1;
    if (strcmp(caller.key_id, id) != 0)
        return who_are_you(problem, "Modal-Key: must be the id of the API key");
    *ret = caller;
    return 0;
}

/* NULL: nobody in particular, or *ret_gone. */
static const struct bf_apikey *key_of(const struct bf_door *door,
                                      const struct bf_caller *caller,
                                      bool *ret_gone)
{
    const struct bf_apikey *key;

    *ret_gone = false;
    if (!caller->key_id[0])
        return NULL;
    key = bf_apikeys_find(door->keys, bf_slice_str(caller->key_id));
    *ret_gone = !key || !bf_apikey_live(key, bf_now_ms());
    return *ret_gone ? NULL : key;
}

static int gone(struct bf_problem *problem)
{
    return who_are_you(problem, "this API key is not valid any more");
}

int bf_door_check(const struct bf_door *door, const struct bf_caller *caller,
                  struct bf_slice workspace, struct bf_problem *problem)
{
    bool is_gone;
    const struct bf_apikey *key = key_of(door, caller, &is_gone);

    if (is_gone)
        return gone(problem);
    if (!key || bf_apikey_may(key, workspace))
        return 0;
    return bf_problem_set(problem, BF_PROBLEM_FORBIDDEN, "workspace",
                          "workspace: this API key is not for %.*s",
                          BF_SLICE_ARG(workspace));
}

int bf_door_check_operator(const struct bf_door *door,
                           const struct bf_caller *caller,
                           struct bf_problem *problem)
{
    bool is_gone;
    const struct bf_apikey *key = key_of(door, caller, &is_gone);

    if (is_gone)
        return gone(problem);
    if (!key || key->all)
        return 0;
    return bf_problem_set(problem, BF_PROBLEM_FORBIDDEN, NULL,
                          "this is for operators: a key of all workspaces");
}

struct bf_slice bf_door_usual(const struct bf_door *door,
                              const struct bf_caller *caller)
{
    bool is_gone;
    const struct bf_apikey *key = key_of(door, caller, &is_gone);

    return key ? bf_apikey_only(key) : (struct bf_slice){0};
}
