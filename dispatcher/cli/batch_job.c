#include "dispatcher/cli/batch_job.h"

#include <inttypes.h>

#include "dispatcher/cli/batches.h"
#include "dispatcher/cli/cli.h"
#include "dispatcher/cli/job_body.h"
#include "dispatcher/cli/splice.h"
#include "dispatcher/scan.h"
#include "schemas/err.h"
#include "schemas/hash.h"
#include "schemas/json.h"

/* ---- life ---------------------------------------------------------------- */

static int check_options(const struct bf_batch_job *job, struct bf_cli *cli,
                         struct bf_err *err)
{
    static const char *const of_code[] = {
        "function", "init", "init-function", "import", "block-type", "set"};

    if (!job->whole)
        return 0;
    if (!job->items->file)
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "what is to be run? --code FILE is missing");
    for (size_t i = 0; i < bf_countof(of_code); i++) {
        if (bf_args_has(&cli->args, of_code[i]))
            return bf_err_set(err, BF_ERR_REJECT, "usage",
                              "--%s needs --code: without, lines are whole "
                              "jobs",
                              of_code[i]);
    }
    return 0;
}

/* Everything that a result may depend on. */
static int derive_name(struct bf_batch_job *job, struct bf_err *err)
{
    bf_autofree char *text =
        json_dumps(job->members, JSON_COMPACT | JSON_SORT_KEYS);
    char hex[BF_HEX128_SIZE];

    if (!text)
        return bf_err_oom(err);
    bf_hash_hex((struct bf_slice[]){BF_SLICE_LIT("blockfleet/cli/batch"),
                                    bf_slice_str(job->items->digest),
                                    bf_slice_str(text),
                                    bf_buf_slice(&job->given)},
                4, hex);
    bf_batches_name(job->items->name, hex, job->batch);
    return 0;
}

static int choose_name(struct bf_batch_job *job, struct bf_cli *cli,
                       struct bf_err *err)
{
    const char *given;

    if (bf_batches_given(cli, BF_BATCH_NAME, &given, err))
        return -1;
    if (!given && derive_name(job, err))
        return -1;
    if (given)
        snprintf(job->batch, sizeof(job->batch), "%s", given);
    return json_object_set_new(job->members, "batch", json_string(job->batch))
               ? bf_err_oom(err)
               : 0;
}

int bf_batch_job_init(struct bf_batch_job *job, struct bf_cli *cli,
                      const struct bf_items *items, struct bf_buf *code,
                      struct bf_err *err)
{
    *job = (struct bf_batch_job){
        .items = items,
        .whole = !bf_args_get(&cli->args, "code"),
        .given = BF_BUF_INIT(BF_MAX_INPUTS),
    };
    if (check_options(job, cli, err))
        return -1;
    job->members = job->whole ? bf_job_body_options(cli, err)
                              : bf_job_body_members(cli, code, err);
    if (!job->members || bf_job_body_inputs(cli, &job->given, err))
        return -1;
    /* others are not to wait behind all of these */
    if (!json_object_get(job->members, "lane") &&
        json_object_set_new(job->members, "lane", json_string("batch")))
        return bf_err_oom(err);
    return choose_name(job, cli, err);
}

void bf_batch_job_release(struct bf_batch_job *job)
{
    json_decref(job->members);
    bf_buf_release(&job->given);
    bf_seen_release(&job->ids);
    job->members = NULL;
}

/* ---- what an item is known by -------------------------------------------- */

uint64_t bf_batch_job_mark(const struct bf_batch_job *job,
                           const struct bf_item *item)
{
    unsigned char out[BF_HASH128_BYTES];
    struct bf_hash hash;
    uint64_t mark;

    bf_hash_init(&hash, sizeof(out));
    if (!job->items->file)
        bf_hash_str(&hash, job->items->folder.names[item->index]);
    bf_hash_part(&hash, item->bytes);
    bf_hash_final(&hash, out);
    mark = bf_get_u64be(out);
    return mark > 1 ? mark : 2;
}

uint64_t bf_batch_job_marked(const json_t *doc)
{
    const char *text = json_string_value(
        json_object_get(json_object_get(doc, "labels"), BF_BATCH_LABEL));
    char *end = NULL;
    uint64_t mark = text && strlen(text) == BF_BATCH_MARK_SIZE - 1
                        ? strtoull(text, &end, 16)
                        : 0;

    return end && !*end && mark > 1 ? mark : 1;
}

/* members: its labels may be those of others. */
static int set_mark(json_t *members, uint64_t mark)
{
    json_t *others = json_object_get(members, "labels");
    json_t *labels = others ? json_copy(others) : json_object();
    char text[BF_BATCH_MARK_SIZE];

    snprintf(text, sizeof(text), "%016" PRIx64, mark);
    return json_object_set_new(members, "labels", labels) ||
                   json_object_set_new(labels, BF_BATCH_LABEL,
                                       json_string(text))
               ? -1
               : 0;
}

/* ---- a line that is a job ------------------------------------------------ */

/* null counts as absent. */
static void drop_nulls(json_t *doc)
{
    const char *name;
    json_t *value;
    void *next;

    json_object_foreach_safe(doc, next, name, value)
    {
        if (json_is_null(value))
            json_object_del(doc, name);
    }
}

/* What a line says itself of these has to be what they are. */
static int check_claims(const json_t *doc, const json_t *members,
                        struct bf_err *err)
{
    static const char *const names[] = {"workspace", "batch", "batch_index"};

    for (size_t i = 0; i < bf_countof(names); i++) {
        const json_t *has = json_object_get(doc, names[i]);

        if (has && !json_equal(has, json_object_get(members, names[i])))
            return bf_err_set(err, BF_ERR_REJECT, "usage",
                              "%s: is another than that of this batch and "
                              "place",
                              names[i]);
    }
    return 0;
}

