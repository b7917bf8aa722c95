/* blockfleet shards list: where each shard stands, and whether it may go on. */

#include "dispatcher/cli/commands.h"

#include "dispatcher/cli/tour.h"
#include "schemas/err.h"
#include "schemas/time.h"

static void add_committed(json_t *row, const struct bf_resume_facts *facts)
{
    if (facts->offset >= 0)
        json_object_set_new(row, "committed", json_integer(facts->offset));
    if (!facts->committed)
        return;
    json_object_set_new(row, "txn_seq",
                        json_integer((json_int_t)facts->meta.txn_seq));
    json_object_set_new(row, "writer", json_string(facts->meta.writer));
    json_object_set_new(
        row, "done_above",
        json_integer(
            (json_int_t)BF_WINDOW -
            bf_meta_incomplete(&facts->meta, facts->meta.base,
                               facts->meta.base + (int64_t)BF_WINDOW)));
}

static void add_base(json_t *row, const struct bf_base_seen *seen)
{
    const struct bf_meta *meta = &seen->base.meta;
    char at[BF_TIME_SIZE];

    if (!seen->base.known)
        return;
    bf_time_format(seen->at_ms, at);
    json_object_set_new(row, "b",
                        json_pack("{s:I, s:I, s:s, s:s, s:I, s:s, s:b}", "base",
                                  (json_int_t)meta->base, "seq",
                                  (json_int_t)meta->txn_seq, "at", at, "host",
                                  seen->host, "pid", (json_int_t)seen->pid,
                                  "txn_id", meta->writer, "confirmed",
                                  seen->base.confirmed[0] != '\0'));
    json_object_set_new(row, "b_base", json_integer(meta->base));
    json_object_set_new(row, "b_seq", json_integer((json_int_t)meta->txn_seq));
}

static json_t *row_of(const struct bf_tour *tour,
                      const struct bf_lane_seen *seen)
{
    const char *owner = bf_tour_owner(tour, seen->shard);
    json_t *row = json_pack(
        "{s:i, s:s, s:b, s:s, s:s?, s:s?, s:I, s:I}", "shard", (int)seen->shard,
        "lane", bf_lane_name(seen->lane), "stopped", seen->stopped, "verdict",
        bf_tour_verdict(seen), "why", seen->stopped ? seen->why.msg : NULL,
        "owner", owner, "low", (json_int_t)seen->facts.low, "high",
        (json_int_t)seen->facts.high);

    if (!row)
        return NULL;
    add_committed(row, &seen->facts);
    add_base(row, seen->base);
    if (seen->stopped)
        return row;
    json_object_set_new(row, "start", json_integer(seen->resume.start));
    json_object_set_new(row, "lost", json_integer(seen->resume.lost));
    json_object_set_new(row, "lag", json_integer(seen->lag));
    return row;
}

static int list_lane(struct bf_tour *tour, uint32_t shard, enum bf_lane lane,
                     json_t *rows, struct bf_err *err)
{
    struct bf_lane_seen seen;

    if (bf_look_at(&tour->look, shard, lane, &seen, err))
        return -1;
    if (bf_args_has(&tour->cli->args, "stopped") && !seen.stopped)
        return 0;
    return json_array_append_new(rows, row_of(tour, &seen)) ? bf_err_oom(err)
                                                            : 0;
}

/* Under the table, what the verdicts mean. */
static int tell_why(struct bf_cli *cli, const json_t *rows, struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1 << 20);
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        int shard = (int)json_integer_value(json_object_get(row, "shard"));
        const char *why = json_string_value(json_object_get(row, "why"));

        if (why &&
            bf_buf_addf(&text, err, "\nshard %d is stopped: %s\n", shard, why))
            return -1;
    }
    if (text.len > 0 &&
        bf_buf_adds(&text,
                    "\nTo let one go on: blockfleet shards confirm SHARD "
                    "--from ...\n",
                    err))
        return -1;
    return text.len > 0 ? bf_cli_print(cli, &text, err) : 0;
}

static int list(struct bf_tour *tour, struct bf_cli *cli, struct bf_err *err)
{
    static const struct bf_column columns[] = {
        {"shard", "SHARD", true, 0},
        {"lane", "LANE", false, 0},
        {"committed", "COMMITTED", true, 0},
        {"txn_seq", "SEQ", true, 0},
        {"b_base", "B BASE", true, 0},
        {"b_seq", "B SEQ", true, 0},
        {"low", "LOW", true, 0},
        {"high", "HIGH", true, 0},
        {"lag", "LAG", true, 0},
        {"owner", "OWNER", false, 40},
        {"verdict", "VERDICT", false, 0},
    };
    json_auto_t *rows = json_array();

    if (bf_tour_init(tour, cli, err))
        return -1;
    for (uint32_t shard = 0; shard < tour->state.shards; shard++) {
        for (int lane = 0; tour->wanted[shard] && lane < BF_TOUR_LANES;
             lane++) {
            if (list_lane(tour, shard, (enum bf_lane)lane, rows, err))
                return -1;
        }
    }
    if (bf_cli_rows(cli, columns, bf_countof(columns), rows, err))
        return -1;
    return cli->json ? 0 : tell_why(cli, rows, err);
}

enum bf_exit bf_cmd_shards_list(struct bf_cli *cli)
{
    bf_cleanup(bf_tour_release) struct bf_tour tour = {0};
    struct bf_err err = {0};

    return list(&tour, cli, &err) ? bf_cli_fail(cli, &err) : BF_EXIT_OK;
}
