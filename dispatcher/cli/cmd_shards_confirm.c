/* blockfleet shards confirm: from where a stopped shard is to go on. */

#include "dispatcher/cli/commands.h"

#include <unistd.h>

#include "config/clock.h"
#include "config/keys.h"
#include "config/settings.h"
#include "dispatcher/cli/confirm.h"
#include "dispatcher/cli/log_writer.h"
#include "dispatcher/cli/tour.h"
#include "schemas/err.h"

/* A b entry in the making. */
struct confirmed {
    uint32_t shard;
    enum bf_lane lane;
    struct bf_meta meta;
    char commit_id[BF_HEX128_SIZE];
};

struct confirming {
    struct bf_tour tour;
    struct bf_confirm_want want;
    int lane;               /* -1: each that needs it */
    struct confirmed *list; /* [n]: what is to be written */
    size_t n;
    json_t *rows; /* the same for people and programs */
};

static void confirming_release(struct confirming *c)
{
    free(c->list);
    json_decref(c->rows);
    bf_tour_release(&c->tour);
}

static int read_options(struct confirming *c, const struct bf_args *args,
                        struct bf_err *err)
{
    const char *from = bf_args_get(args, "from");
    const char *lane = bf_args_get(args, "lane");

    if (!from)
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "--from says where to go on: base, committed, "
                          "earliest, latest or an offset");
    if (bf_confirm_parse(from, &c->want, err))
        return -1;
    c->lane = lane ? bf_lane_parse(bf_slice_str(lane)) : -1;
    if (lane && (c->lane < 0 || c->lane >= BF_TOUR_LANES))
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "--lane '%.40s' is neither jobs nor batch", lane);
    if (c->want.from == BF_CONFIRM_OFFSET && (!lane || args->nwords != 1))
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "an offset is one shard's and one lane's: give "
                          "--lane, and one SHARD");
    return 0;
}

/* May an operator say where this lane goes on? */
static int allow(const struct confirming *c, const struct bf_lane_seen *seen,
                 struct bf_err *err)
{
    const char *owner = bf_tour_owner(&c->tour, seen->shard);
    const char *lane = bf_lane_name(seen->lane);
    size_t members = json_array_size(json_object_get(c->tour.group, "members"));

    if (seen->stopped && strcmp(seen->why.code, "bad_state") == 0)
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "shard %u has an entry that this version does not "
                          "understand (%.120s): a newer one has to go on",
                          seen->shard, seen->why.msg);
    if (seen->stopped)
        return 0;
    if (owner)
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "shard %u, lane %s is not stopped, and %.60s works "
                          "on it: stop the workers first",
                          seen->shard, lane, owner);
    if (!bf_args_has(&c->tour.cli->args, "force"))
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "shard %u, lane %s is not stopped: without --force, "
                          "it goes on from %lld by itself",
                          seen->shard, lane, (long long)seen->resume.start);
    if (members > 0)
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "shard %u, lane %s is not stopped, and a worker may "
                          "be about to take it: stop the workers first",
                          seen->shard, lane);
    return 0;
}

static json_t *plan_row(const struct bf_lane_seen *seen,
                        const struct bf_confirm *plan)
{
    return json_pack(
        "{s:i, s:s, s:s, s:s?, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "shard",
        (int)seen->shard, "lane", bf_lane_name(seen->lane), "was",
        bf_tour_verdict(seen), "why", seen->stopped ? seen->why.msg : NULL,
        "start", (json_int_t)plan->resume.start, "seq",
        (json_int_t)plan->meta.txn_seq, "todo", (json_int_t)plan->todo, "again",
        (json_int_t)plan->again, "skipped", (json_int_t)plan->skipped, "lost",
        (json_int_t)plan->resume.lost, "unsure", plan->unsure);
}

static void keep(struct confirming *c, const struct bf_lane_seen *seen,
                 const struct bf_confirm *plan)
{
    struct confirmed *next = &c->list[c->n++];

    next->shard = seen->shard;
    next->lane = seen->lane;
    next->meta = plan->meta;
    memcpy(next->commit_id, seen->facts.commit_id, sizeof(next->commit_id));
}

static int confirm_lane(struct confirming *c, uint32_t shard, enum bf_lane lane,
                        struct bf_err *err)
{
    struct bf_lane_seen seen;
    struct bf_confirm plan;

    if (bf_look_at(&c->tour.look, shard, lane, &seen, err))
        return -1;
    if (!seen.stopped && c->lane < 0)
        return 0;
    if (allow(c, &seen, err) ||
        bf_confirm_plan(&seen, &c->want, c->tour.state.each[shard].seq, &plan,
                        err))
        return -1;
    keep(c, &seen, &plan);
    return json_array_append_new(c->rows, plan_row(&seen, &plan))
               ? bf_err_oom(err)
               : 0;
}

static int confirm_shard(struct confirming *c, uint32_t shard,
                         struct bf_err *err)
{
    size_t before = json_array_size(c->rows);

    for (int lane = 0; lane < BF_TOUR_LANES; lane++) {
        if ((c->lane < 0 || c->lane == lane) &&
            confirm_lane(c, shard, (enum bf_lane)lane, err))
            return -1;
    }
    if (json_array_size(c->rows) > before)
        return 0;
    return bf_err_set(err, BF_ERR_REJECT, "refused",
                      "shard %u is not stopped: nothing is to be confirmed",
                      shard);
}

static long long number_in(const json_t *row, const char *name)
{
    return json_integer_value(json_object_get(row, name));
}

