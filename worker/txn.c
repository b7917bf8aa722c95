#include "worker/txn.h"

#include "config/clock.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "worker/crash.h"

/* Retriable calls are made again this often before we give up on them. */
#define MAX_RETRIES 20

struct bf_txn {
    struct bf_txn_config config;
    rd_kafka_t *rk;             /* NULL: closed */
    rd_kafka_topic_t **handles; /* config.ntopics of them, or NULL */
    int64_t began_ms;
    int64_t ended_ms;
};

static const char *const end_names[] = {
    [BF_TXN_COMMITTED] = "committed", [BF_TXN_ABORTED] = "aborted",
    [BF_TXN_STALE] = "stale_group",   [BF_TXN_REFUSED] = "refused",
    [BF_TXN_UNSURE] = "unsure",       [BF_TXN_FENCED] = "fenced",
};

const char *bf_txn_end_name(enum bf_txn_end end)
{
    return end_names[end];
}

/* Any thread of librdkafka's that serves our poll: here, the committer's. */
static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *msg,
                      void *opaque)
{
    struct bf_outgoing *out = msg->_private;

    (void)rk;
    (void)opaque;
    if (out && msg->err)
        out->refused = msg->err;
}

struct bf_txn *bf_txn_new(const struct bf_txn_config *config,
                          struct bf_err *err)
{
    struct bf_txn *txn = calloc(1, sizeof(*txn));

    if (!txn ||
        !(txn->handles = calloc(config->ntopics, sizeof(rd_kafka_topic_t *)))) {
        free(txn);
        bf_err_oom(err);
        return NULL;
    }
    txn->config = *config;
    return txn;
}

static void txn_close(struct bf_txn *txn)
{
    for (size_t i = 0; i < txn->config.ntopics; i++) {
        if (txn->handles[i])
            rd_kafka_topic_destroy(txn->handles[i]);
        txn->handles[i] = NULL;
    }
    if (txn->rk)
        rd_kafka_destroy(txn->rk);
    txn->rk = NULL;
}

void bf_txn_free(struct bf_txn *txn, int timeout_ms)
{
    rd_kafka_error_t *error;

    if (!txn)
        return;
    if (txn->rk) {
        /* destroy alone would leave an open one to block readers */
        error = rd_kafka_abort_transaction(txn->rk, timeout_ms);
        if (error)
            rd_kafka_error_destroy(error);
    }
    txn_close(txn);
    free(txn->handles);
    free(txn);
}

bool bf_txn_is_open(const struct bf_txn *txn)
{
    return txn->rk;
}

int64_t bf_txn_age_ms(const struct bf_txn *txn)
{
    return txn->ended_ms - txn->began_ms;
}

void bf_txn_poll(struct bf_txn *txn)
{
    if (txn->rk)
        rd_kafka_poll(txn->rk, 0);
}

static int txn_create(struct bf_txn *txn, struct bf_err *err)
{
    char reason[256];
    rd_kafka_conf_t *conf = txn->config.conf(txn->config.arg, err);

    if (!conf)
        return -1;
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    txn->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof(reason));
    if (!txn->rk) {
        rd_kafka_conf_destroy(conf);
        return bf_err_set(err, BF_ERR_FATAL, "producer", "%s", reason);
    }
    /*
     * Without handles the first produce to each topic waits for a topic scan,
     * 1 s on 2.0.2 (#5032); init_transactions below gives them a head start.
     */
    for (size_t i = 0; i < txn->config.ntopics; i++) {
        txn->handles[i] =
            rd_kafka_topic_new(txn->rk, txn->config.topics[i], NULL);
        if (!txn->handles[i])
            return bf_err_set(err, BF_ERR_FATAL, "topic", "%s: %s",
                              txn->config.topics[i],
                              rd_kafka_err2str(rd_kafka_last_error()));
    }
    return 0;
}

/* Consumes error. */
static int from_error(rd_kafka_error_t *error, enum bf_err_kind kind,
                      const char *what, struct bf_err *err)
{
    bf_err_set(err, kind, rd_kafka_err2name(rd_kafka_error_code(error)),
               "%s: %s", what, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return -1;
}

int bf_txn_open(struct bf_txn *txn, int timeout_ms, struct bf_err *err)
{
    rd_kafka_error_t *error;
    bool fatal;

    txn_close(txn);
    if (txn_create(txn, err)) {
        txn_close(txn);
        return -1;
    }
    error = rd_kafka_init_transactions(txn->rk, timeout_ms);
    if (!error)
        return 0;
    fatal = rd_kafka_error_code(error) ==
            RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    txn_close(txn);
    return from_error(error, fatal ? BF_ERR_FATAL : BF_ERR_RETRY,
                      "init_transactions", err);
}

/*
 * An error of the bytes, which they would meet again. Missing topics and
 * rights are not: they come back, and until then no job may die of them.
 */
static bool is_permanent(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
        return true;
    default:
        return false;
    }
}

