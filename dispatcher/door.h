#ifndef BF_DISPATCHER_DOOR_H
#define BF_DISPATCHER_DOOR_H

/*
 * Who comes in, and what they may touch. Keys are looked up anew at every
 * question, so that a key that is revoked opens nothing any more, not even the
 * rest of an upload that began with it. Loop thread.
 */

#include "dispatcher/apikeys.h"
#include "dispatcher/problem.h"

struct bf_door;

/* Borrowed until bf_door_free(). */
struct bf_door_conf {
    const char *path; /* of the API keys; need not exist */
    bool anonymous;   /* who shows no key may touch everything */
};

struct bf_door *bf_door_new(const struct bf_door_conf *conf,
                            struct bf_err *err);
void bf_door_free(struct bf_door *door);
BF_DEFINE_CLEANUP(bf_door_freep_, struct bf_door *, bf_door_free)
#define bf_autodoor bf_cleanup(bf_door_freep_)

/* Keys that open something now. */
size_t bf_door_keys(const struct bf_door *door);

/*
 * Read the keys again when their file is another one, at most once a second.
 * 1: it was; -1: it cannot be read, the keys stay what they were. That is told
 * once for a file; it is tried again each time.
 */
int bf_door_refresh(struct bf_door *door, struct bf_err *err);

/* Who asks; from bf_door_enter() alone. */
struct bf_caller {
    char key_id[BF_APIKEY_ID_SIZE]; /* "": nobody in particular */
};

/* authorization: the header, or NULL. -1: UNAUTHORIZED. */
int bf_door_enter(const struct bf_door *door, const char *authorization,
                  struct bf_caller *ret, struct bf_problem *problem);

/*
 * The same in Modal's headers, Modal-Key and Modal-Secret, or NULL: a key's id
 * and the key. Where one comes in without, "anonymous" for an id does: their
 * clients insist on sending both.
 */
#define BF_DOOR_ANONYMOUS "anonymous"
int bf_door_enter_modal(const struct bf_door *door, const char *id,
                        const char *secret, struct bf_caller *ret,
                        struct bf_problem *problem);

/* -1: FORBIDDEN; UNAUTHORIZED for a key that is none any more. */
int bf_door_check(const struct bf_door *door, const struct bf_caller *caller,
                  struct bf_slice workspace, struct bf_problem *problem);

/* The same for what belongs to no workspace: operators' keys only. */
int bf_door_check_operator(const struct bf_door *door,
                           const struct bf_caller *caller,
                           struct bf_problem *problem);

/*
 * The workspace that is meant when none is named: the only one of the caller's
 * key. Absent when there is no such; borrowed until the next refresh.
 */
struct bf_slice bf_door_usual(const struct bf_door *door,
                              const struct bf_caller *caller);

#endif