/* In plain words, what it costs. */
static int tell_cost(const json_t *row, struct bf_buf *out, struct bf_err *err)
{
    const char *why = json_string_value(json_object_get(row, "why"));

    if (bf_buf_addf(out, err, "shard %lld, lane %s: %s\n",
                    number_in(row, "shard"),
                    json_string_value(json_object_get(row, "lane")),
                    why ? why : "not stopped") ||
        bf_buf_addf(out, err, "  goes on from offset %lld\n",
                    number_in(row, "start")) ||
        bf_buf_addf(out, err, "  %lld records run for the first time\n",
                    number_in(row, "todo")) ||
        bf_buf_addf(out, err,
                    "  %lld that have ended may run again: under the same "
                    "ids, and not if their id is a client's\n",
                    number_in(row, "again")) ||
        bf_buf_addf(out, err, "  %lld that have not ended get no result\n",
                    number_in(row, "skipped")))
        return -1;
    if (number_in(row, "lost") > 0 &&
        bf_buf_addf(out, err,
                    "  %lld are not in the log any more: a dead letter will "
                    "say so\n",
                    number_in(row, "lost")))
        return -1;
    if (!json_is_true(json_object_get(row, "unsure")))
        return 0;
    return bf_buf_adds(out,
                       "  not counted: what ended since the b entry, of 5 s "
                       "at most before a crash\n",
                       err);
}

static int tell_plan(struct confirming *c, bool done, struct bf_err *err)
{
    bf_autobuf struct bf_buf out = BF_BUF_INIT(1 << 20);
    json_auto_t *doc =
        json_pack("{s:b, s:O}", "written", done, "lanes", c->rows);
    const json_t *row;
    size_t i;

    if (!doc)
        return bf_err_oom(err);
    json_array_foreach(c->rows, i, row)
    {
        if (!c->tour.cli->json && tell_cost(row, &out, err))
            return -1;
    }
    if (c->tour.cli->json)
        return bf_table_json(doc, &out, err) ||
                       bf_cli_print(c->tour.cli, &out, err)
                   ? -1
                   : 0;
    if (done && bf_buf_adds(&out,
                            "written: a worker that holds the shard takes it "
                            "up in some seconds\n",
                            err))
        return -1;
    return bf_cli_print(c->tour.cli, &out, err);
}

static int plan_all(struct confirming *c, struct bf_err *err)
{
    uint32_t shards = c->tour.state.shards;

    c->rows = json_array();
    c->list = calloc((size_t)shards * BF_TOUR_LANES, sizeof(*c->list));
    if (!c->rows || !c->list)
        return bf_err_oom(err);
    for (uint32_t shard = 0; shard < shards; shard++) {
        if (c->tour.wanted[shard] && confirm_shard(c, shard, err))
            return -1;
    }
    return 0;
}

/* ---- write --------------------------------------------------------------- */

static int add(struct bf_log_writer *writer, const char *host,
               const struct confirmed *what, struct bf_err *err)
{
    const struct bf_entry entry = {
        .kind = BF_ENTRY_BASE,
        .lane = what->lane,
        .seq = what->meta.txn_seq,
        .b = {.base = what->meta.base,
              .map = what->meta.map,
              .host = bf_slice_str(host),
              .txn_id = BF_SLICE_LIT("shards-confirm"),
              .pid = (uint32_t)getpid(),
              .at_ms = bf_now_ms(),
              .confirmed = bf_slice_str(what->commit_id)},
    };

    return bf_log_writer_add(writer, what->shard, &entry, err);
}

static int write_all(struct confirming *c, const struct bf_settings *settings,
                     struct bf_err *err)
{
    const struct bf_log_writing writing = {
        .settings = settings,
        .topic = bf_topic_name(&c->tour.topics, BF_TOPIC_STATE),
        .fleet = c->tour.state.fleet.name,
        .signer = bf_keyring_signer(c->tour.ring, BF_PURPOSE_STATE),
    };
    bf_autologwriter struct bf_log_writer *writer = NULL;

    if (c->tour.state.fleet_seen != BF_SEEN_TRUSTED)
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "the state does not say which fleet this is: run "
                          "'blockfleet topics init' first");
    if (!writing.signer)
        return bf_err_set(err, BF_ERR_REJECT, "no_key",
                          "no key signs state in %.80s: run 'blockfleet keys "
                          "new state'",
                          settings->keys.dir);
    writer = bf_log_writer_new(&writing, err);
    for (size_t i = 0; writer && i < c->n; i++) {
        if (add(writer, settings->instance, &c->list[i], err))
            return -1;
    }
    return writer ? bf_log_writer_flush(writer, err) : -1;
}

static int confirm(struct confirming *c, struct bf_cli *cli, struct bf_err *err)
{
    bool yes = bf_args_has(&cli->args, "yes");

    if (read_options(c, &cli->args, err) || bf_tour_init(&c->tour, cli, err) ||
        plan_all(c, err) || (yes && write_all(c, cli->settings, err)) ||
        tell_plan(c, yes, err))
        return -1;
    return yes ? 0
               : bf_err_set(err, BF_ERR_REJECT, "usage",
                            "nothing was written: --yes does it");
}

enum bf_exit bf_cmd_shards_confirm(struct bf_cli *cli)
{
    bf_cleanup(confirming_release) struct confirming c = {.n = 0};
    struct bf_err err = {0};

    return confirm(&c, cli, &err) ? bf_cli_fail(cli, &err) : BF_EXIT_OK;
}
