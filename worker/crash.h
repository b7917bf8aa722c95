#ifndef BF_WORKER_CRASH_H
#define BF_WORKER_CRASH_H

/*
 * Named crash points, in test builds only: BLOCKFLEET_CRASH=name:N kills this
 * process (SIGKILL, no clean-up) the Nth time it comes by. tests/README.md
 * lists the names.
 */

#ifdef BF_TESTING
void bf_crash_point(const char *name);

/* The same, but the kill comes a while after: in the middle of what follows. */
void bf_crash_soon(const char *name, long after_us);
#else
#define bf_crash_point(name) ((void)0)
#define bf_crash_soon(name, after_us) ((void)0)
#endif

#endif
