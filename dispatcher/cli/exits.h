#ifndef BF_DISPATCHER_CLI_EXITS_H
#define BF_DISPATCHER_CLI_EXITS_H

/* What `blockfleet` exits with: the one table, for the code and the help. */

/* X(ENUM, number, when) */
#define BF_EXIT_TABLE(X)                                                       \
    X(OK, 0, "done; every job asked about has succeeded")                      \
    X(JOB, 1, "done, but a job ended without success")                         \
    X(USAGE, 2, "a word, an option or a setting is wrong; nothing was done")   \
    X(UNREACHABLE, 3, "the dispatcher or the brokers do not answer")           \
    X(REFUSED, 4,                                                              \
      "refused: by the dispatcher, a broker or a rule of the fleet")           \
    X(UNHEALTHY, 5, "a check has found a fault")                               \
    X(PENDING, 6, "the time given for waiting is over; jobs go on")            \
    X(LOCAL, 7, "a file, a key or memory on this machine failed us")

enum bf_exit {
#define X(id, number, text) BF_EXIT_##id = (number),
    BF_EXIT_TABLE(X)
#undef X
};

#endif
