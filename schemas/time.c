#include "schemas/time.h"

#define DAY_MS 86400000LL
#define TIME_MAX_MS 253402300799999LL /* 9999-12-31T23:59:59.999Z */

static char *put_digits(char *to, int number, int len, char after)
{
    for (int i = len - 1; i >= 0; i--) {
        to[i] = (char)('0' + number % 10);
        number /= 10;
    }
    to[len] = after;
    return to + len + 1;
}

struct date {
    int year, month, day;
};

/*
 * Days since 1970 to a date and back, in years that begin in March, so that
 * the odd day is the last: no locks, no time zones. Eras are 400 years.
 */
static struct date date_of(int64_t days)
{
    int64_t shifted = days + 719468; /* since 0000-03-01 */
    int64_t era = shifted / 146097, in_era = shifted % 146097;
    int64_t years =
        (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * years + years / 4 - years / 100);
    int64_t month = (5 * in_year + 2) / 153;

    return (struct date){
        .year = (int)(years + era * 400 + (month >= 10)),
        .month = (int)(month < 10 ? month + 3 : month - 9),
        .day = (int)(in_year - (153 * month + 2) / 5 + 1),
    };
}

static int64_t days_of(struct date date)
{
    int64_t year = date.year - (date.month <= 2);
    int64_t era = year / 400, in_era = year % 400;
    int64_t month = date.month > 2 ? date.month - 3 : date.month + 9;
    int64_t in_year = (153 * month + 2) / 5 + date.day - 1;

    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year -
           719468;
}

/* By hand: with printf() this was a fourth of what an event costs. */
void bf_time_format(int64_t unix_ms, char out[BF_TIME_SIZE])
{
    int64_t ms = unix_ms < 0 ? 0 : unix_ms;
    struct date date;
    int rest;

    if (ms > TIME_MAX_MS)
        ms = TIME_MAX_MS;
    date = date_of(ms / DAY_MS);
    rest = (int)(ms % DAY_MS);
    out = put_digits(out, date.year, 4, '-');
    out = put_digits(out, date.month, 2, '-');
    out = put_digits(out, date.day, 2, 'T');
    out = put_digits(out, rest / 3600000, 2, ':');
    out = put_digits(out, rest / 60000 % 60, 2, ':');
    out = put_digits(out, rest / 1000 % 60, 2, '.');
    out = put_digits(out, rest % 1000, 3, 'Z');
    *out = '\0';
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
    struct date date;
    int64_t ms;

    if (!s || text.len != BF_TIME_LEN)
        return -1;
    date = (struct date){time_digits(s, 4), time_digits(s + 5, 2),
                         time_digits(s + 8, 2)};
    ms = days_of(date) * DAY_MS + time_digits(s + 11, 2) * 3600000LL +
         time_digits(s + 14, 2) * 60000LL + time_digits(s + 17, 2) * 1000LL +
         time_digits(s + 20, 3);

    /* Whatever was wrong with it does not come out the same again. */
    bf_time_format(ms, again);
    if (memcmp(again, s, BF_TIME_LEN) != 0)
        return -1;
    *ret_unix_ms = ms;
    return 0;
}
