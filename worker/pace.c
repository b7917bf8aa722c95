#include "worker/pace.h"

#define SECOND_US INT64_C(1000000)

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

void bf_pace_init(struct bf_pace *pace, int64_t per_s, int64_t burst)
{
    *pace = (struct bf_pace){.every_us = per_s > 0 ? SECOND_US / per_s : 0};
    pace->burst_us = pace->every_us * (burst > 0 ? burst - 1 : 0);
}

int64_t bf_pace_take_ms(struct bf_pace *pace, int64_t mono_ms)
{
    int64_t now_us = mono_ms * 1000;
    int64_t turn_us;

    pace->next_us = later(pace->next_us, now_us);
    turn_us = later(pace->next_us - pace->burst_us, pace->hold_us);
    pace->next_us += pace->every_us;
    return turn_us > now_us ? (turn_us - now_us + 999) / 1000 : 0;
}

void bf_pace_hold(struct bf_pace *pace, int64_t mono_ms, int64_t ms)
{
    pace->hold_us = later(pace->hold_us, (mono_ms + ms) * 1000);
}
