#include "schemas/outcome.h"

struct outcome_row {
    const char *name;
    const char *with;
    const char *text;
};

static const struct outcome_row outcomes[] = {
#define X(id, name, text) [BF_OUTCOME_##id] = {name, NULL, text},
    BF_OUTCOME_TABLE(X)
#undef X
};
_Static_assert(bf_countof(outcomes) == BF_OUTCOMES, "a row each");

static const struct outcome_row reasons[] = {
#define X(id, name, with, text) [BF_REASON_##id] = {name, with, text},
    BF_REASON_TABLE(X)
#undef X
};
_Static_assert(bf_countof(reasons) == BF_REASONS, "a row each");

static const struct outcome_row deliveries[] = {
#define X(id, name, text) [BF_DELIVERY_##id] = {name, NULL, text},
    BF_DELIVERY_TABLE(X)
#undef X
};
_Static_assert(bf_countof(deliveries) == BF_DELIVERIES, "a row each");

static const struct outcome_row executions[] = {
    [BF_AT_LEAST_ONCE] = {"at_least_once", NULL, NULL},
    [BF_AT_MOST_ONCE] = {"at_most_once", NULL, NULL},
};

static const struct outcome_row id_origins[] = {
    [BF_ID_CLIENT] = {"client", NULL, NULL},
    [BF_ID_KEY] = {"key", NULL, NULL},
    [BF_ID_SERVER] = {"server", NULL, NULL},
};

static const char *row_name(const struct outcome_row *rows, size_t nrows,
                            size_t i)
{
    bf_assert(i < nrows);
    return rows[i].name;
}

static int row_parse(const struct outcome_row *rows, size_t nrows,
                     struct bf_slice name)
{
    for (size_t i = 0; i < nrows; i++) {
        if (name.ptr && bf_slice_is(name, rows[i].name))
            return (int)i;
    }
    return -1;
}

const char *bf_outcome_name(enum bf_outcome outcome)
{
    return row_name(outcomes, bf_countof(outcomes), outcome);
}

const char *bf_reason_name(enum bf_reason reason)
{
    return row_name(reasons, bf_countof(reasons), reason);
}

const char *bf_delivery_name(enum bf_delivery delivery)
{
    return row_name(deliveries, bf_countof(deliveries), delivery);
}

const char *bf_execution_name(enum bf_execution execution)
{
    return row_name(executions, bf_countof(executions), execution);
}

const char *bf_id_origin_name(enum bf_id_origin origin)
{
    return row_name(id_origins, bf_countof(id_origins), origin);
}

int bf_outcome_parse(struct bf_slice name)
{
    return row_parse(outcomes, bf_countof(outcomes), name);
}

int bf_reason_parse(struct bf_slice name)
{
    return row_parse(reasons, bf_countof(reasons), name);
}

int bf_delivery_parse(struct bf_slice name)
{
    return row_parse(deliveries, bf_countof(deliveries), name);
}

int bf_execution_parse(struct bf_slice name)
{
    return row_parse(executions, bf_countof(executions), name);
}

int bf_id_origin_parse(struct bf_slice name)
{
    return row_parse(id_origins, bf_countof(id_origins), name);
}

static int markdown_pairs(struct bf_buf *out, const char *title,
                          const struct outcome_row *rows, size_t nrows,
                          struct bf_err *err)
{
    if (bf_buf_addf(out, err, "| %s | |\n| --- | --- |\n", title))
        return -1;
    for (size_t i = 0; i < nrows; i++) {
        if (bf_buf_addf(out, err, "| `%s` | %s |\n", rows[i].name,
                        rows[i].text))
            return -1;
    }
    return 0;
}

static int markdown_reasons(struct bf_buf *out, struct bf_err *err)
{
    if (bf_buf_adds(out, "\n| reason | with | |\n| --- | --- | --- |\n", err))
        return -1;
    for (size_t i = BF_REASON_NONE + 1; i < bf_countof(reasons); i++) {
        if (bf_buf_addf(out, err, "| `%s` | %s | %s |\n", reasons[i].name,
                        reasons[i].with, reasons[i].text))
            return -1;
    }
    return 0;
}

int bf_outcome_markdown(struct bf_buf *out, struct bf_err *err)
{
    if (markdown_pairs(out, "outcome", outcomes, bf_countof(outcomes), err) ||
        markdown_reasons(out, err) || bf_buf_adds(out, "\n", err))
        return -1;
    return markdown_pairs(out, "delivery", deliveries, bf_countof(deliveries),
                          err);
}
