#include "dispatcher/cli/corrected.h"

#include <stdio.h>

#include "schemas/err.h"
#include "schemas/json.h"
#include "schemas/usage.h"

#define MAX_ROW (64U << 10)
#define SOURCE "/blockfleet/"

int bf_corrected_init(struct bf_corrected *row, const char *id,
                      struct bf_err *err)
{
    *row = (struct bf_corrected){.id = id, .fixes = json_object()};
    if (!row->fixes)
        return bf_err_oom(err);
    if (!bf_hex128_ok(bf_slice_str(id)))
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "'%.60s' is no event id: 32 hex digits, the ce_id "
                          "of a row",
                          id);
    return 0;
}

void bf_corrected_release(struct bf_corrected *row)
{
    json_decref(row->row);
    json_decref(row->fixes);
    row->row = row->fixes = NULL;
}

/* ---- what there is ------------------------------------------------------- */

/* Of a correction, "<workspace>/<id of the row>". */
static bool is_fix(const struct bf_corrected *row, const struct bf_record *rec)
{
    struct bf_slice subject = bf_record_get(rec, "ce_subject");
    size_t len = strlen(row->id);

    return subject.len > len && subject.ptr[subject.len - len - 1] == '/' &&
           memcmp(subject.ptr + subject.len - len, row->id, len) == 0;
}

bool bf_corrected_wants(const struct bf_corrected *row,
                        const struct bf_record *rec)
{
    return bf_slice_is(bf_record_get(rec, "ce_id"), row->id) ||
           is_fix(row, rec);
}

static int bad(struct bf_err *err, const char *what)
{
    return bf_err_set(err, BF_ERR_REJECT, "bad_usage",
                      "%s is not as it must be", what);
}

static int add(struct bf_corrected *row, const json_t *value, bool is_signed,
               struct bf_err *err)
{
    int64_t numbers[BF_QUANTITIES] = {0};
    bool known[BF_QUANTITIES];

    for (int i = 0; i < BF_QUANTITIES; i++) {
        const char *name = bf_quantity_name((enum bf_quantity)i);
        const json_t *text = json_object_get(value, name);

        known[i] = !json_is_null(text);
        if (known[i] &&
            bf_quantity_parse((enum bf_quantity)i, json_string_value(text),
                              is_signed, &numbers[i]))
            return bad(err, name);
    }
    for (int i = 0; i < BF_QUANTITIES; i++) {
        row->known[i] = row->known[i] || known[i];
        row->left[i] += numbers[i];
    }
    return 0;
}

static int take_row(struct bf_corrected *row, const struct bf_record *rec,
                    json_t *value, struct bf_err *err)
{
    struct bf_slice kind = bf_json_slice(json_object_get(value, "kind"));
    struct bf_slice source = bf_record_get(rec, "ce_source");
    size_t skip = strlen(SOURCE);

    if (row->row)
        return 0; /* a copy of it */
    if (bf_slice_is(kind, "correction"))
        return bf_err_set(
            err, BF_ERR_REJECT, "refused",
            "%s is a correction: correct its row, %s", row->id,
            json_string_value(json_object_get(value, "correction_of")));
    if (source.len <= skip || memcmp(source.ptr, SOURCE, skip) != 0 ||
        source.len - skip >= sizeof(row->fleet))
        return bad(err, "ce_source");
    if (add(row, value, false, err))
        return -1;
    snprintf(row->fleet, sizeof(row->fleet), "%.*s", (int)(source.len - skip),
             source.ptr + skip);
    row->partition = rec->partition;
    row->row = json_incref(value);
    return 0;
}

static int take_fix(struct bf_corrected *row, const struct bf_record *rec,
                    json_t *value, struct bf_err *err)
{
    struct bf_slice of = bf_json_slice(json_object_get(value, "correction_of"));
    json_int_t number =
        json_integer_value(json_object_get(value, "correction_number"));
    struct bf_slice id = bf_record_get(rec, "ce_id");

    if (!bf_hex128_ok(id))
        return bad(err, "ce_id");
    if (json_object_getn(row->fixes, id.ptr, id.len))
        return 0; /* the first counts */
    if (!bf_slice_is(of, row->id) || number < 1 || number > UINT32_MAX)
        return bad(err, "correction_number");
    if (add(row, value, true, err))
        return -1;
    if ((uint32_t)number > row->last)
        row->last = (uint32_t)number;
    return json_object_setn(row->fixes, id.ptr, id.len, value) ? bf_err_oom(err)
                                                               : 0;
}

