/* blockfleet topics: make a fleet's topics, and show them. */

#include "dispatcher/cli/commands.h"

#include <poll.h>

#include "config/clock.h"
#include "config/keys.h"
#include "config/settings.h"
#include "dispatcher/cli/acls.h"
#include "dispatcher/cli/fleet_write.h"
#include "dispatcher/cli/look.h"
#include "schemas/err.h"

#define APPEAR_MS 15000
#define POLL_MS 50

/* One run of `topics init`. */
struct init {
    struct bf_cli *cli;
    const struct bf_settings *settings;
    struct bf_kafka *kafka;
    struct bf_topics topics;
    uint32_t shards;
    struct bf_new_topic made[BF_TOPICS];
    size_t nmade;
    struct bf_fleet_state state;
    struct bf_written written;
};

static bool is_default(const struct bf_settings *settings, const char *name)
{
    const char *where = bf_settings_where(settings, name);

    return where && strcmp(where, "default") == 0;
}

static int print_acls(struct bf_cli *cli, const struct bf_topics *topics,
                      struct bf_err *err)
{
    const struct bf_acls acls = {topics, cli->settings->kafka.brokers,
                                 cli->settings->kafka.group};
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1 << 20);

    if (bf_acls_text(&acls, &text, err))
        return -1;
    return bf_cli_print(cli, &text, err);
}

/* ---- keys ---------------------------------------------------------------- */

static int make_dev_keys(struct bf_cli *cli, struct bf_err *err)
{
    const char *dir = cli->settings->keys.dir;
    bf_autokeyring struct bf_keyring *ring = bf_keyring_load(dir, NULL);
    char id[BF_KEY_ID_SIZE];

    for (int purpose = 0; purpose < BF_PURPOSES; purpose++) {
        if (ring && bf_keyring_signer(ring, (enum bf_purpose)purpose))
            continue;
        if (bf_keyring_generate(dir, (enum bf_purpose)purpose, NULL,
                                "made by topics init --dev-keys", id, err))
            return -1;
        bf_cli_say(cli, "made key %s for purpose %s in %s", id,
                   bf_purpose_name((enum bf_purpose)purpose), dir);
    }
    return 0;
}

/* Keys, with one that signs state; NULL when there is none. */
static struct bf_keyring *open_keys(struct bf_cli *cli, struct bf_err *err)
{
    bf_autokeyring struct bf_keyring *ring = NULL;

    if (bf_args_has(&cli->args, "dev-keys") && make_dev_keys(cli, err))
        return NULL;
    ring = bf_keyring_load(cli->settings->keys.dir, err);
    if (!ring && strcmp(err->code, "no_keys") != 0)
        return NULL;
    if (!ring || !bf_keyring_signer(ring, BF_PURPOSE_STATE)) {
        bf_err_set(err, BF_ERR_REJECT, "no_key",
                   "no key signs state in %.80s: run 'blockfleet keys new "
                   "state', or topics init with --dev-keys",
                   cli->settings->keys.dir);
        return NULL;
    }
    return bf_take(ring);
}

/* ---- topics -------------------------------------------------------------- */

/* How many partitions the topics have that are there; 0: none is. */
static int existing(struct init *init, const struct rd_kafka_metadata *metadata,
                    uint32_t *ret, struct bf_err *err)
{
    int found = 0;
    const char *first = "";

    for (int i = 0; i < BF_TOPICS; i++) {
        const char *name = bf_topic_name(&init->topics, (enum bf_topic)i);
        int count = bf_topic_partitions(metadata, name);

        if (count < 0)
            continue;
        if (found > 0 && count != found)
            return bf_err_set(err, BF_ERR_REJECT, "refused",
                              "%s has %d partitions but %s has %d; all topics "
                              "of a fleet must have the same number",
                              first, found, name, count);
        if (found == 0)
            first = name;
        found = count;
    }
    *ret = (uint32_t)found;
    return 0;
}

static int decide_shards(struct init *init,
                         const struct rd_kafka_metadata *metadata,
                         struct bf_err *err)
{
    uint32_t wanted = (uint32_t)init->settings->topics.shards, found = 0;

    if (existing(init, metadata, &found, err))
        return -1;
    init->shards = found > 0 ? found : wanted;
    if (found > 0 && found != wanted &&
        !is_default(init->settings, "topics.shards"))
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "the fleet has %u shards, topics.shards asks for %u: "
                          "the number is fixed for its life, because it "
                          "decides where every job and its state are",
                          found, wanted);
    return 0;
}

