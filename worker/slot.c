#include "worker/slot.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>

#include "config/run_dir.h"
#include "schemas/buf.h"
#include "schemas/check.h"
#include "schemas/err.h"

/* 1: taken, 0: somebody else's, -1: cannot. */
static int try_slot(const char *dir, const char *txn_id, int *ret_fd,
                    struct bf_err *err)
{
    char path[PATH_MAX];
    bf_autoclose int fd = -1;

    if ((size_t)snprintf(path, sizeof(path), "%s/%s.lock", dir, txn_id) >=
        sizeof(path))
        return bf_err_set(err, BF_ERR_FATAL, "run_dir", "path too long");
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return bf_err_set(err, BF_ERR_FATAL, "run_dir", "%s: %s", path,
                          strerrorname_np(errno));
    if (flock(fd, LOCK_EX | LOCK_NB))
        return 0;
    if (ftruncate(fd, 0))
        return bf_err_set(err, BF_ERR_FATAL, "run_dir", "%s: %s", path,
                          strerrorname_np(errno));
    *ret_fd = bf_take_fd(fd);
    return 1;
}

int bf_slot_take(const char *dir, const char *group, const char *instance,
                 unsigned int slots, struct bf_slot *ret, struct bf_err *err)
{
    struct bf_slot slot = {.fd = -1};

    if (bf_run_dir_make(dir, err))
        return -1;
    for (slot.number = 0; slot.number < slots; slot.number++) {
        int taken;

        if ((size_t)snprintf(slot.txn_id, sizeof(slot.txn_id), "%s-%s-%u",
                             group, instance,
                             slot.number) >= sizeof(slot.txn_id))
            return bf_err_set(err, BF_ERR_FATAL, "instance",
                              "group and instance are longer than %u",
                              BF_MAX_TXN_ID);
        taken = try_slot(dir, slot.txn_id, &slot.fd, err);
        if (taken < 0)
            return -1;
        if (taken) {
            *ret = slot;
            return 0;
        }
    }
    return bf_err_set(err, BF_ERR_RETRY, "no_slot",
                      "all %u slots of instance %s are taken in %s", slots,
                      instance, dir);
}

void bf_slot_beat(const struct bf_slot *slot)
{
    static const char up[] = "up\n";

    /* A disk that is full is no reason to stop; the file only gets old. */
    if (pwrite(slot->fd, up, sizeof(up) - 1, 0) < 0)
        return;
}

void bf_slot_release(struct bf_slot *slot)
{
    if (slot->fd >= 0)
        close(slot->fd);
    slot->fd = -1;
}
