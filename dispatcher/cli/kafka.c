#include "dispatcher/cli/kafka.h"

#include <stdio.h>

#include "config/kafka_conf.h"
#include "config/settings.h"
#include "schemas/err.h"

#define ASK_MS 10000
#define WATERMARK_MS 5000
#define PTR_SIZE sizeof(void *)

struct bf_kafka {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
};

BF_DEFINE_CLEANUP(event_destroyp, rd_kafka_event_t *, rd_kafka_event_destroy)
BF_DEFINE_CLEANUP(options_destroyp, rd_kafka_AdminOptions_t *,
                  rd_kafka_AdminOptions_destroy)

static int refused(rd_kafka_resp_err_t code, const char *what, const char *why,
                   struct bf_err *err)
{
    bool silent = code == RD_KAFKA_RESP_ERR__TIMED_OUT ||
                  code == RD_KAFKA_RESP_ERR__TRANSPORT ||
                  code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
                  code == RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE;

    return bf_err_set(err, silent ? BF_ERR_RETRY : BF_ERR_REJECT,
                      silent ? "unreachable" : "refused", "%s: %s", what,
                      why ? why : rd_kafka_err2str(code));
}

static void on_log(const rd_kafka_t *rk, int level, const char *facility,
                   const char *text)
{
    (void)rk;
    (void)level;
    (void)facility;
    (void)text;
}

static void on_error(rd_kafka_t *rk, int code, const char *why, void *opaque)
{
    (void)rk;
    (void)code;
    (void)why;
    (void)opaque;
}

rd_kafka_t *bf_kafka_open(const struct bf_settings *settings,
                          const struct bf_kafka_want *want, struct bf_err *err)
{
    rd_kafka_conf_t *conf = bf_kafka_conf_new(settings, want, err);
    char why[200];
    rd_kafka_t *rk;

    if (!conf)
        return NULL;
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rk = rd_kafka_new(bf_kafka_role_type(want->role), conf, why, sizeof(why));
    if (!rk) {
        rd_kafka_conf_destroy(conf);
        bf_err_set(err, BF_ERR_REJECT, "usage", "%s", why);
    }
    return rk;
}

void bf_kafka_learn(rd_kafka_t *rk, const char *topic)
{
    rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, topic, NULL);
    const struct rd_kafka_metadata *metadata = NULL;

    if (!handle)
        return;
    if (rd_kafka_metadata(rk, 0, handle, &metadata, ASK_MS) ==
        RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(handle);
}

struct bf_kafka *bf_kafka_new(const struct bf_settings *settings,
                              struct bf_err *err)
{
    const struct bf_kafka_want want = {.role = BF_KAFKA_READER_COMMITTED};
    bf_autokafka struct bf_kafka *kafka = calloc(1, sizeof(*kafka));

    if (!kafka) {
        bf_err_oom(err);
        return NULL;
    }
    kafka->rk = bf_kafka_open(settings, &want, err);
    if (!kafka->rk)
        return NULL;
    rd_kafka_poll_set_consumer(kafka->rk);
    kafka->queue = rd_kafka_queue_new(kafka->rk);
    return bf_take(kafka);
}

void bf_kafka_free(struct bf_kafka *kafka)
{
    if (!kafka)
        return;
    if (kafka->queue)
        rd_kafka_queue_destroy(kafka->queue);
    if (kafka->rk)
        rd_kafka_destroy(kafka->rk);
    free(kafka);
}

rd_kafka_t *bf_kafka_handle(struct bf_kafka *kafka)
{
    return kafka->rk;
}

const struct rd_kafka_metadata *bf_kafka_metadata(struct bf_kafka *kafka,
                                                  struct bf_err *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code =
        rd_kafka_metadata(kafka->rk, 1, NULL, &metadata, ASK_MS);

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return metadata;
    refused(code, "metadata", NULL, err);
    return NULL;
}

static rd_kafka_AdminOptions_t *options_new(struct bf_kafka *kafka,
                                            rd_kafka_admin_op_t operation)
{
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(kafka->rk, operation);

    if (options)
        rd_kafka_AdminOptions_set_request_timeout(options, ASK_MS, NULL, 0);
    return options;
}

/* The event of one request; NULL when it failed as a whole. */
static rd_kafka_event_t *answer(struct bf_kafka *kafka, const char *what,
                                struct bf_err *err)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(kafka->queue, 2 * ASK_MS);

    if (!event) {
        refused(RD_KAFKA_RESP_ERR__TIMED_OUT, what, NULL, err);
        return NULL;
    }
    if (rd_kafka_event_error(event)) {
        refused(rd_kafka_event_error(event), what,
                rd_kafka_event_error_string(event), err);
        rd_kafka_event_destroy(event);
        return NULL;
    }
    return event;
}

/* ---- topics -------------------------------------------------------------- */

static rd_kafka_NewTopic_t *new_topic(const struct bf_new_topic *topic,
                                      struct bf_err *err)
{
    char why[200];
    rd_kafka_NewTopic_t *wanted = rd_kafka_NewTopic_new(
        topic->name, topic->partitions, topic->replication, why, sizeof(why));

