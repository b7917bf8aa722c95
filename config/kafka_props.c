#include "config/kafka_props.h"

#include <librdkafka/rdkafka.h>
#include <string.h>

#include "schemas/check.h"
#include "schemas/err.h"

/* Parts of names; ".pem" certificates that are public are silenced as well. */
static const char *const secret_parts[] = {
    "password", "secret", ".pem", "oauthbearer.config", "jaas",
};

static const struct {
    const char *name;
    const char *why;
} own[] = {
    {"enable.auto.commit", "offsets are committed in the transaction only"},
    {"auto.commit.enable", "offsets are committed in the transaction only"},
    {"enable.auto.offset.store", "offsets are committed in the transaction"},
    {"auto.offset.reset", "a lost offset must stop, not skip or repeat jobs"},
    {"isolation.level", "each handle needs its own"},
    {"enable.idempotence", "exactly-once needs it on"},
    {"acks", "exactly-once needs all replicas"},
    {"request.required.acks", "exactly-once needs all replicas"},
    {"transactional.id", "fencing is made of group, instance and slot"},
    {"partition.assignment.strategy", "rebalances are handled cooperatively"},
    {"group.instance.id", "static members fence themselves after an outage"},
    {"enable.partition.eof", "restoring a shard ends at it"},
    {"client.id", "it is made of the role and the option instance"},
    {"bootstrap.servers", "set the option kafka.brokers"},
    {"metadata.broker.list", "set the option kafka.brokers"},
    {"group.id", "set the option kafka.group"},
    {"session.timeout.ms", "set the option worker.session_timeout"},
    {"heartbeat.interval.ms", "set the option worker.heartbeat"},
    {"transaction.timeout.ms", "set the option worker.transaction_timeout"},
};

bool bf_kafka_prop_is_secret(const char *name)
{
    for (size_t i = 0; i < bf_countof(secret_parts); i++) {
        if (strstr(name, secret_parts[i]))
            return true;
    }
    return false;
}

/* The names with a _ are callbacks and pointers, which no text can set. */
static bool is_name(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len <= 100 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.") == len;
}

static int try_value(const char *name, const char *value, struct bf_err *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[160] = "";
    rd_kafka_conf_res_t res =
        rd_kafka_conf_set(conf, name, value, why, sizeof(why));

    rd_kafka_conf_destroy(conf);
    if (res == RD_KAFKA_CONF_OK)
        return 0;
    if (res == RD_KAFKA_CONF_UNKNOWN)
        return bf_err_set(err, BF_ERR_REJECT, "unknown_property",
                          "librdkafka has no property %s", name);
    if (bf_kafka_prop_is_secret(name))
        return bf_err_set(err, BF_ERR_REJECT, "bad_value",
                          "librdkafka refuses the value of %s", name);
    return bf_err_set(err, BF_ERR_REJECT, "bad_value", "%s", why);
}

int bf_kafka_prop_check(const char *name, const char *value, struct bf_err *err)
{
    if (!is_name(name))
        return bf_err_set(err, BF_ERR_REJECT, "unknown_property",
                          "librdkafka has no property of that name");
    for (size_t i = 0; i < bf_countof(own); i++) {
        if (strcmp(name, own[i].name) == 0)
            return bf_err_set(err, BF_ERR_REJECT, "own_property",
                              "%s cannot be set: %s", name, own[i].why);
    }
    return try_value(name, value, err);
}