static int broker_default(struct init *init,
                          const struct rd_kafka_metadata *metadata)
{
    json_auto_t *config =
        metadata->broker_cnt > 0
            ? bf_kafka_broker_config(init->kafka, metadata->brokers[0].id, NULL)
            : NULL;
    const char *text = json_string_value(
        json_object_get(config, "default.replication.factor"));
    uint64_t number;

    if (text && bf_slice_u64(bf_slice_str(text), 100, &number) == 0)
        return (int)number;
    return -1;
}

static int create(struct init *init, const struct rd_kafka_metadata *metadata,
                  struct bf_err *err)
{
    int replication = (int)init->settings->topics.replication;

    if (replication < 0)
        replication = broker_default(init, metadata);
    for (int i = 0; i < BF_TOPICS; i++) {
        struct bf_new_topic *topic = &init->made[init->nmade];
        const char *name = bf_topic_name(&init->topics, (enum bf_topic)i);

        if (bf_topic_partitions(metadata, name) >= 0)
            continue;
        topic->name = name;
        topic->partitions = (int)init->shards;
        topic->replication = replication;
        topic->nsettings =
            bf_topic_settings((enum bf_topic)i, replication, topic->settings);
        init->nmade++;
    }
    if (init->nmade == 0)
        return 0;
    return bf_kafka_create(init->kafka, init->made, init->nmade, err);
}

/* New topics show up, with leaders, a moment after they were created. */
static int await_topics(struct init *init, struct bf_err *err)
{
    int64_t until_ms = bf_mono_ms() + APPEAR_MS;
    uint32_t shards = 0;

    while (bf_topics_check(bf_kafka_handle(init->kafka), &init->topics,
                           APPEAR_MS, &shards, err)) {
        if (bf_mono_ms() > until_ms)
            return -1;
        poll(NULL, 0, POLL_MS);
    }
    if (shards != init->shards)
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "the topics have %u partitions, not %u: another "
                          "topics init has been faster",
                          shards, init->shards);
    return 0;
}

/* The first b entry that counts offsets of this lane, or NULL. */
static const struct bf_base_seen *done_of(const struct bf_fleet_state *state,
                                          enum bf_lane lane,
                                          uint32_t *ret_shard)
{
    for (uint32_t i = 0; i < state->shards; i++) {
        const struct bf_base_seen *base = bf_fleet_state_base(state, i, lane);

        *ret_shard = i;
        if (base->base.known && base->base.meta.base > 0)
            return base;
    }
    return NULL;
}

/*
 * Beside a state that counts what was done in an old log, the first jobs of a
 * new one would be taken for done.
 */
static int check_memory(struct init *init, struct bf_keyring *ring,
                        const struct rd_kafka_metadata *metadata,
                        struct bf_err *err)
{
    const char *topic = bf_topic_name(&init->topics, BF_TOPIC_STATE);
    bf_autofleetstate struct bf_fleet_state state = {0};
    uint32_t shard;

    if (bf_topic_partitions(metadata, topic) < 0)
        return 0;
    if (bf_fleet_state_read(init->kafka, topic, init->shards, ring, &state,
                            err))
        return -1;
    for (int lane = 0; lane < BF_LANES; lane++) {
        const char *name = bf_look_topic(&init->topics, (enum bf_lane)lane);
        const struct bf_base_seen *base =
            done_of(&state, (enum bf_lane)lane, &shard);

        if (base && bf_topic_partitions(metadata, name) < 0)
            return bf_err_set(err, BF_ERR_REJECT, "refused",
                              "%s is gone, but %s says that its first %lld "
                              "offsets in shard %u are done: they would be "
                              "skipped in a new one; delete %s too, to begin "
                              "anew",
                              name, topic, (long long)base->base.meta.base,
                              shard, topic);
    }
    return 0;
}

static int make_topics(struct init *init, struct bf_keyring *ring,
                       struct bf_err *err)
{
    const struct rd_kafka_metadata *metadata =
        bf_kafka_metadata(init->kafka, err);
    int status;

    if (!metadata)
        return -1;
    status = decide_shards(init, metadata, err) ||
             check_memory(init, ring, metadata, err) ||
             create(init, metadata, err);
    rd_kafka_metadata_destroy(metadata);
    return status ? -1 : await_topics(init, err);
}

/* ---- state --------------------------------------------------------------- */

static int check_fleet(struct init *init, struct bf_err *err)
{
    const struct bf_fleet *fleet = &init->state.fleet;
    const struct bf_settings *settings = init->settings;

    if (init->state.fleet_seen != BF_SEEN_TRUSTED)
        return 0;
    if (strcmp(fleet->name, settings->fleet) != 0)
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "these topics belong to fleet '%s', not '%s'; give "
                          "another topics.prefix",
                          fleet->name, settings->fleet);
    if (fleet->spread != (uint32_t)settings->topics.spread &&
        !is_default(settings, "topics.spread"))
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "the fleet has spread %u, topics.spread asks for "
                          "%lld: it is fixed for the life of a fleet",
                          fleet->spread, (long long)settings->topics.spread);
    return 0;
}

