#include "dispatcher/cli/video_report.h"

#include "dispatcher/cli/text.h"
#include "schemas/err.h"

#define LABEL 12 /* columns, with the blanks after it */

/* ---- facts --------------------------------------------------------------- */

static json_t *latency(struct bf_video_out *out)
{
    return json_pack("{s:I,s:I,s:I}", "p50",
                     (json_int_t)bf_video_out_latency(out, 0.5), "p99",
                     (json_int_t)bf_video_out_latency(out, 0.99), "max",
                     (json_int_t)bf_video_out_latency(out, 1));
}

json_t *bf_video_report(struct bf_video_out *out, uint64_t frames,
                        json_t *usage, json_t *files, struct bf_err *err)
{
    const struct bf_video_job *video = out->video;
    json_t *report = json_pack(
        "{s:s,s:s,s:O,s:I,s:f,s:I,s:O,s:O,s:O,s:o,s:O*,s:O}", "file",
        video->name, "batch", video->batch, "workspace",
        json_object_get(video->members, "workspace"), "frames",
        (json_int_t)frames, "fps", (double)video->clip.num / video->clip.den,
        "images", (json_int_t)out->images, "outcomes", out->outcomes, "workers",
        out->workers, "isolation", out->isolations, "latency_ms", latency(out),
        "usage", usage, "files", files);

    if (!report)
        bf_err_oom(err);
    return report;
}

/* ---- text ---------------------------------------------------------------- */

static int begin(struct bf_buf *text, const char *label, struct bf_err *err)
{
    return bf_buf_addf(text, err, "%-*s", LABEL, label);
}

static int end(struct bf_buf *text, struct bf_err *err)
{
    return bf_buf_adds(text, "\n", err);
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "-";
}

static int add_text(struct bf_buf *text, const char *value, struct bf_err *err)
{
    return bf_text_add(text, bf_slice_str(value), 0, false, err);
}

/* "250 succeeded, 3 failed" */
static int add_counts(struct bf_buf *text, json_t *counts, struct bf_err *err)
{
    const char *name, *comma = "";
    json_t *number;

    json_object_foreach(counts, name, number)
    {
        if (bf_buf_addf(text, err, "%s%lld ", comma,
                        (long long)json_integer_value(number)) ||
            add_text(text, name, err))
            return -1;
        comma = ", ";
    }
    return *comma ? 0 : bf_buf_adds(text, "none", err);
}

/* One a line, the numbers below one another. */
static int put_workers(struct bf_buf *text, json_t *workers, struct bf_err *err)
{
    const char *name, *label = "workers";
    json_t *number;

    json_object_foreach(workers, name, number)
    {
        if (begin(text, label, err) ||
            bf_buf_addf(text, err, "%6lld  ",
                        (long long)json_integer_value(number)) ||
            add_text(text, name, err) || end(text, err))
            return -1;
        label = "";
    }
    return 0;
}

static void seconds(json_int_t ms, char out[24])
{
    if (ms < 0)
        snprintf(out, 24, "-");
    else if (ms < 1000)
        snprintf(out, 24, "%lld ms", (long long)ms);
    else
        snprintf(out, 24, "%.1f s", (double)ms / 1000);
}

static int put_latency(struct bf_buf *text, const json_t *report,
                       struct bf_err *err)
{
    const json_t *latency = json_object_get(report, "latency_ms");
    char p50[24], p99[24];

    seconds(json_integer_value(json_object_get(latency, "p50")), p50);
    seconds(json_integer_value(json_object_get(latency, "p99")), p99);
    if (begin(text, "latency", err))
        return -1;
    return bf_buf_addf(text, err,
                       "p50 %s, p99 %s from accepted to ended, the queue "
                       "included\n",
                       p50, p99);
}

static int put_isolation(struct bf_buf *text, const json_t *report,
                         struct bf_err *err)
{
    const char *name, *comma = "";
    json_t *number;

    if (begin(text, "isolation", err))
        return -1;
    json_object_foreach(json_object_get(report, "isolation"), name, number)
    {
        if (bf_buf_adds(text, comma, err) || add_text(text, name, err))
            return -1;
        comma = ", ";
    }
    if (!*comma && bf_buf_adds(text, "-", err))
        return -1;
    return end(text, err);
}

static uint64_t number_of(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));

    return value > 0 ? (uint64_t)value : 0;
}

static int put_usage(struct bf_buf *text, const json_t *report,
                     struct bf_err *err)
{
    const json_t *usage = json_object_get(report, "usage");
    /* a decimal as text, so that nobody rounds a bill */
    const char *ran = text_of(usage, "duration_seconds");
    char in[16], out[16];

    if (!usage)
        return 0;
    bf_text_bytes(number_of(usage, "input_bytes"), in);
    bf_text_bytes(number_of(usage, "output_bytes"), out);
    if (begin(text, "usage", err) ||
        bf_buf_addf(text, err, "%llu runs, %.1f s, %s in, %s out in workspace ",
                    (unsigned long long)number_of(usage, "runs"),
                    strtod(ran, NULL), in, out) ||
        add_text(text, text_of(report, "workspace"), err))
        return -1;
    return end(text, err);
}

static int put_file(struct bf_buf *text, const json_t *files, const char *kind,
                    const char *label, struct bf_err *err)
{
    if (!json_object_get(files, kind))
        return 0;
    if (begin(text, label, err) || add_text(text, text_of(files, kind), err))
        return -1;
    return end(text, err);
}

int bf_video_report_text(const json_t *report, struct bf_buf *text,
                         struct bf_err *err)
{
    const json_t *files = json_object_get(report, "files");

    if (begin(text, "batch", err) ||
        add_text(text, text_of(report, "batch"), err) || end(text, err) ||
        begin(text, "jobs", err) ||
        add_counts(text, json_object_get(report, "outcomes"), err) ||
        end(text, err) ||
        put_workers(text, json_object_get(report, "workers"), err) ||
        put_latency(text, report, err) || put_isolation(text, report, err) ||
        put_usage(text, report, err) || end(text, err) ||
        put_file(text, files, "results", "results", err) ||
        put_file(text, files, "frames", "frames", err) ||
        put_file(text, files, "video", "video", err))
        return -1;
    return put_file(text, files, "contact_sheet", "overview", err);
}
