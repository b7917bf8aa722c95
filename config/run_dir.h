#ifndef BF_CONFIG_RUN_DIR_H
#define BF_CONFIG_RUN_DIR_H

/* The directory of the option run_dir: locks of workers, the view, answers. */

struct bf_err;

/*
 * Makes it, for its owner alone, if it is not there. Its default lies in /tmp
 * when there is no better place, under a name that anybody could have taken
 * first: REJECT "run_dir" when it belongs to another user (root's is taken, and
 * to root another's where not everybody could have made it), or everybody may
 * replace what is in it.
 */
int bf_run_dir_make(const char *dir, struct bf_err *err);

#endif