    if (!wanted) {
        bf_err_set(err, BF_ERR_REJECT, "usage", "%s: %s", topic->name, why);
        return NULL;
    }
    for (size_t i = 0; i < topic->nsettings; i++)
        rd_kafka_NewTopic_set_config(wanted, topic->settings[i].name,
                                     topic->settings[i].value);
    return wanted;
}

static int created(rd_kafka_event_t *event, struct bf_new_topic *topics,
                   size_t ntopics, struct bf_err *err)
{
    size_t n = 0;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(
            rd_kafka_event_CreateTopics_result(event), &n);

    for (size_t i = 0; i < n && i < ntopics; i++) {
        rd_kafka_resp_err_t code = rd_kafka_topic_result_error(results[i]);

        topics[i].ret_created = code == RD_KAFKA_RESP_ERR_NO_ERROR;
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR &&
            code != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
            return refused(code, rd_kafka_topic_result_name(results[i]),
                           rd_kafka_topic_result_error_string(results[i]), err);
    }
    return 0;
}

int bf_kafka_create(struct bf_kafka *kafka, struct bf_new_topic *topics,
                    size_t ntopics, struct bf_err *err)
{
    bf_cleanup(options_destroyp) rd_kafka_AdminOptions_t *options =
        options_new(kafka, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    bf_autofree rd_kafka_NewTopic_t **wanted = calloc(ntopics + 1, PTR_SIZE);
    bf_cleanup(event_destroyp) rd_kafka_event_t *event = NULL;
    size_t made = 0;

    if (!options || !wanted)
        return bf_err_oom(err);
    while (made < ntopics) {
        wanted[made] = new_topic(&topics[made], err);
        if (!wanted[made])
            break;
        made++;
    }
    if (made == ntopics) {
        rd_kafka_AdminOptions_set_operation_timeout(options, ASK_MS, NULL, 0);
        rd_kafka_CreateTopics(kafka->rk, wanted, ntopics, options,
                              kafka->queue);
        event = answer(kafka, "create topics", err);
    }
    rd_kafka_NewTopic_destroy_array(wanted, made);
    return event ? created(event, topics, ntopics, err) : -1;
}

static json_t *entries(const rd_kafka_ConfigResource_t *resource)
{
    json_t *found = json_object();
    size_t n = 0;
    const rd_kafka_ConfigEntry_t **list =
        rd_kafka_ConfigResource_configs(resource, &n);

    for (size_t i = 0; i < n; i++) {
        const char *value = rd_kafka_ConfigEntry_value(list[i]);

        if (value)
            json_object_set_new(found, rd_kafka_ConfigEntry_name(list[i]),
                                json_string(value));
    }
    return found;
}

/* {name: {property: value}} of an answer; missing ones are left out. */
static json_t *described(rd_kafka_event_t *event, struct bf_err *err)
{
    json_auto_t *found = json_object();
    size_t n = 0;
    const rd_kafka_ConfigResource_t **resources =
        rd_kafka_DescribeConfigs_result_resources(
            rd_kafka_event_DescribeConfigs_result(event), &n);

    for (size_t i = 0; i < n; i++) {
        rd_kafka_resp_err_t code = rd_kafka_ConfigResource_error(resources[i]);
        const char *name = rd_kafka_ConfigResource_name(resources[i]);

        if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
            continue;
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            refused(code, name,
                    rd_kafka_ConfigResource_error_string(resources[i]), err);
            return NULL;
        }
        json_object_set_new(found, name, entries(resources[i]));
    }
    return bf_take(found);
}

