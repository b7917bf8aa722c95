#ifndef BF_CONFIG_NOTIFY_H
#define BF_CONFIG_NOTIFY_H

/*
 * Tells whoever started this process, by the socket that $NOTIFY_SOCKET names,
 * as sd_notify(3) defines it. systemd asks for that with Type=notify.
 */

struct bf_err;

#define BF_NOTIFY_READY "READY=1"
#define BF_NOTIFY_STOPPING "STOPPING=1"
#define BF_NOTIFY_ALIVE "WATCHDOG=1"

/*
 * Sends state, one of the above, without waiting. 0, too, when nobody asked.
 * REJECT for a socket of an unknown kind, RETRY when it cannot be sent. Reads
 * the environment: not while another thread writes to it.
 */
int bf_notify(const char *state, struct bf_err *err);

#endif
