/* blockfleet doctor: asks, and lets doctor.c judge. */

#include "dispatcher/cli/commands.h"

#include "config/keys.h"
#include "config/settings.h"
#include "dispatcher/cli/client.h"
#include "dispatcher/cli/doctor.h"
#include "dispatcher/cli/text.h"
#include "schemas/err.h"

#define READY_MS 5000

struct visit {
    struct bf_cli *cli;
    const struct bf_settings *settings;
    struct bf_doctor doctor;
    struct bf_topics topics;
    struct bf_kafka *kafka;
    const struct rd_kafka_metadata *metadata;
    uint32_t shards; /* 0: the topics are not as they should be */
    struct bf_keyring *ring;
    struct bf_fleet_state state; /* bases NULL: not read */
};

/* A question that nobody could answer. */
static void unanswered(struct visit *visit, const char *check,
                       const struct bf_err *err)
{
    bf_doctor_add(&visit->doctor, BF_VERDICT_FAIL, check,
                  strcmp(err->code, "refused") == 0
                      ? "give the operator the rights of topics show --acls"
                      : "check kafka.brokers and the network",
                  "%s", err->msg);
}

static void visit_brokers(struct visit *visit)
{
    const struct bf_doctor_limits limits = {
        visit->settings->worker.session_timeout_ms,
        visit->settings->worker.transaction_timeout_ms,
    };
    json_auto_t *config = NULL;
    struct bf_err err = {0};

    visit->metadata = bf_kafka_metadata(visit->kafka, &err);
    if (!visit->metadata) {
        bf_doctor_add(&visit->doctor, BF_VERDICT_FAIL, "brokers",
                      "check kafka.brokers, the network, and that Kafka runs",
                      "%s does not answer: %s", visit->settings->kafka.brokers,
                      err.msg);
        return;
    }
    bf_doctor_add(&visit->doctor, BF_VERDICT_OK, "brokers", NULL,
                  "%d known, %s:%d among them", visit->metadata->broker_cnt,
                  visit->metadata->brokers[0].host,
                  visit->metadata->brokers[0].port);
    config = bf_kafka_broker_config(visit->kafka,
                                    visit->metadata->brokers[0].id, &err);
    if (!config) {
        bf_doctor_add(&visit->doctor, BF_VERDICT_WARN, "version",
                      "allow DescribeConfigs on the cluster",
                      "the brokers do not tell their settings: %s", err.msg);
        return;
    }
    bf_doctor_version(&visit->doctor, config);
    bf_doctor_broker(&visit->doctor, config, &limits);
}

static void visit_counts(struct visit *visit)
{
    struct bf_err err = {0};

    if (bf_topics_check_in(visit->metadata, &visit->topics, &visit->shards,
                           &err)) {
        bf_doctor_add(&visit->doctor, BF_VERDICT_FAIL, "topics",
                      "blockfleet topics init", "%s", err.msg);
        return;
    }
    bf_doctor_add(&visit->doctor, BF_VERDICT_OK, "topics", NULL,
                  "all %d are there, with %u partitions each", BF_TOPICS,
                  visit->shards);
    if (visit->metadata->broker_cnt < 3)
        bf_doctor_add(&visit->doctor, BF_VERDICT_WARN, "copies",
                      "for anything that matters, three brokers",
                      "%d %s: jobs are lost with a disk",
                      visit->metadata->broker_cnt,
                      visit->metadata->broker_cnt == 1 ? "broker" : "brokers");
}

static int replication_of(const struct rd_kafka_metadata *metadata,
                          const char *name)
{
    for (int i = 0; i < metadata->topic_cnt; i++) {
        if (strcmp(metadata->topics[i].topic, name) == 0 &&
            metadata->topics[i].partition_cnt > 0)
            return metadata->topics[i].partitions[0].replica_cnt;
    }
    return 0;
}

static void visit_topics(struct visit *visit)
{
    const char *names[BF_TOPICS];
    json_auto_t *configs = NULL;
    struct bf_err err = {0};

    for (int i = 0; i < BF_TOPICS; i++)
        names[i] = bf_topic_name(&visit->topics, (enum bf_topic)i);
    configs = bf_kafka_topic_configs(visit->kafka, names, BF_TOPICS, &err);
    if (!configs) {
        unanswered(visit, "topic settings", &err);
        return;
    }
    for (int i = 0; i < BF_TOPICS; i++) {
        const json_t *config = json_object_get(configs, names[i]);

        if (config)
            bf_doctor_topic(&visit->doctor, (enum bf_topic)i, names[i], config,
                            replication_of(visit->metadata, names[i]));
    }
}

static void visit_keys(struct visit *visit)
{
    struct bf_err err = {0};

    visit->ring = bf_keyring_load(visit->settings->keys.dir, &err);
    if (visit->ring)
        bf_doctor_keys(&visit->doctor, visit->ring);
    else
        bf_doctor_add(&visit->doctor, BF_VERDICT_FAIL, "keys",
                      "private keys are of mode 0600 and trusted; set keys.dir",
                      "%s", err.msg);
}

static void visit_state(struct visit *visit)
{
    const char *spread = bf_settings_where(visit->settings, "topics.spread");
    const struct bf_doctor_fleet settings = {
        .fleet = visit->settings->fleet,
        .spread = (uint32_t)visit->settings->topics.spread,
        .spread_is_default = spread && strcmp(spread, "default") == 0,
    };
    struct bf_err err = {0};

    if (bf_fleet_state_read(visit->kafka,
                            bf_topic_name(&visit->topics, BF_TOPIC_STATE),
                            visit->shards, visit->ring, &visit->state, &err))
        unanswered(visit, "state entries", &err);
    else
        bf_doctor_state(&visit->doctor, &visit->state, &settings);
}

