#ifndef BF_WORKER_BACKEND_E2B_PRIVATE_H
#define BF_WORKER_BACKEND_E2B_PRIVATE_H

/*
 * Shared by the files of one module alone, see e2b.h for what it does:
 *
 *   e2b.c         what all runs share; the backend's table
 *   e2b_box.c     a sandbox as it is spoken to, and requests to it
 *   e2b_run.c     a run: acquire, create, prepare, upload, run
 *   e2b_answer.c  what a run's answer says
 *   e2b_chore.c   housekeeping
 */

#include "worker/backend/block_request.h"
#include "worker/backend/e2b.h"
#include "worker/backend/e2b_api.h"
#include "worker/backend/e2b_cause.h"
#include "worker/backend/e2b_driver.h"
#include "worker/backend/sandbox_pool.h"
#include "worker/breaker.h"

#define BF_E2B_RUN_MAGIC 0x4532422bU
#define BF_E2B_CHORE_MAGIC 0x45324243U

#define BF_E2B_ADOPTIONS 64

struct bf_e2b_shard {
    bool ours;
    uint32_t epoch;
    int64_t since_ms;
};

struct bf_e2b {
    struct bf_e2b_config config;
    struct bf_e2b_site site;
    char *api_url, *sandbox_url; /* site's */
    struct bf_secret *api_key;
    struct bf_sandbox_pool *pool;
    struct bf_breaker breaker; /* of the control plane */
    uint32_t policy;
    char policy_text[12];
    int64_t mono_ms, wall_ms; /* of the last step */
    /* housekeeping */
    struct bf_e2b_shard *shards;
    int64_t looked_ms; /* at who owns what */
    int64_t steady_ms; /* since then nothing kept us from looking */
    int64_t sweep_ms;  /* the next one */
    bool sweeping;
    struct bf_sandbox *adopt[BF_E2B_ADOPTIONS];
    size_t nadopt;
};

/* ---- e2b_box.c ---- */

/* What a struct bf_sandbox has of ours. */
struct bf_e2b_box {
    char domain[BF_E2B_DOMAIN + 1];
    struct bf_secret *envd_access; /* NULL: it has none */
    struct bf_secret *run_access;  /* the same, for the port of runs */
    struct bf_secret *run_traffic;
    bool prepared;
};

/* NULL on failure: RETRY, or REJECT for a token that is none. */
struct bf_e2b_box *bf_e2b_box_new(const struct bf_e2b *e2b,
                                  const struct bf_e2b_created *created,
                                  struct bf_err *err);
void bf_e2b_box_free(void *box);

unsigned int bf_e2b_run_port(const struct bf_e2b *e2b);
struct bf_e2b_address bf_e2b_run_address(const struct bf_sandbox *sandbox);
struct bf_e2b_address bf_e2b_envd_address(const struct bf_sandbox *sandbox);

/* Brings our runner into it; asks for our server where that is there. */
int bf_e2b_prepare_put(const struct bf_e2b *e2b,
                       const struct bf_sandbox *sandbox, const char *word,
                       struct bf_e2b_request *ret, struct bf_err *err);

/* As what a reply to it counts. -1: RETRY on no memory. */
int bf_e2b_prepare_read(const struct bf_e2b *e2b, const struct bf_reply *reply,
                        const char *word, struct bf_e2b_evidence *ret,
                        struct bf_err *err);

/* ---- e2b.c ---- */

/* A new random word, 32 of 0-9 a-f. */
void bf_e2b_word(char out[BF_HEX128_SIZE]);

/* Takes the time from a reply. */
void bf_e2b_see(struct bf_e2b *e2b, const struct bf_reply *reply);

/* The HTTP half of a request; lines is room for its headers. */
struct bf_request bf_e2b_http(const struct bf_e2b_request *request,
                              const char *lines[BF_E2B_LINES]);

/* What was seen of a reply, all but the stream. error keeps the words. */
struct bf_e2b_evidence bf_e2b_evidence(enum bf_e2b_ask ask,
                                       const struct bf_reply *reply,
                                       struct bf_e2b_error *error);

/* What an answer of the control plane says of the control plane. */
enum bf_sign bf_e2b_sign(const struct bf_e2b_evidence *what,
                         const struct bf_e2b_cause *cause);

/* One sentence for an operator. */
const char *bf_e2b_alarm(const struct bf_e2b_cause *cause);

/* Seconds that a sandbox lives from a create or a renewal on. */
static inline int64_t bf_e2b_ttl_s(const struct bf_e2b *e2b)
{
    return e2b->config.ttl_ms / 1000;
}

/* ---- e2b_run.c ---- */

size_t bf_e2b_weigh(const struct bf_run_input *input);
struct bf_run *bf_e2b_run_begin(const struct bf_backend_config *config,
                                const struct bf_run_input *input,
                                struct bf_err *err);
int bf_e2b_run_step(struct bf_run *base, const struct bf_reply *reply,
                    struct bf_request *ret_request, struct bf_run_end *ret_end,
                    struct bf_err *err);
void bf_e2b_run_free(struct bf_run *base);

/* ---- e2b_answer.c ---- */

/* What came of a RUN; what its end borrows from. */
struct bf_e2b_answer {
    struct bf_e2b_said said;
    struct bf_block_answer block; /* by server */
    char words[280];              /* what the sandbox said instead; or "" */
};

void bf_e2b_answer_release(struct bf_e2b_answer *answer);

/* Fills in evidence->stream of a 200. -1: RETRY on no memory. */
int bf_e2b_answer_read(enum bf_e2b_path path, const struct bf_reply *reply,
                       const char *word, struct bf_e2b_answer *ret,
                       struct bf_e2b_evidence *evidence, struct bf_err *err);

/* Of an ANSWER: how the run ended. */
struct bf_verdict_case bf_e2b_answer_judge(const struct bf_run_input *input,
                                           enum bf_e2b_path path,
                                           const struct bf_reply *reply,
                                           struct bf_e2b_answer *answer,
                                           struct bf_run_end *end);

/* ---- e2b_chore.c ---- */

struct bf_run *bf_e2b_chore(const struct bf_backend_config *config,
                            int64_t now_ms, int64_t mono_ms,
                            int64_t *ret_next_ms);
int bf_e2b_chore_step(struct bf_run *base, const struct bf_reply *reply,
                      struct bf_request *ret_request,
                      struct bf_run_end *ret_end, struct bf_err *err);
void bf_e2b_chore_free(struct bf_run *base);

#endif
