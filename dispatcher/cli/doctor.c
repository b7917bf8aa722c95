#include "dispatcher/cli/doctor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "config/keys.h"
#include "schemas/err.h"

static const char *const verdicts[] = {"ok", "warn", "FAIL"};

int bf_doctor_init(struct bf_doctor *doctor, struct bf_err *err)
{
    doctor->worst = BF_VERDICT_OK;
    doctor->rows = json_array();
    return doctor->rows ? 0 : bf_err_oom(err);
}

void bf_doctor_release(struct bf_doctor *doctor)
{
    json_decref(doctor->rows);
    doctor->rows = NULL;
}

void bf_doctor_add(struct bf_doctor *doctor, enum bf_verdict verdict,
                   const char *check, const char *next, const char *fmt, ...)
{
    char detail[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    if (verdict > doctor->worst)
        doctor->worst = verdict;
    json_array_append_new(doctor->rows,
                          json_pack("{s:s, s:s, s:s, s:s?}", "check", check,
                                    "verdict", verdicts[verdict], "detail",
                                    detail, "next", next));
}

size_t bf_doctor_count(const struct bf_doctor *doctor, enum bf_verdict verdict)
{
    size_t count = 0, i;
    json_t *row;

    json_array_foreach(doctor->rows, i, row)
    {
        const char *word = json_string_value(json_object_get(row, "verdict"));

        if (word && strcmp(word, verdicts[verdict]) == 0)
            count++;
    }
    return count;
}

/* ---- brokers ------------------------------------------------------------- */

void bf_doctor_version(struct bf_doctor *doctor, const json_t *config)
{
    /* properties that came and went: brokers do not tell their version */
    bool old_format = json_object_get(config, "log.message.format.version");
    bool verification =
        json_object_get(config, "transaction.partition.verification.enable");

    if (!verification)
        bf_doctor_add(doctor, BF_VERDICT_FAIL, "version",
                      "run Apache Kafka 3.6 or newer",
                      "Kafka is older than 3.6: a late request may join a "
                      "transaction that is not its own");
    else if (old_format)
        bf_doctor_add(doctor, BF_VERDICT_OK, "version", NULL,
                      "Kafka 3.6 to 3.9");
    else
        bf_doctor_add(doctor, BF_VERDICT_OK, "version", NULL,
                      "Kafka 4.0 or newer");
}

/* A number of a configuration; fallback when it is not told. */
static int64_t number_of(const json_t *config, const char *name,
                         int64_t fallback)
{
    const char *text = json_string_value(json_object_get(config, name));
    uint64_t number;

    if (!text)
        return fallback;
    if (strcmp(text, "-1") == 0)
        return -1;
    return bf_slice_u64(bf_slice_str(text), INT64_MAX, &number) == 0
               ? (int64_t)number
               : fallback;
}

static bool at_least(struct bf_doctor *doctor, const json_t *config,
                     const char *name, int64_t least)
{
    int64_t value = number_of(config, name, INT64_MAX);

    if (value >= least)
        return true;
    bf_doctor_add(
        doctor, BF_VERDICT_FAIL, "broker limits", "raise it on every broker",
        "%s is %" PRId64 ", workers need %" PRId64, name, value, least);
    return false;
}

void bf_doctor_broker(struct bf_doctor *doctor, const json_t *config,
                      const struct bf_doctor_limits *limits)
{
    int64_t session_min = number_of(config, "group.min.session.timeout.ms", 0);
    bool fine = true;

    fine &= at_least(doctor, config, "transaction.max.timeout.ms",
                     limits->transaction_timeout_ms);
    fine &= at_least(doctor, config, "group.max.session.timeout.ms",
                     limits->session_timeout_ms);
    fine &=
        at_least(doctor, config, "offset.metadata.max.bytes", BF_MAX_METADATA);
    fine &= at_least(doctor, config, "socket.request.max.bytes",
                     BF_MAX_RECORD + (1 << 20));
    if (session_min > limits->session_timeout_ms) {
        bf_doctor_add(doctor, BF_VERDICT_FAIL, "broker limits",
                      "raise worker.session_timeout, or lower it on the "
                      "brokers",
                      "group.min.session.timeout.ms is %" PRId64
                      ", worker.session_timeout %" PRId64,
                      session_min, limits->session_timeout_ms);
        fine = false;
    }
    if (fine)
        bf_doctor_add(doctor, BF_VERDICT_OK, "broker limits", NULL,
                      "timeouts, metadata and requests are wide enough");
}

/* ---- topics -------------------------------------------------------------- */

/* A topic under judgement. */
struct subject {
    struct bf_doctor *doctor;
    enum bf_topic which;
    const char *name;
    const json_t *config;
    int replication;
    bool fine;
};

static const char alter[] = "kafka-configs.sh --alter --entity-type topics";

static void find_fault(struct subject *s, enum bf_verdict verdict,
                       const char *property, const char *value,
                       const char *want)
{
    s->fine = false;
    bf_doctor_add(s->doctor, verdict, "topic settings", alter,
                  "%s: %s is %s, %s", s->name, property,
                  value ? value : "not set", want);
}

static const char *text_of(const struct subject *s, const char *property)
{
    const char *text = json_string_value(json_object_get(s->config, property));

    return text ? text : "";
}

static void check_policy(struct subject *s)
{
    bool compact = bf_topic_retention_ms(s->which) < 0;
    const char *want = compact ? "compact" : "delete";
    const char *policy = text_of(s, "cleanup.policy");

    if (strcmp(policy, want) != 0)
        find_fault(s, BF_VERDICT_FAIL, "cleanup.policy", policy,
                   compact ? "must be compact: state would be removed by age"
                           : "must be delete: records of one workspace would "
                             "be compacted away");
}

/* Jobs must outlive their expiry; metering its month. */
static void check_retention(struct subject *s)
{
    const int64_t want = bf_topic_retention_ms(s->which);
    const int64_t have = number_of(s->config, "retention.ms", want);
    bool jobs = s->which == BF_TOPIC_JOBS || s->which == BF_TOPIC_BATCH;
    bool hard = s->which == BF_TOPIC_USAGE ||
                (jobs && have <= (int64_t)BF_MAX_EXPIRY_MS);
    char text[80];

    if (want < 0)
        return;
    snprintf(text, sizeof(text), "should be %" PRId64 " or more", want);
    if (have >= 0 && have < want)
        find_fault(s, hard ? BF_VERDICT_FAIL : BF_VERDICT_WARN, "retention.ms",
                   text_of(s, "retention.ms"), text);
    if (number_of(s->config, "retention.bytes", -1) >= 0)
        find_fault(s, jobs ? BF_VERDICT_FAIL : BF_VERDICT_WARN,
                   "retention.bytes", text_of(s, "retention.bytes"),
                   "should be -1: a limit by size removes what nobody has "
                   "read");
}

static void check_sizes(struct subject *s)
{
    int64_t want = bf_topic_max_bytes(s->which);
    char text[80];

    snprintf(text, sizeof(text), "must be %" PRId64 " or more", want);
    if (number_of(s->config, "max.message.bytes", want) < want)
        find_fault(s, BF_VERDICT_FAIL, "max.message.bytes",
                   text_of(s, "max.message.bytes"), text);
    if (s->which != BF_TOPIC_STATE)
        return;
    if (number_of(s->config, "segment.ms", 0) > 3600000)
        find_fault(s, BF_VERDICT_WARN, "segment.ms", text_of(s, "segment.ms"),
                   "should be 600000: restoring a shard reads all of it");
    if (number_of(s->config, "max.compaction.lag.ms", 0) > 3600000)
        find_fault(s, BF_VERDICT_WARN, "max.compaction.lag.ms",
                   text_of(s, "max.compaction.lag.ms"),
                   "should be 600000: restoring a shard reads all of it");
}

static void check_copies(struct subject *s)
{
    int64_t in_sync = number_of(s->config, "min.insync.replicas", 1);

    if (s->replication >= 3 && in_sync < 2)
        find_fault(s, BF_VERDICT_FAIL, "min.insync.replicas",
                   text_of(s, "min.insync.replicas"),
                   "must be 2: what one broker alone has acknowledged is "
                   "lost with it");
    if (s->replication > 0 && in_sync > s->replication)
        find_fault(s, BF_VERDICT_FAIL, "min.insync.replicas",
                   text_of(s, "min.insync.replicas"),
                   "is more than there are copies: nothing can be written");
    if (strcmp(text_of(s, "unclean.leader.election.enable"), "true") == 0)
        find_fault(s, BF_VERDICT_FAIL, "unclean.leader.election.enable", "true",
                   "must be false: acknowledged records would be lost");
    if (strcmp(text_of(s, "message.timestamp.type"), "LogAppendTime") == 0)
        find_fault(s, BF_VERDICT_WARN, "message.timestamp.type",
                   "LogAppendTime", "should be CreateTime");
}

void bf_doctor_topic(struct bf_doctor *doctor, enum bf_topic which,
                     const char *name, const json_t *config, int replication)
{
    struct subject s = {doctor, which, name, config, replication, true};

    check_policy(&s);
    check_retention(&s);
    check_sizes(&s);
    check_copies(&s);
    if (s.fine)
        bf_doctor_add(doctor, BF_VERDICT_OK, "topic settings", NULL,
                      "%s: %d %s, settings as they should be", name,
                      replication, replication == 1 ? "copy" : "copies");
}

/* ---- state --------------------------------------------------------------- */

static void judge_fleet(struct bf_doctor *doctor,
                        const struct bf_fleet_state *state,
                        const struct bf_doctor_fleet *settings)
{
    const struct bf_fleet *fleet = &state->fleet;

    if (state->fleet_seen == BF_SEEN_NOT) {
        bf_doctor_add(doctor, BF_VERDICT_FAIL, "fleet entry",
                      "blockfleet topics init",
                      "the state does not say which fleet this is");
        return;
    }
    if (state->fleet_seen == BF_SEEN_UNTRUSTED) {
        bf_doctor_add(doctor, BF_VERDICT_FAIL, "fleet entry",
                      "blockfleet keys trust, or topics init "
                      "--replace-untrusted",
                      "not trusted: %s", state->fleet_why);
        return;
    }
    if (strcmp(fleet->name, settings->fleet) != 0)
        bf_doctor_add(doctor, BF_VERDICT_FAIL, "fleet entry",
                      "set fleet or topics.prefix",
                      "these topics belong to fleet '%s', not to '%s'",
                      fleet->name, settings->fleet);
    else if (fleet->shards != state->shards)
        bf_doctor_add(doctor, BF_VERDICT_FAIL, "fleet entry",
                      "see PROTOCOL.md: jobs and state are where the old "
                      "number put them",
                      "made with %u shards, the topics have %u partitions",
                      fleet->shards, state->shards);
    else if (fleet->spread != settings->spread)
        /* a default is nobody's word: other programs may be told better */
        bf_doctor_add(doctor,
                      settings->spread_is_default ? BF_VERDICT_WARN
                                                  : BF_VERDICT_FAIL,
                      "fleet entry", "set topics.spread to the fleet's",
                      "made with spread %u, topics.spread is %u", fleet->spread,
                      settings->spread);
    else
        bf_doctor_add(doctor, BF_VERDICT_OK, "fleet entry", NULL,
                      "%s: %u shards, spread %u", fleet->name, fleet->shards,
                      fleet->spread);
}

static void judge_bases(struct bf_doctor *doctor,
                        const struct bf_fleet_state *state)
{
    uint32_t total = state->shards * BF_LANES, missing = 0, untrusted = 0;
    uint32_t first_missing = 0;
    const char *why = "";

    for (uint32_t i = total; i-- > 0;) {
        if (state->bases[i].seen == BF_SEEN_NOT) {
            missing++;
            first_missing = i;
        } else if (state->bases[i].seen == BF_SEEN_UNTRUSTED) {
            untrusted++;
            why = state->bases[i].why;
        }
    }
    if (missing > 0)
        bf_doctor_add(doctor, BF_VERDICT_FAIL, "beginnings",
                      "blockfleet topics init",
                      "%u of %u are missing, such as b/%s of shard %u: these "
                      "shards do not start",
                      missing, total, bf_lane_name(first_missing % BF_LANES),
                      first_missing / BF_LANES);
    if (untrusted > 0)
        bf_doctor_add(doctor, BF_VERDICT_FAIL, "beginnings",
                      "blockfleet keys trust, or topics init "
                      "--replace-untrusted",
                      "%u of %u are not trusted: %s", untrusted, total, why);
    if (missing == 0 && untrusted == 0)
        bf_doctor_add(doctor, BF_VERDICT_OK, "beginnings", NULL,
                      "%u shards with %d lanes, all signed by trusted keys",
                      state->shards, BF_LANES);
}

void bf_doctor_state(struct bf_doctor *doctor,
                     const struct bf_fleet_state *state,
                     const struct bf_doctor_fleet *settings)
{
    judge_fleet(doctor, state, settings);
    judge_bases(doctor, state);
    if (state->untrusted > 0)
        bf_doctor_add(doctor, BF_VERDICT_WARN, "state entries",
                      "find out who may write to the state: blockfleet topics "
                      "show --acls",
                      "%" PRIu64 " of %" PRIu64 " records are not trusted",
                      state->untrusted, state->records);
}

/* ---- keys ---------------------------------------------------------------- */

void bf_doctor_keys(struct bf_doctor *doctor, const struct bf_keyring *ring)
{
    for (int purpose = 0; purpose < BF_PURPOSES; purpose++) {
        const char *name = bf_purpose_name((enum bf_purpose)purpose);
        const struct bf_signer *signer =
            bf_keyring_signer(ring, (enum bf_purpose)purpose);
        size_t trusted = 0;

        for (size_t i = 0; i < bf_keyring_count(ring); i++) {
            const struct bf_trusted *key = bf_keyring_at(ring, i);

            trusted +=
                key->purpose == (enum bf_purpose)purpose && !key->revoked;
        }
        if (trusted == 0 && purpose != BF_PURPOSE_RUN)
            bf_doctor_add(doctor, BF_VERDICT_FAIL, "keys",
                          "blockfleet keys new, or keys trust",
                          "no key is trusted for purpose %s: all such records "
                          "are dead letters",
                          name);
        else
            bf_doctor_add(doctor, BF_VERDICT_OK, "keys", NULL,
                          "%s: %zu trusted, %s%s", name, trusted,
                          signer ? "we sign with " : "we do not sign",
                          signer ? signer->key_id : "");
    }
}

/* ---- workers ------------------------------------------------------------- */

static size_t assigned(const json_t *members)
{
    size_t total = 0, i;
    json_t *member;

    json_array_foreach(members, i, member)
    {
        total +=
            (size_t)json_integer_value(json_object_get(member, "partitions"));
    }
    return total;
}

void bf_doctor_group(struct bf_doctor *doctor, const json_t *group,
                     const char *name, uint32_t shards)
{
    const char *state = json_string_value(json_object_get(group, "state"));
    const char *assignor =
        json_string_value(json_object_get(group, "assignor"));
    const json_t *members = json_object_get(group, "members");
    size_t n = json_array_size(members);

    if (!state)
        state = "unknown";
    if (n == 0)
        bf_doctor_add(doctor, BF_VERDICT_WARN, "workers",
                      "start blockfleet-worker",
                      "group %s is %s: no worker runs", name, state);
    else if (strcmp(state, "Stable") != 0)
        bf_doctor_add(doctor, BF_VERDICT_WARN, "workers",
                      "ask again in some seconds",
                      "group %s is %s, with %zu members", name, state, n);
    else if (assignor && strcmp(assignor, "cooperative-sticky") != 0)
        bf_doctor_add(doctor, BF_VERDICT_FAIL, "workers",
                      "find out who else has joined this group",
                      "group %s assigns by '%s', workers do so by "
                      "cooperative-sticky",
                      name, assignor);
    else if (assigned(members) != shards)
        bf_doctor_add(doctor, BF_VERDICT_FAIL, "workers",
                      "restart the worker that holds too few",
                      "group %s has assigned %zu of %u shards", name,
                      assigned(members), shards);
    else
        bf_doctor_add(doctor, BF_VERDICT_OK, "workers", NULL,
                      "group %s: %zu workers own %u shards", name, n, shards);
}

void bf_doctor_input(struct bf_doctor_lane *lane,
                     const struct bf_lane_seen *seen)
{
    if (seen->stopped && lane->broken++ == 0) {
        lane->first = seen->shard;
        lane->why = seen->why;
    }
    if (seen->stopped)
        return;
    lane->lost += seen->resume.lost;
    lane->lost_in += seen->resume.lost > 0;
    lane->lag += seen->lag;
}

void bf_doctor_lane(struct bf_doctor *doctor, const char *topic,
                    const struct bf_doctor_lane *lane)
{
    if (lane->broken > 0)
        bf_doctor_add(doctor, BF_VERDICT_FAIL, "progress",
                      "blockfleet shards list --stopped, then shards confirm",
                      "%s: %zu shards cannot go on, such as %u: %s", topic,
                      lane->broken, lane->first, lane->why.msg);
    if (lane->lost > 0)
        bf_doctor_add(doctor, BF_VERDICT_FAIL, "progress",
                      "the loss is for good; more workers, or a longer "
                      "retention.ms",
                      "%s: %" PRId64 " offsets of %zu partitions were removed "
                      "before they were done",
                      topic, lane->lost, lane->lost_in);
    if (lane->broken == 0 && lane->lost == 0)
        bf_doctor_add(doctor, BF_VERDICT_OK, "progress", NULL,
                      "%s: %" PRId64 " to do", topic, lane->lag);
}