static bool is_group_error(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
    case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
        return true;
    default:
        return false;
    }
}

/*
 * Timeouts: the broker may still do what we asked (KIP-890). Rights and
 * topics: the producer remembers the refusal longer than it lasts.
 */
static bool needs_new_producer(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        return true;
    default:
        return false;
    }
}

static bool is_fencing(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
        return true;
    default:
        return false;
    }
}

/* Members that the broker named keep their error, if it is for good. */
static bool keep_refusals(struct bf_txn_batch *batch)
{
    bool named = false;

    for (size_t i = 0; i < batch->nout; i++) {
        if (!is_permanent(batch->out[i].refused))
            batch->out[i].refused = RD_KAFKA_RESP_ERR_NO_ERROR;
        named = named || batch->out[i].refused;
    }
    return named;
}

/* Ends a transaction that failed with code, when an abort is the way out. */
static enum bf_txn_end txn_abort(struct bf_txn *txn, struct bf_txn_batch *batch,
                                 rd_kafka_resp_err_t code)
{
    rd_kafka_error_t *error = NULL;
    bool retriable = true;

    for (int i = 0; retriable && i < MAX_RETRIES; i++) {
        error = rd_kafka_abort_transaction(txn->rk, -1);
        retriable = error && rd_kafka_error_is_retriable(error);
        if (retriable)
            rd_kafka_error_destroy(error);
    }
    if (error) {
        if (!retriable)
            rd_kafka_error_destroy(error);
        return BF_TXN_UNSURE;
    }
    if (keep_refusals(batch))
        return BF_TXN_REFUSED;
    if (is_permanent(code)) {
        for (size_t i = 0; i < batch->nout; i++)
            batch->out[i].refused = code;
        return BF_TXN_REFUSED;
    }
    if (is_group_error(code))
        return BF_TXN_STALE;
    return needs_new_producer(code) ? BF_TXN_UNSURE : BF_TXN_ABORTED;
}

/* Consumes error. */
static enum bf_txn_end txn_failed(struct bf_txn *txn,
                                  struct bf_txn_batch *batch,
                                  rd_kafka_error_t *error, const char *what,
                                  struct bf_err *err)
{
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    bool fatal = rd_kafka_error_is_fatal(error);
    bool abortable = rd_kafka_error_txn_requires_abort(error);
    char reason[256];
    enum bf_txn_end end;

    from_error(error, BF_ERR_RETRY, what, err);
    if (!fatal && abortable) {
        end = txn_abort(txn, batch, code);
    } else {
        if (!is_fencing(code) && fatal)
            code = rd_kafka_fatal_error(txn->rk, reason, sizeof(reason));
        end = is_fencing(code) ? BF_TXN_FENCED : BF_TXN_UNSURE;
    }
    /*
     * A refused record has used up sequence numbers: the next one for that
     * partition makes the broker miss it, and librdkafka 2.0.2 may notice in
     * the middle of send_offsets, which then waits for its whole timeout.
     */
    if (end == BF_TXN_UNSURE || end == BF_TXN_FENCED || end == BF_TXN_REFUSED)
        txn_close(txn);
    return end;
}

/* By its handle: by name, librdkafka looks for it under a lock. */
static rd_kafka_vu_t topic_of(const struct bf_txn *txn, const char *topic)
{
    for (size_t i = 0; i < txn->config.ntopics; i++) {
        if (txn->config.topics[i] == topic)
            return (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_RKT,
                                   .u.rkt = txn->handles[i]};
    }
    return (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic};
}

static rd_kafka_resp_err_t produce_one(struct bf_txn *txn,
                                       struct bf_outgoing *out)
{
    const struct bf_record *rec = out->rec;
    rd_kafka_headers_t *headers = rd_kafka_headers_new(rec->nheaders);
    rd_kafka_error_t *error;
    rd_kafka_resp_err_t code;

    for (size_t i = 0; i < rec->nheaders; i++) {
        const struct bf_header *h = &rec->headers[i];

        code = rd_kafka_header_add(headers, h->name.ptr, (ssize_t)h->name.len,
                                   h->value.ptr, (ssize_t)h->value.len);
        bf_assert(!code);
    }
    rd_kafka_vu_t vus[] = {
        topic_of(txn, rec->topic),
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = rec->partition},
        /* No copy: the payload stays where it is until the batch is over. */
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = 0},
        {.vtype = RD_KAFKA_VTYPE_KEY,
         .u.mem = {(void *)(uintptr_t)rec->key.ptr, rec->key.len}},
        {.vtype = RD_KAFKA_VTYPE_VALUE,
         .u.mem = {(void *)(uintptr_t)rec->value.ptr, rec->value.len}},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = out},
    };

    error = rd_kafka_produceva(txn->rk, vus, bf_countof(vus));
    if (!error)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_headers_destroy(headers);
    code = rd_kafka_error_code(error);
    rd_kafka_error_destroy(error);
    return code;
}

