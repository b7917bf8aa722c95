#include "schemas/time.h"

#include <stdio.h>
#include <time.h>

#define TIME_MAX_MS 253402300799999LL /* 9999-12-31T23:59:59.999Z */

void bf_time_format(int64_t unix_ms, char out[BF_TIME_SIZE])
{
    int64_t ms = unix_ms < 0 ? 0 : unix_ms;
    char text[96];
    struct tm tm;
    time_t secs;

    if (ms > TIME_MAX_MS)
        ms = TIME_MAX_MS;
    secs = (time_t)(ms / 1000);
    gmtime_r(&secs, &tm);
    snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
             tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
             tm.tm_min, tm.tm_sec, (int)(ms % 1000));
    memcpy(out, text, BF_TIME_LEN);
    out[BF_TIME_LEN] = '\0';
}

static int time_digits(const char *text, int len)
{
    int value = 0;

    for (int i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

int bf_time_parse(struct bf_slice text, int64_t *ret_unix_ms)
{
    const char *s = text.ptr;
    char again[BF_TIME_SIZE];
    struct tm tm = {0};
    int64_t ms;

    if (!s || text.len != BF_TIME_LEN)
        return -1;
    tm.tm_year = time_digits(s, 4) - 1900;
    tm.tm_mon = time_digits(s + 5, 2) - 1;
    tm.tm_mday = time_digits(s + 8, 2);
    tm.tm_hour = time_digits(s + 11, 2);
    tm.tm_min = time_digits(s + 14, 2);
    tm.tm_sec = time_digits(s + 17, 2);
    ms = (int64_t)timegm(&tm) * 1000 + time_digits(s + 20, 3);

    /* Whatever was wrong with it does not come out the same again. */
    bf_time_format(ms, again);
    if (memcmp(again, s, BF_TIME_LEN) != 0)
        return -1;
    *ret_unix_ms = ms;
    return 0;
}
