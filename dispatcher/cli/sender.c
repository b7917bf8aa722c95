#include "dispatcher/cli/sender.h"

#include "dispatcher/cli/cli.h"
#include "schemas/err.h"

#define SHOWN 5

int bf_sender_init(struct bf_sender *sender, struct bf_err *err)
{
    bf_assert(sender->part_lines > 0 && sender->part_lines <= BF_PART_LINES);
    bf_assert(sender->part_bytes > 0 && sender->part_bytes <= BF_PART_BYTES);
    return bf_part_init(&sender->part, err);
}

void bf_sender_release(struct bf_sender *sender)
{
    bf_part_release(&sender->part);
}

void bf_sender_refuse(struct bf_sender *sender, uint64_t number,
                      const char *why)
{
    char name[160];

    if (sender->refused++ >= SHOWN)
        return;
    sender->name(sender->arg, number, name, sizeof(name));
    bf_cli_say(sender->cli, "%s: refused: %s", name, why);
}

static int on_answer(void *arg, const struct bf_answer *answer,
                     struct bf_err *err)
{
    struct bf_sender *sender = arg;
    const json_t *status = json_object_get(answer->doc, "status");

    (void)err;
    if (answer->accepted) {
        sender->accepted++;
        return 0;
    }
    bf_sender_refuse(sender, answer->number, answer->problem);
    if (json_integer_value(status) == 409)
        sender->closed = true;
    return 0;
}

int bf_sender_flush(struct bf_sender *sender, struct bf_err *err)
{
    struct bf_part *part = &sender->part;

    if (part->nlines == 0)
        return 0;
    if (bf_part_send(sender->client, part, NULL, on_answer, sender, err))
        return -1;
    bf_part_clear(part);
    return 0;
}

int bf_sender_put(struct bf_sender *sender, uint64_t number,
                  struct bf_slice line, struct bf_err *err)
{
    struct bf_part *part = &sender->part;

    if (bf_part_put(part, number, line, err))
        return -1;
    return part->nlines < sender->part_lines &&
                   part->bytes.len < sender->part_bytes
               ? 0
               : bf_sender_flush(sender, err);
}
