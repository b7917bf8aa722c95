#include "dispatcher/cli/times.h"

#include "config/clock.h"
#include "dispatcher/cli/client.h"
#include "schemas/err.h"

/* "90s": so long ago. */
static int parse_ago(const char *text, int64_t now_ms, int64_t *ret_ms)
{
    static const struct {
        char unit;
        int64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    size_t len = strlen(text);
    uint64_t number;

    if (len < 2 ||
        bf_slice_u64((struct bf_slice){text, len - 1}, 1000000, &number))
        return -1;
    for (size_t i = 0; i < bf_countof(units); i++) {
        if (text[len - 1] == units[i].unit) {
            *ret_ms = now_ms - (int64_t)number * units[i].ms;
            return 0;
        }
    }
    return -1;
}

int bf_times_parse(const char *text, int64_t now_ms, int64_t *ret_ms,
                   struct bf_err *err)
{
    if (parse_ago(text, now_ms, ret_ms) == 0 ||
        bf_clock_parse(bf_slice_str(text), ret_ms, NULL) == 0)
        return 0;
    return bf_err_set(err, BF_ERR_REJECT, "usage",
                      "'%.60s' is no time: 90s, 30m, 12h or 7d ago, or "
                      "2026-11-21T13:00:00Z",
                      text);
}

int bf_times_option(const struct bf_cli *cli, const char *name, int64_t *ret_ms,
                    struct bf_err *err)
{
    const char *text = bf_args_get(&cli->args, name);

    return text ? bf_times_parse(text, bf_now_ms(), ret_ms, err) : 0;
}

int bf_times_query(const struct bf_cli *cli, const char *name, int64_t unit_ms,
                   struct bf_buf *path, struct bf_err *err)
{
    const char *text = bf_args_get(&cli->args, name);
    char time[BF_RFC3339_LEN];
    int64_t ms;

    if (!text)
        return 0;
    if (parse_ago(text, bf_now_ms(), &ms) == 0)
        bf_clock_rfc3339(ms - ms % unit_ms, time);
    else if (bf_times_parse(text, 0, &ms, err))
        return -1;
    else
        bf_clock_rfc3339(ms, time);
    return bf_client_query(path, name, time, err);
}
