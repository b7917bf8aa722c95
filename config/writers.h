#ifndef BF_CONFIG_WRITERS_H
#define BF_CONFIG_WRITERS_H

/*
 * Whoever may write a file of keys decides whom the fleet believes. A group
 * may: that is how some share the work. Any thread.
 */

struct bf_err;

/*
 * fd is the file at path. REJECT "keys_mode": everybody may write it, or
 * replace it in its directory; "keys_owner": its directory is one like /tmp,
 * where everybody may make files but not replace others', and it belongs to
 * somebody who owns neither the directory nor this process; "keys_dir": the
 * two cannot be looked at.
 */
int bf_writers_check(int fd, const char *path, struct bf_err *err);

/* The same for a directory alone, before a file is made there. */
int bf_writers_check_dir(const char *dir, struct bf_err *err);

#endif