static json_t *describe(struct bf_kafka *kafka, rd_kafka_ResourceType_t type,
                        const char *const *names, size_t n, struct bf_err *err)
{
    bf_cleanup(options_destroyp) rd_kafka_AdminOptions_t *options =
        options_new(kafka, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    bf_autofree rd_kafka_ConfigResource_t **wanted = calloc(n + 1, PTR_SIZE);
    bf_cleanup(event_destroyp) rd_kafka_event_t *event = NULL;

    if (!options || !wanted) {
        bf_err_oom(err);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        wanted[i] = rd_kafka_ConfigResource_new(type, names[i]);
    rd_kafka_DescribeConfigs(kafka->rk, wanted, n, options, kafka->queue);
    rd_kafka_ConfigResource_destroy_array(wanted, n);
    event = answer(kafka, "describe configs", err);
    return event ? described(event, err) : NULL;
}

json_t *bf_kafka_topic_configs(struct bf_kafka *kafka, const char *const *names,
                               size_t n, struct bf_err *err)
{
    return describe(kafka, RD_KAFKA_RESOURCE_TOPIC, names, n, err);
}

json_t *bf_kafka_broker_config(struct bf_kafka *kafka, int32_t broker,
                               struct bf_err *err)
{
    char name[16];
    const char *names[] = {name};
    json_auto_t *all = NULL;

    snprintf(name, sizeof(name), "%d", broker);
    all = describe(kafka, RD_KAFKA_RESOURCE_BROKER, names, 1, err);
    if (!all)
        return NULL;
    return json_incref(json_object_get(all, name));
}

/* ---- the group ----------------------------------------------------------- */

static json_t *member(const rd_kafka_MemberDescription_t *member)
{
    const rd_kafka_MemberAssignment_t *assignment =
        rd_kafka_MemberDescription_assignment(member);
    const rd_kafka_topic_partition_list_t *list =
        assignment ? rd_kafka_MemberAssignment_partitions(assignment) : NULL;

    json_t *numbers = json_array();

    for (int i = 0; list && i < list->cnt; i++)
        json_array_append_new(numbers, json_integer(list->elems[i].partition));
    return json_pack("{s:s, s:s, s:i, s:o}", "client",
                     rd_kafka_MemberDescription_client_id(member), "host",
                     rd_kafka_MemberDescription_host(member), "partitions",
                     list ? list->cnt : 0, "numbers", numbers);
}

static json_t *group_of(const rd_kafka_ConsumerGroupDescription_t *group,
                        struct bf_err *err)
{
    const rd_kafka_error_t *error =
        rd_kafka_ConsumerGroupDescription_error(group);
    const char *assignor =
        rd_kafka_ConsumerGroupDescription_partition_assignor(group);
    json_t *members = json_array();
    size_t n = rd_kafka_ConsumerGroupDescription_member_count(group);

    if (error) {
        json_decref(members);
        refused(rd_kafka_error_code(error), "consumer group",
                rd_kafka_error_string(error), err);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        json_array_append_new(
            members,
            member(rd_kafka_ConsumerGroupDescription_member(group, i)));
    return json_pack("{s:s, s:s, s:o}", "state",
                     rd_kafka_consumer_group_state_name(
                         rd_kafka_ConsumerGroupDescription_state(group)),
                     "assignor", assignor ? assignor : "", "members", members);
}

json_t *bf_kafka_group(struct bf_kafka *kafka, const char *group,
                       struct bf_err *err)
{
    bf_cleanup(options_destroyp) rd_kafka_AdminOptions_t *options =
        options_new(kafka, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
    bf_cleanup(event_destroyp) rd_kafka_event_t *event = NULL;
    const rd_kafka_ConsumerGroupDescription_t **groups;
    const char *names[] = {group};
    size_t n = 0;

    if (!options) {
        bf_err_oom(err);
        return NULL;
    }
    rd_kafka_DescribeConsumerGroups(kafka->rk, names, 1, options, kafka->queue);
    event = answer(kafka, "describe the consumer group", err);
    if (!event)
        return NULL;
    groups = rd_kafka_DescribeConsumerGroups_result_groups(
        rd_kafka_event_DescribeConsumerGroups_result(event), &n);
    if (n == 1)
        return group_of(groups[0], err);
    refused(RD_KAFKA_RESP_ERR__BAD_MSG, "consumer group", NULL, err);
    return NULL;
}

static rd_kafka_topic_partition_list_t *committed_of(rd_kafka_event_t *event,
                                                     struct bf_err *err)
{
    size_t n = 0;
    const rd_kafka_group_result_t **groups =
        rd_kafka_ListConsumerGroupOffsets_result_groups(
            rd_kafka_event_ListConsumerGroupOffsets_result(event), &n);
    const rd_kafka_error_t *error =
        n == 1 ? rd_kafka_group_result_error(groups[0]) : NULL;

    if (n == 1 && !error)
        return rd_kafka_topic_partition_list_copy(
            rd_kafka_group_result_partitions(groups[0]));
    refused(error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR__BAD_MSG,
            "committed offsets", error ? rd_kafka_error_string(error) : NULL,
            err);
    return NULL;
}

rd_kafka_topic_partition_list_t *bf_kafka_committed(struct bf_kafka *kafka,
                                                    const char *group,
                                                    const char *const *topics,
                                                    size_t n, uint32_t shards,
                                                    struct bf_err *err)
{
    bf_cleanup(options_destroyp) rd_kafka_AdminOptions_t *options =
        options_new(kafka, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    bf_cleanup(event_destroyp) rd_kafka_event_t *event = NULL;
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)(n * shards));
    rd_kafka_ListConsumerGroupOffsets_t *wanted;

    for (size_t i = 0; i < n; i++)
        rd_kafka_topic_partition_list_add_range(list, topics[i], 0,
                                                (int32_t)shards - 1);
    wanted = rd_kafka_ListConsumerGroupOffsets_new(group, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (options)
        rd_kafka_ListConsumerGroupOffsets(kafka->rk, &wanted, 1, options,
                                          kafka->queue);
    rd_kafka_ListConsumerGroupOffsets_destroy(wanted);
    if (!options) {
        bf_err_oom(err);
        return NULL;
    }
    event = answer(kafka, "committed offsets", err);
    return event ? committed_of(event, err) : NULL;
}

int bf_kafka_watermarks(struct bf_kafka *kafka, const char *topic,
                        int32_t partition, int64_t *ret_low, int64_t *ret_high,
                        struct bf_err *err)
{
    int64_t low, high;
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
        kafka->rk, topic, partition, &low, &high, WATERMARK_MS);

    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return refused(code, topic, NULL, err);
    *ret_low = low;
    *ret_high = high;
    return 0;
}
