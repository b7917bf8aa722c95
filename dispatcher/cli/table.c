#include "dispatcher/cli/table.h"

#include "dispatcher/cli/text.h"
#include "schemas/err.h"

#define MAX_COLUMNS 16

/* A member as text; numbers as JSON writes them. Into out, unclean. */
static int cell(const json_t *row, const char *key, struct bf_buf *out,
                struct bf_err *err)
{
    const json_t *value = json_object_get(row, key);
    bf_autofree char *dump = NULL;

    bf_buf_clear(out);
    if (!value || json_is_null(value))
        return bf_buf_adds(out, "-", err);
    if (json_is_string(value))
        return bf_buf_add(out, json_string_value(value),
                          json_string_length(value), err);
    if (json_is_boolean(value))
        return bf_buf_adds(out, json_is_true(value) ? "yes" : "no", err);
    dump = json_dumps(value,
                      JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
    return dump ? bf_buf_adds(out, dump, err) : bf_err_oom(err);
}

static size_t clamp(size_t width, size_t max)
{
    return max > 0 && width > max ? max : width;
}

/* Widths of all columns; 0 for one that no row fills. */
static int measure(const struct bf_column *columns, size_t ncolumns,
                   const json_t *rows, size_t *widths, struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1 << 20);

    for (size_t c = 0; c < ncolumns; c++) {
        bool filled = false;
        size_t i;
        json_t *row;

        widths[c] = bf_text_width(bf_slice_str(columns[c].title));
        json_array_foreach(rows, i, row)
        {
            size_t width;

            if (cell(row, columns[c].key, &text, err))
                return -1;
            filled = filled || !bf_slice_is(bf_buf_slice(&text), "-");
            width = clamp(bf_text_width(bf_buf_slice(&text)), columns[c].max);
            if (width > widths[c])
                widths[c] = width;
        }
        if (!filled && json_array_size(rows) > 0)
            widths[c] = 0;
    }
    return 0;
}

static int pad(struct bf_buf *out, size_t n, struct bf_err *err)
{
    return n > 0 ? bf_buf_addf(out, err, "%*s", (int)n, "") : 0;
}

/* *gap: blanks owed from before; what follows the last cell is never paid. */
static int put(const struct bf_column *column, size_t width,
               struct bf_slice text, size_t *gap, struct bf_buf *out,
               struct bf_err *err)
{
    size_t used = clamp(bf_text_width(text), column->max);
    size_t left = width > used ? width - used : 0;

    if (pad(out, *gap + (column->right ? left : 0), err) ||
        bf_text_add(out, text, column->max, false, err))
        return -1;
    *gap = 2 + (column->right ? 0 : left);
    return 0;
}

static int put_row(const struct bf_column *columns, size_t ncolumns,
                   const size_t *widths, const json_t *row, struct bf_buf *out,
                   struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1 << 20);
    size_t gap = 0;

    for (size_t c = 0; c < ncolumns; c++) {
        struct bf_slice shown = bf_slice_str(columns[c].title);

        if (widths[c] == 0)
            continue;
        if (row) {
            if (cell(row, columns[c].key, &text, err))
                return -1;
            shown = bf_buf_slice(&text);
        }
        if (put(&columns[c], widths[c], shown, &gap, out, err))
            return -1;
    }
    return bf_buf_adds(out, "\n", err);
}

int bf_table_text(const struct bf_column *columns, size_t ncolumns,
                  const json_t *rows, struct bf_buf *out, struct bf_err *err)
{
    size_t widths[MAX_COLUMNS];
    size_t i;
    json_t *row;

    bf_assert(ncolumns <= MAX_COLUMNS);
    if (measure(columns, ncolumns, rows, widths, err) ||
        put_row(columns, ncolumns, widths, NULL, out, err))
        return -1;
    json_array_foreach(rows, i, row)
    {
        if (put_row(columns, ncolumns, widths, row, out, err))
            return -1;
    }
    return 0;
}

int bf_table_record(const struct bf_column *columns, size_t ncolumns,
                    const json_t *row, struct bf_buf *out, struct bf_err *err)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(1 << 20);
    size_t widest = 0;

    for (size_t c = 0; c < ncolumns; c++) {
        size_t width = bf_text_width(bf_slice_str(columns[c].title));

        if (json_object_get(row, columns[c].key) && width > widest)
            widest = width;
    }
    for (size_t c = 0; c < ncolumns; c++) {
        size_t width = bf_text_width(bf_slice_str(columns[c].title));

        if (!json_object_get(row, columns[c].key) ||
            json_is_null(json_object_get(row, columns[c].key)))
            continue;
        if (cell(row, columns[c].key, &text, err) ||
            bf_buf_adds(out, columns[c].title, err) ||
            pad(out, widest - width + 2, err) ||
            bf_text_add(out, bf_buf_slice(&text), columns[c].max, false, err) ||
            bf_buf_adds(out, "\n", err))
            return -1;
    }
    return 0;
}

int bf_table_json(const json_t *value, struct bf_buf *out, struct bf_err *err)
{
    bf_autofree char *dump = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

    if (!dump)
        return bf_err_oom(err);
    if (bf_buf_adds(out, dump, err))
        return -1;
    return bf_buf_adds(out, "\n", err);
}
