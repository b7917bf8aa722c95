#include "dispatcher/cli/tour.h"

#include "config/keys.h"
#include "config/settings.h"
#include "schemas/err.h"

void bf_tour_release(struct bf_tour *tour)
{
    bf_look_release(&tour->look);
    bf_fleet_state_release(&tour->state);
    bf_keyring_free(tour->ring);
    bf_kafka_free(tour->kafka);
    json_decref(tour->group);
    free(tour->wanted);
}

static int count_shards(struct bf_tour *tour, uint32_t *ret, struct bf_err *err)
{
    const struct rd_kafka_metadata *metadata =
        bf_kafka_metadata(tour->kafka, err);
    int rc;

    if (!metadata)
        return -1;
    rc = bf_topics_check_in(metadata, &tour->topics, ret, err);
    rd_kafka_metadata_destroy(metadata);
    return rc;
}

/* The shards that the words name; without words, all. */
static int choose(struct bf_tour *tour, uint32_t shards, struct bf_err *err)
{
    const struct bf_args *args = &tour->cli->args;
    uint64_t shard;

    tour->wanted = calloc(shards, sizeof(*tour->wanted));
    if (!tour->wanted)
        return bf_err_oom(err);
    for (uint32_t i = 0; args->nwords == 0 && i < shards; i++)
        tour->wanted[i] = true;
    for (size_t i = 0; i < args->nwords; i++) {
        if (bf_slice_u64(bf_slice_str(args->words[i]), shards - 1, &shard))
            return bf_err_set(err, BF_ERR_REJECT, "usage",
                              "'%.40s' is no shard: they are 0 to %u",
                              args->words[i], shards - 1);
        tour->wanted[shard] = true;
    }
    return 0;
}

int bf_tour_init(struct bf_tour *tour, struct bf_cli *cli, struct bf_err *err)
{
    const struct bf_settings *settings = cli->settings;
    uint32_t shards = 0;

    tour->cli = cli;
    if (bf_topics_init(&tour->topics, settings->topics.prefix, err))
        return -1;
    tour->ring = bf_keyring_load(settings->keys.dir, err);
    tour->kafka = tour->ring ? bf_kafka_new(settings, err) : NULL;
    if (!tour->kafka || count_shards(tour, &shards, err) ||
        choose(tour, shards, err))
        return -1;
    tour->group = bf_kafka_group(tour->kafka, settings->kafka.group, err);
    if (!tour->group ||
        bf_fleet_state_read(tour->kafka,
                            bf_topic_name(&tour->topics, BF_TOPIC_STATE),
                            shards, tour->ring, &tour->state, err))
        return -1;
    return bf_look_init(&tour->look, tour->kafka, &tour->topics, &tour->state,
                        settings->kafka.group, err);
}

const char *bf_tour_owner(const struct bf_tour *tour, uint32_t shard)
{
    size_t i, k;
    json_t *member, *number;

    json_array_foreach(json_object_get(tour->group, "members"), i, member)
    {
        json_array_foreach(json_object_get(member, "numbers"), k, number)
        {
            if (json_integer_value(number) == shard)
                return json_string_value(json_object_get(member, "client"));
        }
    }
    return NULL;
}

const char *bf_tour_verdict(const struct bf_lane_seen *seen)
{
    if (seen->stopped)
        return seen->why.code;
    if (seen->resume.lost > 0)
        return "records_lost";
    if (seen->resume.confirmed)
        return "confirmed";
    return seen->resume.from_base ? "offsets_expired" : "ok";
}