static rd_kafka_error_t *produce_all(struct bf_txn *txn,
                                     struct bf_txn_batch *batch)
{
    for (size_t i = 0; i < batch->nout; i++) {
        rd_kafka_resp_err_t code;

        batch->out[i].refused = RD_KAFKA_RESP_ERR_NO_ERROR;
        while ((code = produce_one(txn, &batch->out[i])) ==
               RD_KAFKA_RESP_ERR__QUEUE_FULL)
            rd_kafka_poll(txn->rk, 10);
        if (!code)
            continue;
        if (is_permanent(code))
            batch->out[i].refused = code;
        return rd_kafka_error_new(code, "%s", rd_kafka_err2str(code));
    }
    return NULL;
}

/* A synchronous refusal leaves the transaction good, so we abort it. */
static enum bf_txn_end produce_failed(struct bf_txn *txn,
                                      struct bf_txn_batch *batch,
                                      rd_kafka_error_t *error,
                                      struct bf_err *err)
{
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    char reason[256];
    enum bf_txn_end end;

    if (rd_kafka_fatal_error(txn->rk, reason, sizeof(reason)))
        return txn_failed(txn, batch, error, "produce", err);
    from_error(error, BF_ERR_RETRY, "produce", err);
    end = txn_abort(txn, batch, code);
    if (end == BF_TXN_UNSURE)
        txn_close(txn);
    return end;
}

typedef rd_kafka_error_t *txn_call_fn(struct bf_txn *txn,
                                      struct bf_txn_batch *batch);

static rd_kafka_error_t *call_offsets(struct bf_txn *txn,
                                      struct bf_txn_batch *batch)
{
    return rd_kafka_send_offsets_to_transaction(txn->rk, batch->offsets,
                                                batch->group, -1);
}

static rd_kafka_error_t *call_commit(struct bf_txn *txn,
                                     struct bf_txn_batch *batch)
{
    (void)batch;
    return rd_kafka_commit_transaction(txn->rk, -1);
}

/* The same call again, with the same arguments, while it may still succeed. */
static rd_kafka_error_t *persist(txn_call_fn *call, struct bf_txn *txn,
                                 struct bf_txn_batch *batch)
{
    rd_kafka_error_t *error = call(txn, batch);

    for (int i = 0;
         i < MAX_RETRIES && error && rd_kafka_error_is_retriable(error) &&
         !rd_kafka_error_txn_requires_abort(error);
         i++) {
        rd_kafka_error_destroy(error);
        error = call(txn, batch);
    }
    return error;
}

static enum bf_txn_end run_open(struct bf_txn *txn, struct bf_txn_batch *batch,
                                struct bf_err *err)
{
    rd_kafka_error_t *error;

    bf_crash_point("before_produce");
    error = produce_all(txn, batch);
    if (error)
        return produce_failed(txn, batch, error, err);
    bf_crash_point("after_produce");
    error = persist(call_offsets, txn, batch);
    if (error)
        return txn_failed(txn, batch, error, "send_offsets", err);
    bf_crash_point("after_send_offsets");
    bf_crash_soon("during_commit", 1500);
    error = persist(call_commit, txn, batch);
    if (error)
        return txn_failed(txn, batch, error, "commit", err);
    bf_crash_point("after_commit");
    return BF_TXN_COMMITTED;
}

enum bf_txn_end bf_txn_run(struct bf_txn *txn, struct bf_txn_batch *batch,
                           struct bf_err *err)
{
    rd_kafka_error_t *error;
    enum bf_txn_end end;
    char reason[256];

    bf_assert(txn->rk);
    txn->began_ms = bf_mono_ms();
    txn->ended_ms = txn->began_ms;
    /* begin may hang for ever after a fatal error (librdkafka #4420) */
    if (rd_kafka_fatal_error(txn->rk, reason, sizeof(reason))) {
        error = rd_kafka_error_new(
            rd_kafka_fatal_error(txn->rk, reason, sizeof(reason)), "%s",
            reason);
        return txn_failed(txn, batch, error, "begin", err);
    }
    error = rd_kafka_begin_transaction(txn->rk);
    end = error ? txn_failed(txn, batch, error, "begin", err)
                : run_open(txn, batch, err);
    for (size_t i = 0; end != BF_TXN_REFUSED && i < batch->nout; i++)
        batch->out[i].refused = RD_KAFKA_RESP_ERR_NO_ERROR;
    txn->ended_ms = bf_mono_ms();
    return end;
}