/* Writing over what somebody else has signed would hide it. */
static int check_trust(struct init *init, struct bf_err *err)
{
    const char *why = NULL;

    if (bf_args_has(&init->cli->args, "replace-untrusted"))
        return 0;
    if (init->state.fleet_seen == BF_SEEN_UNTRUSTED)
        why = init->state.fleet_why;
    for (uint32_t i = 0; i < init->shards * BF_LANES && !why; i++) {
        if (init->state.bases[i].seen == BF_SEEN_UNTRUSTED)
            why = init->state.bases[i].why;
    }
    if (!why)
        return 0;
    return bf_err_set(err, BF_ERR_REJECT, "refused",
                      "the state has entries that are not trusted (%.100s): "
                      "trust their key, or --replace-untrusted",
                      why);
}

static int write_state(struct init *init, struct bf_keyring *ring,
                       struct bf_err *err)
{
    const char *topic = bf_topic_name(&init->topics, BF_TOPIC_STATE);
    const struct bf_settings *settings = init->settings;
    struct bf_fleet fleet = {
        .shards = init->shards,
        .spread = (uint32_t)settings->topics.spread,
        .created_ms = bf_now_ms(),
    };
    const struct bf_fleet_writing writing = {
        .settings = settings,
        .topic = topic,
        .fleet = &fleet,
        .signer = bf_keyring_signer(ring, BF_PURPOSE_STATE),
    };

    snprintf(fleet.name, sizeof(fleet.name), "%s", settings->fleet);
    if (bf_fleet_state_read(init->kafka, topic, init->shards, ring,
                            &init->state, err) ||
        check_fleet(init, err) || check_trust(init, err) ||
        bf_fleet_write(&writing, &init->state, &init->written, err))
        return -1;
    if (init->state.fleet_seen != BF_SEEN_TRUSTED)
        init->state.fleet = fleet;
    return 0;
}

/* ---- what was done ------------------------------------------------------- */

static bool was_created(const struct init *init, const char *name)
{
    for (size_t i = 0; i < init->nmade; i++) {
        if (strcmp(init->made[i].name, name) == 0)
            return init->made[i].ret_created;
    }
    return false;
}

static bool changed(const struct init *init)
{
    for (size_t i = 0; i < init->nmade; i++) {
        if (init->made[i].ret_created)
            return true;
    }
    return init->written.fleet || init->written.bases > 0;
}

static json_t *report(const struct init *init)
{
    const struct bf_fleet *fleet = &init->state.fleet;
    json_t *topics = json_array();

    for (int i = 0; i < BF_TOPICS; i++) {
        const char *name = bf_topic_name(&init->topics, (enum bf_topic)i);

        json_array_append_new(
            topics, json_pack("{s:s, s:i, s:s}", "topic", name, "partitions",
                              (int)init->shards, "was",
                              was_created(init, name) ? "created" : "there"));
    }
    return json_pack("{s:b, s:{s:s, s:i, s:i}, s:b, s:I, s:o}", "changed",
                     changed(init), "fleet", "name", fleet->name, "shards",
                     (int)fleet->shards, "spread", (int)fleet->spread,
                     "fleet_written", init->written.fleet, "bases_written",
                     (json_int_t)init->written.bases, "topics", topics);
}

static int tell(struct init *init, struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"topic", "TOPIC", false, 0},
        {"partitions", "PARTITIONS", true, 0},
        {"was", "WAS", false, 0},
    };
    json_auto_t *doc = report(init);
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1 << 20);
    const struct bf_fleet *fleet = &init->state.fleet;

    if (!doc)
        return bf_err_oom(err);
    if (init->cli->json)
        return bf_table_json(doc, &text, err) ||
                       bf_cli_print(init->cli, &text, err)
                   ? -1
                   : 0;
    if (bf_table_text(columns, bf_countof(columns),
                      json_object_get(doc, "topics"), &text, err) ||
        bf_buf_addf(&text, err, "\nfleet %s: %u shards, spread %u\n",
                    fleet->name, fleet->shards, fleet->spread))
        return -1;
    if (changed(init)
            ? bf_buf_addf(&text, err, "signed %zu beginnings%s\n",
                          init->written.bases,
                          init->written.fleet ? " and the fleet's entry" : "")
            : bf_buf_adds(&text,
                          "nothing to do: all of it was there"
                          " already\n",
                          err))
        return -1;
    return bf_cli_print(init->cli, &text, err);
}