static void visit_group(struct visit *visit)
{
    const char *name = visit->settings->kafka.group;
    struct bf_err err = {0};
    json_auto_t *group = bf_kafka_group(visit->kafka, name, &err);

    if (group)
        bf_doctor_group(&visit->doctor, group, name, visit->shards);
    else
        unanswered(visit, "workers", &err);
}

/* ---- how far the workers are --------------------------------------------- */

static void visit_lane(struct visit *visit, const struct bf_look *look,
                       enum bf_lane which)
{
    struct bf_doctor_lane lane = {0};
    struct bf_lane_seen seen;
    struct bf_err err = {0};

    for (uint32_t p = 0; p < visit->shards; p++) {
        if (bf_look_at(look, p, which, &seen, &err)) {
            unanswered(visit, "progress", &err);
            return;
        }
        bf_doctor_input(&lane, &seen);
    }
    bf_doctor_lane(&visit->doctor, bf_look_topic(look->topics, which), &lane);
}

static void visit_progress(struct visit *visit)
{
    bf_autolook struct bf_look look = {0};
    struct bf_err err = {0};

    if (bf_look_init(&look, visit->kafka, &visit->topics, &visit->state,
                     visit->settings->kafka.group, &err)) {
        unanswered(visit, "progress", &err);
        return;
    }
    for (int lane = 0; lane < BF_LANES; lane++)
        visit_lane(visit, &look, (enum bf_lane)lane);
}

static void visit_kafka(struct visit *visit)
{
    struct bf_err err = {0};

    visit->kafka = bf_kafka_new(visit->settings, &err);
    if (!visit->kafka) {
        unanswered(visit, "brokers", &err);
        return;
    }
    visit_brokers(visit);
    if (!visit->metadata)
        return;
    visit_counts(visit);
    visit_topics(visit);
    if (visit->shards == 0)
        return;
    if (visit->ring)
        visit_state(visit);
    visit_group(visit);
    if (visit->state.bases)
        visit_progress(visit);
}

static void visit_dispatcher(struct visit *visit)
{
    const struct bf_client_request request = {
        .method = "GET",
        .path = "/readyz",
        .timeout_ms = READY_MS,
        .tries = 1,
    };
    bf_autoreply struct bf_client_reply reply = BF_CLIENT_REPLY;
    struct bf_err err = {0};
    bf_autoclient struct bf_client *client = bf_cli_client(visit->cli, &err);

    if (!client || bf_client_send(client, &request, &reply, &err))
        bf_doctor_add(&visit->doctor, BF_VERDICT_FAIL, "dispatcher",
                      "start blockfleet-dispatcher, or set dispatcher.url; "
                      "--offline leaves this out",
                      "%s", err.msg);
    else
        bf_doctor_add(&visit->doctor, BF_VERDICT_OK, "dispatcher", NULL,
                      "%s is ready", visit->settings->dispatcher.url);
}

static void visit_release(struct visit *visit)
{
    bf_fleet_state_release(&visit->state);
    bf_keyring_free(visit->ring);
    if (visit->metadata)
        rd_kafka_metadata_destroy(visit->metadata);
    bf_kafka_free(visit->kafka);
    bf_doctor_release(&visit->doctor);
}

/* "FAIL  topics  what was found", and below it what to do. */
static int add_row(const json_t *row, struct bf_buf *out, struct bf_err *err)
{
    const char *next = json_string_value(json_object_get(row, "next"));
    const char *detail = json_string_value(json_object_get(row, "detail"));

    if (bf_buf_addf(out, err, "%-4s  %-14s  ",
                    json_string_value(json_object_get(row, "verdict")),
                    json_string_value(json_object_get(row, "check"))) ||
        bf_text_add(out, bf_slice_str(detail), 0, false, err) ||
        bf_buf_adds(out, "\n", err))
        return -1;
    return next ? bf_buf_addf(out, err, "%22s-> %s\n", "", next) : 0;
}

static int tell(struct visit *visit, struct bf_err *err)
{
    const struct bf_doctor *doctor = &visit->doctor;
    bf_autobuf struct bf_buf out = BF_BUF_INIT(1 << 20);
    json_t *row;
    size_t i;

    if (visit->cli->json)
        return bf_cli_rows(visit->cli, NULL, 0, doctor->rows, err);
    json_array_foreach(doctor->rows, i, row)
    {
        if (add_row(row, &out, err))
            return -1;
    }
    if (bf_buf_addf(&out, err, "\nok: %zu, warn: %zu, FAIL: %zu\n",
                    bf_doctor_count(doctor, BF_VERDICT_OK),
                    bf_doctor_count(doctor, BF_VERDICT_WARN),
                    bf_doctor_count(doctor, BF_VERDICT_FAIL)))
        return -1;
    return bf_cli_print(visit->cli, &out, err);
}

enum bf_exit bf_cmd_doctor(struct bf_cli *cli)
{
    bf_cleanup(visit_release) struct visit visit = {
        .cli = cli,
        .settings = cli->settings,
    };
    struct bf_err err = {0};

    if (bf_doctor_init(&visit.doctor, &err) ||
        bf_topics_init(&visit.topics, cli->settings->topics.prefix, &err))
        return bf_cli_fail(cli, &err);
    visit_keys(&visit);
    visit_kafka(&visit);
    if (!bf_args_has(&cli->args, "offline"))
        visit_dispatcher(&visit);
    if (tell(&visit, &err))
        return bf_cli_fail(cli, &err);
    return visit.doctor.worst == BF_VERDICT_FAIL ? BF_EXIT_UNHEALTHY
                                                 : BF_EXIT_OK;
}