/* Else there were fewer jobs than lines, and the batch never complete. */
static int check_id(struct bf_batch_job *job, const json_t *doc,
                    struct bf_err *err)
{
    const char *id = json_string_value(json_object_get(doc, "id"));
    int fresh = id ? bf_seen_add(&job->ids, bf_slice_str(id), err) : 1;

    return fresh != 0 ? (fresh < 0 ? -1 : 0)
                      : bf_err_set(err, BF_ERR_REJECT, "usage",
                                   "id: an earlier line has it too");
}

/* A line's own labels are instead of the options', but for ours. */
static int mark_whole(json_t *doc, const json_t *members)
{
    json_t *labels = json_object_get(doc, "labels");
    json_t *mark =
        json_object_get(json_object_get(members, "labels"), BF_BATCH_LABEL);

    return json_is_object(labels)
               ? json_object_set(labels, BF_BATCH_LABEL, mark)
               : 0;
}

static int add_whole(struct bf_batch_job *job, const json_t *members,
                     struct bf_slice line, struct bf_buf *out,
                     struct bf_err *err)
{
    bf_autobuf struct bf_buf rest = BF_BUF_INIT(BF_SCAN_REST);
    json_auto_t *doc = NULL;
    json_error_t why;
    struct bf_slice inputs;

    if (bf_scan(line, &inputs, &rest, err))
        return -1;
    doc = json_loadb(rest.data, rest.len, JSON_REJECT_DUPLICATES, &why);
    if (!doc)
        return bf_err_set(err, BF_ERR_REJECT, "usage", "%s", why.text);
    drop_nulls(doc);
    if (check_claims(doc, members, err))
        return -1;
    if (mark_whole(doc, members) ||
        json_object_update_missing(doc, (json_t *)(uintptr_t)members))
        return bf_err_oom(err);
    return check_id(job, doc, err) ? -1 : bf_splice_job(doc, inputs, out, err);
}

/* ---- inputs -------------------------------------------------------------- */

static bool ends_in(const char *name, const char *end)
{
    size_t len = strlen(name), tail = strlen(end);

    return len >= tail && strcasecmp(name + len - tail, end) == 0;
}

/* "{", what --set gave, and what the object has: that comes last, and counts.*/
static int merge(struct bf_slice given, struct bf_slice object,
                 struct bf_buf *out, struct bf_err *err)
{
    size_t at = 0, first;

    while (at < object.len && strchr(" \t\r\n", object.ptr[at]) &&
           object.ptr[at])
        at++;
    if (given.len <= 2 || at == object.len || object.ptr[at] != '{')
        return bf_buf_add(out, object.ptr, object.len, err);
    for (first = at + 1; first < object.len && object.ptr[first] &&
                         strchr(" \t\r\n", object.ptr[first]);)
        first++;
    if (first < object.len && object.ptr[first] == '}')
        return bf_buf_add(out, given.ptr, given.len, err);
    if (bf_job_body_begin(given, out, err))
        return -1;
    return bf_buf_add(out, object.ptr + first, object.len - first, err);
}

static int add_file(const struct bf_batch_job *job, const struct bf_item *item,
                    struct bf_buf *out, struct bf_err *err)
{
    const char *name = job->items->folder.names[item->index];

    if (ends_in(name, ".json"))
        return merge(bf_buf_slice(&job->given), item->bytes, out, err);
    if (bf_job_body_begin(bf_buf_slice(&job->given), out, err) ||
        bf_buf_adds(out, "\"file\":", err) ||
        bf_json_quote(out, bf_slice_str(name), err))
        return -1;
    if (bf_folder_is_image(name))
        return bf_buf_adds(out, ",\"image\":", err) ||
                       bf_job_body_image(item->bytes, out, err) ||
                       bf_buf_adds(out, "}}", err)
                   ? -1
                   : 0;
    return bf_buf_adds(out, ",\"content\":", err) ||
                   bf_job_body_bytes(item->bytes, out, err) ||
                   bf_buf_adds(out, "}", err)
               ? -1
               : 0;
}

static int add_inputs(const struct bf_batch_job *job, const json_t *members,
                      const struct bf_item *item, struct bf_buf *out,
                      struct bf_err *err)
{
    bf_autobuf struct bf_buf inputs = BF_BUF_INIT(BF_ITEM_BYTES);

    if (job->items->file
            ? merge(bf_buf_slice(&job->given), item->bytes, &inputs, err)
            : add_file(job, item, &inputs, err))
        return -1;
    if (inputs.len > BF_MAX_INPUTS)
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "its inputs are %zu bytes, and no job may have more "
                          "than %u",
                          inputs.len, BF_MAX_INPUTS);
    return bf_splice_job(members, bf_buf_slice(&inputs), out, err);
}

int bf_batch_job_line(struct bf_batch_job *job, const struct bf_item *item,
                      struct bf_buf *out, struct bf_err *err)
{
    json_auto_t *members = json_copy(job->members);
    char id[BF_MAX_ID + 1];

    snprintf(id, sizeof(id), "%.*s.%06" PRIu64, BF_BATCH_NAME, job->batch,
             item->index);
    if (!members || json_object_set_new(members, "id", json_string(id)) ||
        json_object_set_new(members, "batch_index",
                            json_integer((json_int_t)item->index)) ||
        set_mark(members, bf_batch_job_mark(job, item)))
        return bf_err_oom(err);
    return job->whole ? add_whole(job, members, item->bytes, out, err)
                      : add_inputs(job, members, item, out, err);
}
