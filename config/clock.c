#include "config/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "schemas/buf.h"
#include "schemas/err.h"

#define MS_PER_S 1000

/*
 * One of the two process-wide states of this layer (the other is the log):
 * time is ambient, and handing a clock through every call would serve nothing
 * but tests.
 */
static struct {
    atomic_bool fake;
    atomic_int_least64_t now_ms;
    atomic_int_least64_t mono_us;
} clock_state;

static int64_t read_us(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t bf_now_ms(void)
{
    if (atomic_load_explicit(&clock_state.fake, memory_order_relaxed))
        return atomic_load(&clock_state.now_ms);
    return read_us(CLOCK_REALTIME) / 1000;
}

int64_t bf_mono_us(void)
{
    if (atomic_load_explicit(&clock_state.fake, memory_order_relaxed))
        return atomic_load(&clock_state.mono_us);
    return read_us(CLOCK_MONOTONIC);
}

int64_t bf_mono_ms(void)
{
    return bf_mono_us() / 1000;
}

void bf_clock_fake(int64_t now_ms, int64_t mono_us)
{
    atomic_store(&clock_state.now_ms, now_ms);
    atomic_store(&clock_state.mono_us, mono_us);
    atomic_store(&clock_state.fake, true);
}

void bf_clock_fake_advance(int64_t ms)
{
    atomic_fetch_add(&clock_state.now_ms, ms);
    atomic_fetch_add(&clock_state.mono_us, ms * 1000);
}

void bf_clock_real(void)
{
    atomic_store(&clock_state.fake, false);
}

/* A reader over the text: each take_ either consumes or says no. */
struct cursor {
    const char *at;
    const char *end;
};

static bool take_char(struct cursor *in, char upper)
{
    char c;

    if (in->at == in->end)
        return false;
    c = *in->at;
    if (c >= 'a' && c <= 'z')
        c = (char)(c - 'a' + 'A');
    if (c != upper)
        return false;
    in->at++;
    return true;
}

static bool take_number(struct cursor *in, int digits, int max, int *ret)
{
    int value = 0;

    if (in->end - in->at < digits)
        return false;
    for (int i = 0; i < digits; i++) {
        if (in->at[i] < '0' || in->at[i] > '9')
            return false;
        value = value * 10 + (in->at[i] - '0');
    }
    if (value > max)
        return false;
    in->at += digits;
    *ret = value;
    return true;
}

static bool take_date_time(struct cursor *in, struct tm *tm)
{
    bool ok = take_number(in, 4, 9999, &tm->tm_year) && take_char(in, '-') &&
              take_number(in, 2, 12, &tm->tm_mon) && take_char(in, '-') &&
              take_number(in, 2, 31, &tm->tm_mday) && take_char(in, 'T') &&
              take_number(in, 2, 23, &tm->tm_hour) && take_char(in, ':') &&
              take_number(in, 2, 59, &tm->tm_min) && take_char(in, ':') &&
              take_number(in, 2, 59, &tm->tm_sec);

    tm->tm_year -= 1900;
    tm->tm_mon -= 1;
    return ok;
}

static bool take_fraction(struct cursor *in, int *ret_ms)
{
    int scale = 100, ms = 0, digit, digits = 0;

    if (!take_char(in, '.')) {
        *ret_ms = 0;
        return true;
    }
    while (take_number(in, 1, 9, &digit)) {
        ms += digit * scale;
        scale /= 10;
        digits++;
    }
    *ret_ms = ms;
    return digits > 0;
}

static bool take_offset(struct cursor *in, int *ret_seconds)
{
    int hours, minutes, sign = 1;

    *ret_seconds = 0;
    if (take_char(in, 'Z'))
        return true;
    if (take_char(in, '-'))
        sign = -1;
    else if (!take_char(in, '+'))
        return false;
    if (!take_number(in, 2, 23, &hours) || !take_char(in, ':') ||
        !take_number(in, 2, 59, &minutes))
        return false;
    *ret_seconds = sign * (hours * 3600 + minutes * 60);
    return true;
}

int bf_clock_parse(struct bf_slice text, int64_t *ret_unix_ms,
                   struct bf_err *err)
{
    struct cursor in = {text.ptr, text.ptr ? text.ptr + text.len : text.ptr};
    struct tm tm = {0}, back;
    int ms, offset;
    time_t seconds;

    if (!text.ptr || !take_date_time(&in, &tm) || !take_fraction(&in, &ms) ||
        !take_offset(&in, &offset) || in.at != in.end)
        return bf_err_set(err, BF_ERR_REJECT, "bad_time",
                          "a time must look like 2026-01-31T23:59:59.000Z");
    back = tm;
    seconds = timegm(&back);
    /* timegm() turns 30 February into 2 March; the calendar does not. */
    if (back.tm_mday != tm.tm_mday || back.tm_mon != tm.tm_mon)
        return bf_err_set(err, BF_ERR_REJECT, "bad_time",
                          "no such day in that month");
    *ret_unix_ms = ((int64_t)seconds - offset) * MS_PER_S + ms;
    return 0;
}
