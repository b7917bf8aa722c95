#include "dispatcher/cli/acls.h"

#include "schemas/err.h"

#define ON(which) (1U << BF_TOPIC_##which)
#define JOBS (ON(JOBS) | ON(BATCH))
#define INPUTS (JOBS | ON(CONTROL))
#define OUTPUTS (ON(RESULTS) | ON(USAGE) | ON(DEADLETTER) | ON(CALLBACKS))
#define ALL ((1U << BF_TOPICS) - 1)

struct grant {
    const char *operations; /* options of kafka-acls.sh */
    unsigned topics;
};

#define READ "--operation Read --operation Describe"
#define WRITE "--operation Write --operation Describe"

static const struct {
    const char *principal, *what;
    struct grant grants[4];
    bool group;  /* of the workers: Read */
    bool writes; /* transactional ids that begin with the group's name */
} roles[] = {
    {"bf-worker",
     "workers: the only writers of state and of results",
     {{READ, INPUTS | ON(STATE)},
      {WRITE, OUTPUTS | ON(STATE) | ON(EVENTS)},
      {"--operation DescribeConfigs", ALL}},
     true,
     true},
    {"bf-dispatcher",
     "dispatchers: the only writers of jobs and control",
     {{WRITE, INPUTS}, {READ, ALL}, {"--operation DescribeConfigs", ALL}},
     false,
     false},
    {"bf-operator",
     "operators: topics, shards and doctor",
     {{READ, ALL},
      {"--operation Create --operation DescribeConfigs", ALL},
      {WRITE, ON(STATE)}},
     true,
     false},
    {"bf-billing",
     "billing: reads metering",
     {{READ, ON(USAGE)}},
     false,
     false},
    {"bf-results",
     "asynchronous submitters: read results",
     {{READ, ON(RESULTS)}},
     false,
     false},
};

static int add_grant(const struct bf_acls *acls, const char *principal,
                     const struct grant *grant, struct bf_buf *out,
                     struct bf_err *err)
{
    if (bf_buf_addf(out, err,
                    "kafka-acls.sh --bootstrap-server %s --add"
                    " --allow-principal User:%s %s",
                    acls->brokers, principal, grant->operations))
        return -1;
    for (int i = 0; i < BF_TOPICS; i++) {
        if ((grant->topics & (1U << i)) &&
            bf_buf_addf(out, err, " --topic %s",
                        bf_topic_name(acls->topics, i)))
            return -1;
    }
    return bf_buf_adds(out, "\n", err);
}

static int add_ids(const struct bf_acls *acls, const char *principal,
                   bool group, bool writes, struct bf_buf *out,
                   struct bf_err *err)
{
    if (group && bf_buf_addf(out, err,
                             "kafka-acls.sh --bootstrap-server %s --add"
                             " --allow-principal User:%s %s --group %s\n",
                             acls->brokers, principal, READ, acls->group))
        return -1;
    if (!writes)
        return 0;
    return bf_buf_addf(out, err,
                       "kafka-acls.sh --bootstrap-server %s --add"
                       " --allow-principal User:%s %s"
                       " --transactional-id %s-"
                       " --resource-pattern-type prefixed\n",
                       acls->brokers, principal, WRITE, acls->group);
}

int bf_acls_text(const struct bf_acls *acls, struct bf_buf *out,
                 struct bf_err *err)
{
    for (size_t r = 0; r < bf_countof(roles); r++) {
        if (bf_buf_addf(out, err, "%s# %s\n", r > 0 ? "\n" : "", roles[r].what))
            return -1;
        for (size_t g = 0;
             g < bf_countof(roles[r].grants) && roles[r].grants[g].operations;
             g++) {
            if (add_grant(acls, roles[r].principal, &roles[r].grants[g], out,
                          err))
                return -1;
        }
        if (add_ids(acls, roles[r].principal, roles[r].group, roles[r].writes,
                    out, err))
            return -1;
    }
    return 0;
}
