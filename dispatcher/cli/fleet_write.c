#include "dispatcher/cli/fleet_write.h"

#include <unistd.h>

#include "config/clock.h"
#include "config/kafka_conf.h"
#include "config/keys.h"
#include "config/settings.h"
#include "schemas/err.h"
#include "schemas/meta.h"
#include "schemas/sign.h"

#define FLUSH_MS 20000

/* Records on their way: built, then signed as one tree, then produced. */
struct tree {
    struct bf_record records[BF_MAX_TREE];
    size_t n;
};

struct writer {
    const struct bf_fleet_writing *what;
    rd_kafka_t *rk;
    struct tree *tree;
    rd_kafka_resp_err_t failed; /* of any delivery */
};

static void tree_clear(struct tree *tree)
{
    for (size_t i = 0; i < tree->n; i++)
        bf_record_release(&tree->records[i]);
    tree->n = 0;
}

static void tree_freep(struct tree **tree)
{
    if (*tree)
        tree_clear(*tree);
    free(*tree);
}

static void rk_destroyp(rd_kafka_t **rk)
{
    if (*rk)
        rd_kafka_destroy(*rk);
}

/* rd_kafka_poll()'s thread, which is ours. */
static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *msg,
                        void *opaque)
{
    struct writer *writer = opaque;

    (void)rk;
    if (msg->err)
        writer->failed = msg->err;
}

static int produce(struct writer *writer, const struct bf_record *rec,
                   struct bf_err *err)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(rec->nheaders);
    rd_kafka_resp_err_t code;

    for (size_t i = 0; i < rec->nheaders; i++)
        rd_kafka_header_add(headers, rec->headers[i].name.ptr,
                            (ssize_t)rec->headers[i].name.len,
                            rec->headers[i].value.ptr,
                            (ssize_t)rec->headers[i].value.len);
    code = rd_kafka_producev(
        writer->rk, RD_KAFKA_V_TOPIC(writer->what->topic),
        RD_KAFKA_V_PARTITION(rec->partition),
        RD_KAFKA_V_KEY((void *)(uintptr_t)rec->key.ptr, rec->key.len),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)rec->value.ptr, rec->value.len),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_END);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    rd_kafka_headers_destroy(headers);
    return bf_err_set(err, BF_ERR_REJECT, "refused", "%s: %s",
                      writer->what->topic, rd_kafka_err2str(code));
}

/* Sign what is in the tree, hand it to librdkafka, and empty it. */
static int send_tree(struct writer *writer, struct bf_err *err)
{
    struct tree *tree = writer->tree;
    struct bf_record *list[BF_MAX_TREE];

    for (size_t i = 0; i < tree->n; i++)
        list[i] = &tree->records[i];
    if (tree->n == 0)
        return 0;
    if (bf_sign_tree(writer->what->signer, bf_now_ms(), list, tree->n, err))
        return -1;
    for (size_t i = 0; i < tree->n; i++) {
        if (produce(writer, &tree->records[i], err))
            return -1;
    }
    tree_clear(tree);
    return 0;
}

static struct bf_record *next_record(struct writer *writer, uint32_t shard,
                                     struct bf_err *err)
{
    struct tree *tree = writer->tree;

    if (tree->n == BF_MAX_TREE && send_tree(writer, err))
        return NULL;
    bf_record_init(&tree->records[tree->n], writer->what->topic,
                   (int32_t)shard);
    return &tree->records[tree->n++];
}

static int add_base(struct writer *writer, uint32_t shard, enum bf_lane lane,
                    struct bf_err *err)
{
    static const unsigned char nothing[BF_MAP_BYTES];
    int64_t now_ms = bf_now_ms();
    const struct bf_entry entry = {
        .kind = BF_ENTRY_BASE,
        .lane = lane,
        .b = {.map = nothing,
              .host = bf_slice_str(writer->what->settings->instance),
              .txn_id = BF_SLICE_LIT("topics-init"),
              .pid = (uint32_t)getpid(),
              .at_ms = now_ms},
    };
    struct bf_record *rec = next_record(writer, shard, err);

    if (!rec)
        return -1;
    return bf_entry_build(&entry, writer->what->fleet->name, now_ms, rec, err);
}

static int add_missing(struct writer *writer, const struct bf_fleet_state *seen,
                       struct bf_written *ret, struct bf_err *err)
{
    if (seen->fleet_seen != BF_SEEN_TRUSTED) {
        struct bf_record *rec = next_record(writer, 0, err);

        if (!rec || bf_fleet_build(writer->what->fleet, rec, err))
            return -1;
        ret->fleet = true;
    }
    for (uint32_t shard = 0; shard < seen->shards; shard++) {
        for (int lane = 0; lane < BF_LANES; lane++) {
            if (bf_fleet_state_base(seen, shard, lane)->seen == BF_SEEN_TRUSTED)
                continue;
            if (add_base(writer, shard, lane, err))
                return -1;
            ret->bases++;
        }
    }
    return send_tree(writer, err);
}

static bool complete(const struct bf_fleet_state *seen)
{
    for (size_t i = 0; i < (size_t)seen->shards * BF_LANES; i++) {
        if (seen->bases[i].seen != BF_SEEN_TRUSTED)
            return false;
    }
    return seen->fleet_seen == BF_SEEN_TRUSTED;
}

static rd_kafka_t *open_producer(struct writer *writer, struct bf_err *err)
{
    const struct bf_kafka_want want = {
        .role = BF_KAFKA_PRODUCER,
        .dr_msg_cb = on_delivery,
        .opaque = writer,
        .max_message_bytes = BF_MAX_RECORD_SMALL,
    };

    return bf_kafka_open(writer->what->settings, &want, err);
}

int bf_fleet_write(const struct bf_fleet_writing *writing,
                   const struct bf_fleet_state *seen, struct bf_written *ret,
                   struct bf_err *err)
{
    bf_cleanup(tree_freep) struct tree *tree = calloc(1, sizeof(*tree));
    struct writer writer = {.what = writing, .tree = tree};
    struct bf_written written = {0};
    bf_cleanup(rk_destroyp) rd_kafka_t *rk = NULL;

    if (complete(seen)) {
        *ret = written;
        return 0;
    }
    if (!tree)
        return bf_err_oom(err);
    rk = open_producer(&writer, err);
    if (!rk)
        return -1;
    writer.rk = rk;
    bf_kafka_learn(rk, writing->topic);
    if (add_missing(&writer, seen, &written, err))
        return -1;
    if (rd_kafka_flush(rk, FLUSH_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return bf_err_set(err, BF_ERR_RETRY, "unreachable",
                          "%s: not all records were taken in %d s",
                          writing->topic, FLUSH_MS / 1000);
    if (writer.failed)
        return bf_err_set(err, BF_ERR_REJECT, "refused", "%s: %s",
                          writing->topic, rd_kafka_err2str(writer.failed));
    *ret = written;
    return 0;
}