int bf_corrected_take(struct bf_corrected *row, const struct bf_record *rec,
                      struct bf_err *err)
{
    bf_autojson json_t *value = bf_json_parse(rec->value, MAX_ROW, err);
    struct bf_slice workspace =
        bf_json_slice(json_object_get(value, "workspace"));

    if (!value)
        return -1;
    if (!bf_slice_is(bf_record_get(rec, "ce_type"),
                     bf_type_name(BF_TYPE_USAGE)))
        return bad(err, "ce_type");
    if (!workspace.ptr || !bf_slice_eq(workspace, rec->key))
        return bad(err, "workspace");
    return bf_slice_is(bf_record_get(rec, "ce_id"), row->id)
               ? take_row(row, rec, value, err)
               : take_fix(row, rec, value, err);
}

/* ---- one more ------------------------------------------------------------ */

static int put(json_t *differences, enum bf_quantity which, int64_t value,
               struct bf_err *err)
{
    char text[BF_QUANTITY_SIZE];

    bf_quantity_text(which, value, text);
    return json_object_set_new(differences, bf_quantity_name(which),
                               json_string(text))
               ? bf_err_oom(err)
               : 0;
}

/* "runs=-1" */
static int put_word(const struct bf_corrected *row, const char *word,
                    json_t *differences, struct bf_err *err)
{
    size_t len = strcspn(word, "=");
    int which = bf_quantity_find((struct bf_slice){word, len});
    enum bf_quantity quantity = (enum bf_quantity)which;
    int64_t value;

    if (which < 0 || word[len] != '=')
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "'%.60s' is no NAME=DIFFERENCE: runs, "
                          "duration_seconds, execution_seconds, input_bytes, "
                          "output_bytes, vcpu_seconds or memory_gib_seconds",
                          word);
    if (bf_quantity_parse(quantity, word + len + 1, true, &value))
        return bf_err_set(err, BF_ERR_REJECT, "usage",
                          "'%.60s' is no number, such as -1 or, of seconds, "
                          "-0.25",
                          word);
    if (json_object_get(differences, bf_quantity_name(quantity)))
        return bf_err_set(err, BF_ERR_REJECT, "usage", "%s stands twice",
                          bf_quantity_name(quantity));
    if (row->left[quantity] + value < 0) {
        char left[BF_QUANTITY_SIZE];

        bf_quantity_text(quantity, row->left[quantity] + value, left);
        return bf_err_set(err, BF_ERR_REJECT, "refused",
                          "%s would be %s, below nothing",
                          bf_quantity_name(quantity), left);
    }
    return put(differences, quantity, value, err);
}

static json_t *checked(json_t *differences, struct bf_err *err)
{
    if (json_object_size(differences) > 0)
        return json_incref(differences);
    bf_err_set(err, BF_ERR_REJECT, "refused", "there is nothing to correct");
    return NULL;
}

json_t *bf_corrected_differences(const struct bf_corrected *row,
                                 const char *const *words, size_t nwords,
                                 struct bf_err *err)
{
    bf_autojson json_t *differences = json_object();

    if (!differences) {
        bf_err_oom(err);
        return NULL;
    }
    for (size_t i = 0; i < nwords; i++) {
        if (put_word(row, words[i], differences, err))
            return NULL;
    }
    return checked(differences, err);
}

json_t *bf_corrected_void(const struct bf_corrected *row, struct bf_err *err)
{
    bf_autojson json_t *differences = json_object();

    if (!differences) {
        bf_err_oom(err);
        return NULL;
    }
    for (int i = 0; i < BF_QUANTITIES; i++) {
        if (row->left[i] != 0 &&
            put(differences, (enum bf_quantity)i, -row->left[i], err))
            return NULL;
    }
    return checked(differences, err);
}

int bf_corrected_build(const struct bf_corrected *row,
                       const json_t *differences, int64_t at_ms,
                       struct bf_record *rec, struct bf_err *err)
{
    const struct bf_correction fix = {
        .row = row->row,
        .row_id = bf_slice_str(row->id),
        .number = row->last + 1,
        .at_ms = at_ms,
        .differences = differences,
    };

    bf_assert(row->row);
    return bf_correction_build(&fix, row->fleet, rec, err);
}