static int init_run(struct bf_cli *cli, struct bf_err *err)
{
    struct init init = {.cli = cli, .settings = cli->settings};
    bf_autokeyring struct bf_keyring *ring = NULL;
    bf_autokafka struct bf_kafka *kafka = NULL;
    int status;

    if (bf_topics_init(&init.topics, cli->settings->topics.prefix, err))
        return -1;
    if (bf_args_has(&cli->args, "acls"))
        return print_acls(cli, &init.topics, err);
    ring = open_keys(cli, err);
    kafka = ring ? bf_kafka_new(cli->settings, err) : NULL;
    if (!kafka)
        return -1;
    init.kafka = kafka;
    status = make_topics(&init, ring, err) || write_state(&init, ring, err) ||
             tell(&init, err);
    bf_fleet_state_release(&init.state);
    return status ? -1 : 0;
}

enum bf_exit bf_cmd_topics_init(struct bf_cli *cli)
{
    struct bf_err err = {0};

    return init_run(cli, &err) ? bf_cli_fail(cli, &err) : BF_EXIT_OK;
}

/* ---- show ---------------------------------------------------------------- */

/* Records of a topic by its offsets: markers and gaps count too. */
static int span(struct bf_kafka *kafka, const char *name, int partitions,
                int64_t *ret, struct bf_err *err)
{
    int64_t total = 0, low, high;

    for (int i = 0; i < partitions; i++) {
        if (bf_kafka_watermarks(kafka, name, i, &low, &high, err))
            return -1;
        total += high - low;
    }
    *ret = total;
    return 0;
}

static int replicas(const struct rd_kafka_metadata *metadata, const char *name)
{
    for (int i = 0; i < metadata->topic_cnt; i++) {
        if (strcmp(metadata->topics[i].topic, name) == 0 &&
            metadata->topics[i].partition_cnt > 0)
            return metadata->topics[i].partitions[0].replica_cnt;
    }
    return 0;
}

static int show_row(struct bf_kafka *kafka,
                    const struct rd_kafka_metadata *metadata, const char *name,
                    json_t *rows, struct bf_err *err)
{
    json_auto_t *configs = bf_kafka_topic_configs(kafka, &name, 1, err);
    const json_t *config = json_object_get(configs, name);
    int partitions = bf_topic_partitions(metadata, name);
    int64_t offsets = 0;
    json_t *row;

    if (!configs)
        return -1;
    row = json_pack("{s:s}", "topic", name);
    json_array_append_new(rows, row);
    if (partitions < 0)
        return json_object_set_new(row, "cleanup.policy",
                                   json_string("missing"));
    if (span(kafka, name, partitions, &offsets, err))
        return -1;
    json_object_set_new(row, "partitions", json_integer(partitions));
    json_object_set_new(row, "replication",
                        json_integer(replicas(metadata, name)));
    json_object_set_new(row, "offsets", json_integer(offsets));
    return json_object_update_missing(row, (json_t *)(uintptr_t)config);
}

static int show_run(struct bf_cli *cli, struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"topic", "TOPIC", false, 0},
        {"partitions", "PARTITIONS", true, 0},
        {"replication", "COPIES", true, 0},
        {"cleanup.policy", "CLEANUP", false, 0},
        {"retention.ms", "RETENTION MS", true, 0},
        {"max.message.bytes", "MAX MESSAGE", true, 0},
        {"offsets", "OFFSETS", true, 0},
    };
    const struct rd_kafka_metadata *metadata;
    bf_autokafka struct bf_kafka *kafka = NULL;
    json_auto_t *rows = json_array();
    struct bf_topics topics;
    int status = 0;

    if (bf_topics_init(&topics, cli->settings->topics.prefix, err))
        return -1;
    if (bf_args_has(&cli->args, "acls"))
        return print_acls(cli, &topics, err);
    kafka = bf_kafka_new(cli->settings, err);
    metadata = kafka ? bf_kafka_metadata(kafka, err) : NULL;
    if (!metadata)
        return -1;
    for (int i = 0; i < BF_TOPICS && status == 0; i++)
        status = show_row(kafka, metadata,
                          bf_topic_name(&topics, (enum bf_topic)i), rows, err);
    rd_kafka_metadata_destroy(metadata);
    if (status)
        return -1;
    return bf_cli_rows(cli, columns, bf_countof(columns), rows, err);
}

enum bf_exit bf_cmd_topics_show(struct bf_cli *cli)
{
    struct bf_err err = {0};

    return show_run(cli, &err) ? bf_cli_fail(cli, &err) : BF_EXIT_OK;
}
