#include "dispatcher/cli/commands.h"

#include "schemas/err.h"

#define FLAGS(array)                                                           \
    {                                                                          \
        (array), bf_countof(array)                                             \
    }

/* An option that several commands have. */
#define WORKSPACE                                                              \
    {                                                                          \
        "workspace", 'w', false, "NAME", "whose jobs"                          \
    }

/* What a job runs, and how. */
/* clang-format off: rows of a table */
#define BLOCK_FLAGS                                                            \
    {"code", 'c', false, "FILE", "Python with the function to run"},           \
        {"function", 0, false, "NAME", "its name, if not run"},                \
        {"init", 0, false, "FILE", "Python that runs once per process"},       \
        {"init-function", 0, false, "NAME", "its function, if not init"},      \
        {"import", 0, true, "LINE", "an import statement of the block"},       \
    {                                                                          \
        "block-type", 0, false, "NAME", "what the block is called in usage"    \
    }
#define RUN_FLAGS                                                              \
    {"execution", 0, false, "MODE", "at_least_once or at_most_once"},          \
        {"timeout-ms", 0, false, "N", "deadline of one run"},                  \
    {                                                                          \
        "max-attempts", 0, false, "N",                                         \
            "runs, when an earlier one may have run"                           \
    }
/* clang-format on */

static const struct bf_flag topics_init_flags[] = {
    {"dev-keys", 0, false, NULL, "first make the keys that are missing"},
    {"replace-untrusted", 0, false, NULL,
     "write anew what no trusted key signed"},
    {"acls", 0, false, NULL, "only print the ACLs that each role needs"},
};

static const struct bf_flag topics_show_flags[] = {
    {"acls", 0, false, NULL, "print the ACLs that each role needs"},
};

static const struct bf_flag shards_list_flags[] = {
    {"stopped", 0, false, NULL, "only those that cannot go on"},
};

static const struct bf_flag shards_confirm_flags[] = {
    {"from", 0, false, "WHERE", "base, committed, earliest, latest, OFFSET"},
    {"lane", 0, false, "LANE", "jobs or batch; else what is stopped of them"},
    {"yes", 0, false, NULL, "write it; without, only tell what it costs"},
    {"force", 0, false, NULL, "also where nothing is wrong and nobody works"},
};

static const struct bf_flag doctor_flags[] = {
    {"offline", 0, false, NULL, "leave out the dispatcher"},
};

static const struct bf_flag keys_new_flags[] = {
    {"workspace", 'w', true, "NAME", "it may sign for this workspace only"},
    {"comment", 0, false, "TEXT", "whose it is"},
};

static const struct bf_flag apikeys_new_flags[] = {
    {"workspace", 'w', true, "NAME", "it is for this workspace"},
    {"all-workspaces", 0, false, NULL, "it is an operator's: for all of them"},
    {"expires-at", 0, false, "TIME", "RFC 3339; if not, never"},
    {"comment", 0, false, "TEXT", "whose it is"},
    {"output", 'o', false, "FILE",
     "put it there, mode 0600, and do not show "
     "it"},
};

static const struct bf_flag submit_flags[] = {
    WORKSPACE,
    BLOCK_FLAGS,
    {"inputs", 'i', false, "FILE",
     "a JSON object, sent byte by byte; - is "
     "stdin"},
    {"set", 's', true, "NAME=VALUE", "one input; JSON if it is, else a string"},
    {"ndjson", 0, false, "FILE", "whole jobs, one a line; - is stdin"},
    {"id", 0, false, "ID", "the job's id; the same id is the same job"},
    {"key", 0, false, "KEY", "the same key sent again is the same job"},
    RUN_FLAGS,
    {"order-key", 0, false, "KEY", "jobs of one key run one after another"},
    {"backend", 0, false, "NAME", "where it is to run"},
    {"lane", 0, false, "LANE", "jobs or batch"},
    {"batch", 0, false, "ID", "the batch it belongs to"},
    {"batch-index", 0, false, "N", "its place in the batch, from 0"},
    {"not-before", 0, false, "TIME", "RFC 3339"},
    {"expires-at", 0, false, "TIME", "RFC 3339"},
    {"callback-url", 0, false, "URL", "told when the job has ended"},
    {"correlation-id", 0, false, "TEXT", "returned with the result"},
    {"label", 'l', true, "NAME=VALUE", "returned with the result"},
    {"wait", 0, false, NULL, "until it has ended, and show how"},
    {"timeout", 0, false, "SECONDS", "wait no longer than that"},
};

static const struct bf_flag batch_flags[] = {
    WORKSPACE,
    BLOCK_FLAGS,
    {"set", 's', true, "NAME=VALUE", "one more input; JSON, else a string"},
    {"batch", 0, false, "ID", "instead of one that follows from all this"},
    {"max-failure-rate", 0, false, "N", "0.05: no more when a 20th has failed"},
    {"skip-refused", 0, false, NULL, "seal it without what was refused"},
    {"no-wait", 0, false, NULL, "do not wait until all have ended"},
    {"timeout", 0, false, "SECONDS", "wait no longer than that"},
    RUN_FLAGS,
    {"order-key", 0, false, "KEY", "one after another, all of them"},
    {"backend", 0, false, "NAME", "where they are to run"},
    {"lane", 0, false, "LANE", "jobs or batch, if not batch"},
    {"not-before", 0, false, "TIME", "RFC 3339"},
    {"expires-at", 0, false, "TIME", "RFC 3339"},
    {"callback-url", 0, false, "URL", "told of each that has ended"},
    {"label", 'l', true, "NAME=VALUE", "returned with the results"},
};

static const struct bf_flag batches_flags[] = {
    WORKSPACE,
    {"limit", 0, false, "N", "at most so many, if not 100"},
};

static const struct bf_flag video_flags[] = {
    WORKSPACE,
    BLOCK_FLAGS,
    {"set", 's', true, "NAME=VALUE", "one more input; JSON, else a string"},
    {"fps", 0, false, "N", "frames a second to take, if not all; 5 or 1/2"},
    {"max-frames", 0, false, "N", "no more than the first N of them"},
    {"frames-per-job", 0, false, "N", "several to a job, as a Batch; if not 1"},
    {"batch", 0, false, "ID", "instead of one that follows from all this"},
    {"out", 'o', false, "DIR", "folder for the results; waits for them"},
    RUN_FLAGS,
    {"backend", 0, false, "NAME", "where it is to run"},
    {"lane", 0, false, "LANE", "jobs or batch"},
    {"label", 'l', true, "NAME=VALUE", "returned with the results"},
    {"wait", 0, false, NULL, "for all results, and write them to --out"},
    {"timeout", 0, false, "SECONDS", "wait no longer than that"},
};

static const struct bf_flag status_flags[] = {
    WORKSPACE,
    {"code", 'c', false, "FILE", "the block, to show the line that raised"},
};

static const struct bf_flag jobs_flags[] = {
    WORKSPACE,
    {"status", 0, false, "NAMES", "such as failed,timed_out"},
    {"batch", 0, false, "ID", "of this batch only"},
    {"order-key", 0, false, "KEY", "with this key only"},
    {"label", 'l', false, "NAME=VALUE", "with this label only, or NAME"},
    {"from", 0, false, "TIME", "accepted then or later: 12h, 7d, or RFC 3339"},
    {"to", 0, false, "TIME", "accepted before"},
    {"limit", 0, false, "N", "at most so many, if not 100"},
};

static const struct bf_flag wait_flags[] = {
    WORKSPACE,
    {"batch", 0, false, "ID", "all jobs of this one, when it is sealed"},
    {"gap", 0, false, "SECONDS", "its sender may pause so long; else 60"},
    {"code", 'c', false, "FILE", "the block, to show the line that raised"},
    {"timeout", 0, false, "SECONDS", "wait no longer than that"},
};

static const struct bf_flag results_flags[] = {
    WORKSPACE,
    {"batch", 0, false, "ID", "of this batch only"},
    {"cursor", 0, false, "CURSOR", "go on where an earlier call ended"},
    {"raw", 0, false, "ID", "the bytes of one job's result instead"},
    {"output", 'o', false, "FILE", "instead of stdout; appears when whole"},
};

/* Of commands that read a topic. */
#define SINCE                                                                  \
    {                                                                          \
        "since", 0, false, "TIME",                                             \
            "written then or later: 12h, 7d, or RFC 3339"                      \
    }

static const struct bf_flag deadletter_list_flags[] = {
    SINCE,
    {"workspace", 'w', false, "NAME", "of this workspace only"},
    {"reason", 0, false, "REASON", "with this reason only"},
};

static const struct bf_flag deadletter_show_flags[] = {
    {"raw", 0, false, NULL, "the bytes of its value instead"},
};

static const struct bf_flag usage_flags[] = {
    {"workspace", 'w', false, "NAME", "of this workspace only"},
    {"by", 0, false, "NAMES", "workspace, block, hour, day: by commas"},
    {"from", 0, false, "TIME", "the first hour: 12h, 7d, or RFC 3339"},
    {"to", 0, false, "TIME", "the hour after the last one"},
};

static const struct bf_flag usage_export_flags[] = {
    SINCE,
    {"from", 0, false, "TIME", "of runs that ended then or later"},
    {"to", 0, false, "TIME", "of runs that ended before"},
    {"workspace", 'w', false, "NAME", "of this workspace only"},
    {"output", 'o', false, "FILE", "instead of stdout; appears when whole"},
};

static const struct bf_flag usage_correct_flags[] = {
    SINCE,
    {"void", 0, false, NULL, "take back all that is left of the row"},
    {"dry-run", 0, false, NULL, "only show what it would be"},
    {"timeout", 0, false, "SECONDS", "look for it afterwards so long; else 60"},
};

static const struct bf_flag usage_reconcile_flags[] = {
    SINCE,
};

static const struct bf_flag verify_flags[] = {
    SINCE,
    {"file", 0, false, "FILE", "lines of 'usage export'; - is stdin"},
};

static const struct bf_flag help_flags[] = {
    {"markdown", 0, false, NULL, "print COMMANDS.md"},
    {"man", 0, false, NULL, "print the manual page"},
};

#define UNREACHABLE BF_EXIT_BIT(BF_EXIT_UNREACHABLE)
#define REFUSED BF_EXIT_BIT(BF_EXIT_REFUSED)
#define ENDED (BF_EXIT_BIT(BF_EXIT_JOB) | BF_EXIT_BIT(BF_EXIT_PENDING))

static const struct bf_command commands[] = {
    {
        .name = "topics init",
        .summary = "create the topics of a fleet and sign their beginning",
        .help =
            "Creates what is missing of the topics of PROTOCOL.md, with\n"
            "topics.shards partitions each, then writes the fleet's entry and\n"
            "a signed beginning per shard and lane to the state topic, unless\n"
            "they are there. A second run changes nothing and says so. Needs\n"
            "a key of purpose state: 'blockfleet keys new state'.",
        .options = FLAGS(topics_init_flags),
        .exits = UNREACHABLE | REFUSED,
        .run = bf_cmd_topics_init,
    },
    {
        .name = "topics show",
        .summary = "list the topics of a fleet and what is in them",
        .help =
            "Partitions, replication, clean-up, sizes and how many records\n"
            "the logs hold. Reads metadata only.",
        .options = FLAGS(topics_show_flags),
        .exits = UNREACHABLE | REFUSED,
        .run = bf_cmd_topics_show,
    },
    {
        .name = "doctor",
        .summary = "check brokers, topics, keys, workers and the dispatcher",
        .help = "One line per check: ok, warn or FAIL, what it means and what\n"
                "to do next. Changes nothing. Exits with 5 when a check FAILs.",
        .options = FLAGS(doctor_flags),
        .exits = UNREACHABLE | BF_EXIT_BIT(BF_EXIT_UNHEALTHY),
        .run = bf_cmd_doctor,
    },
    {
        .name = "shards list",
        .words = "[SHARD...]",
        .summary = "tell where shards stand, and which cannot go on",
        .help =
            "Per shard and lane: what is committed, what the newest b entry\n"
            "of the state says, what the log holds, what is still to do, who\n"
            "has the shard, and what a worker would do that takes it over\n"
            "now: ok, offsets_expired (it goes on from b), records_lost,\n"
            "confirmed; or it is stopped, because facts contradict each\n"
            "other: corrupt_metadata, older_than_base, ahead_of_log, no_base,\n"
            "bad_state. --json tells more. Changes nothing.",
        .options = FLAGS(shards_list_flags),
        .max_words = SIZE_MAX,
        .exits = UNREACHABLE | REFUSED,
        .run = bf_cmd_shards_list,
    },
    {
        .name = "shards confirm",
        .words = "SHARD...",
        .summary = "say from where stopped shards are to go on",
        .help =
            "Tells what it costs, and with --yes writes a signed b entry that\n"
            "overrules what is committed: the shard goes on\n"
            "  --from base       where the newest b entry says, which is "
            "exact\n"
            "                    after a clean stop, else up to 5 s old\n"
            "  --from committed  where the committed offset says\n"
            "  --from earliest   with all that the log holds: much runs again\n"
            "  --from latest     with what is submitted from now on: nothing\n"
            "                    that waits gets a result\n"
            "  --from OFFSET     there\n"
            "It overrules only what it has seen: when a worker has committed\n"
            "since, the shard stops again. A worker that holds the shard\n"
            "takes it up within 10 s. Needs a key of purpose state.",
        .options = FLAGS(shards_confirm_flags),
        .min_words = 1,
        .max_words = SIZE_MAX,
        .exits = UNREACHABLE | REFUSED,
        .run = bf_cmd_shards_confirm,
    },
    {
        .name = "keys new",
        .words = "PURPOSE",
        .summary = "make a signing key and trust it",
        .help =
            "PURPOSE is job, control, state, result or run: what the key\n"
            "may sign. The private half goes into keys.dir with mode 0600;\n"
            "hand the printed line to 'keys trust' wherever it is verified.",
        .options = FLAGS(keys_new_flags),
        .min_words = 1,
        .max_words = 1,
        .run = bf_cmd_keys_new,
    },
    {
        .name = "keys list",
        .summary = "list the keys that are trusted and those we can sign with",
        .help = "Public halves only.",
        .run = bf_cmd_keys_list,
    },
    {
        .name = "keys public",
        .words = "[PURPOSE]",
        .summary = "print the public keys that others verify us by",
        .help =
            "One line a key, without those revoked; PURPOSE is run unless\n"
            "said. It is what a runner on Modal or E2B is given as its keys\n"
            "(BLOCKFLEET_RUN_KEYS, or bfrunner http --keys).",
        .max_words = 1,
        .run = bf_cmd_keys_public,
    },
    {
        .name = "keys trust",
        .words = "LINE...",
        .summary = "trust a public key for one purpose",
        .help = "LINE is what 'keys new' printed elsewhere: a purpose, ed25519,"
                "\nthe public key, perhaps workspaces=a,b and a comment.",
        .min_words = 1,
        .max_words = SIZE_MAX,
        .run = bf_cmd_keys_trust,
    },
    {
        .name = "keys revoke",
        .words = "KEY-ID",
        .summary = "trust a key no longer",
        .help =
            "What it has signed, and nobody has read yet, is refused from\n"
            "then on by every process that reads this keys.dir; those that\n"
            "run read it again within some seconds.",
        .min_words = 1,
        .max_words = 1,
        .run = bf_cmd_keys_revoke,
    },
    {
        .name = "apikeys new",
        .summary = "make a key for the dispatcher's HTTP API",
        .help =
            "Whoever sends it as 'Authorization: Bearer <key>' may submit\n"
            "to its workspaces and read of them; one of a single workspace\n"
            "need not name it. dispatcher.api_keys gets its hash; the key\n"
            "itself is shown once, or written to --output. A dispatcher that\n"
            "runs takes it within a second.",
        .options = FLAGS(apikeys_new_flags),
        .run = bf_cmd_apikeys_new,
    },
    {
        .name = "apikeys list",
        .summary = "list the keys of the HTTP API",
        .help = "Those of dispatcher.api_keys; the keys themselves are nowhere"
                ".",
        .run = bf_cmd_apikeys_list,
    },
    {
        .name = "apikeys revoke",
        .words = "ID",
        .summary = "let a key open nothing any more",
        .help = "ID is the part between the first and the second _ of a key.\n"
                "A dispatcher that runs refuses it within a second.",
        .min_words = 1,
        .max_words = 1,
        .run = bf_cmd_apikeys_revoke,
    },
    {
        .name = "submit",
        .summary = "run a block: one job from options, or a file of jobs",
        .help =
            "With --code, one job; its inputs are forwarded byte by byte.\n"
            "With --ndjson, every line of a file is a job as POST /v1/jobs\n"
            "takes it; lines go out in parts of up to 10,000, and sending the\n"
            "same file again is safe: lines without an id get one that\n"
            "follows from the file, or from --key. To run the same lines\n"
            "once more, give another --key. With --json, one document per\n"
            "line, in which line is its number in the file, from 1.",
        .options = FLAGS(submit_flags),
        .exits = UNREACHABLE | REFUSED | ENDED,
        .run = bf_cmd_submit,
    },
    {
        .name = "batch",
        .words = "FILE",
        .summary = "run a block over every line of a file, or every file",
        .help =
            "With --code, every line of FILE (NDJSON, - is stdin) is the\n"
            "inputs of one job, forwarded byte by byte; without, a whole job\n"
            "as 'submit --ndjson' takes it, and options are what it does not\n"
            "say itself. FILE may be a folder: a .json file of it is inputs;\n"
            "of any other the function gets file, its name, and image (.jpg,\n"
            ".jpeg, .png) or content, its bytes.\n"
            "The jobs are a batch, which is sealed when all are there. Its\n"
            "name and theirs follow from the file, the block and the options:"
            "\n"
            "the same command again adds what is missing, and runs nothing\n"
            "twice. With --batch, lines of which jobs are there have to be as\n"
            "they were, in their places (label blockfleet.item): mend lines\n"
            "where they are. It waits until all have ended, then tells how,\n"
            "with the first of those that did not succeed. 'results --batch'\n"
            "fetches their results.",
        .options = FLAGS(batch_flags),
        .min_words = 1,
        .max_words = 1,
        .exits = UNREACHABLE | REFUSED | ENDED,
        .run = bf_cmd_batch,
    },
    {
        .name = "video",
        .words = "FILE",
        .summary = "run a block over every frame of a video, or every image",
        .help =
            "ffmpeg takes the video apart; every frame is a job whose "
            "function\n"
            "gets image (a WorkflowImageData) and frame (its number, from 0).\n"
            "The jobs' ids follow from the file, the block and the rate: the\n"
            "same command again goes on where it was, and runs nothing twice.\n"
            "With --wait, the results are written to a folder (--out, or one\n"
            "named as the batch): results.ndjson in the order of frames,\n"
            "summary.json, and if the block returns an image, frames/,\n"
            "video.mp4 and contact.jpg (frames without one are red).\n"
            "With --frames-per-job, image and frame are a Batch each, and the\n"
            "function returns a list with an entry for each of them.\n"
            "Some frames are measured first: what all are, and whether a job\n"
            "of the dispatcher may be as large.\n"
            "FILE may be a folder: its .jpg, .jpeg and .png files are sent as\n"
            "they are, by name; the function gets file, that name, as well,\n"
            "and images.txt says which is which.",
        .options = FLAGS(video_flags),
        .min_words = 1,
        .max_words = 1,
        .exits = UNREACHABLE | REFUSED | ENDED,
        .run = bf_cmd_video,
    },
    {
        .name = "status",
        .words = "ID...",
        .summary = "tell how jobs are",
        .help = "One job in full, several as a table.",
        .options = FLAGS(status_flags),
        .min_words = 1,
        .max_words = SIZE_MAX,
        .exits = UNREACHABLE | REFUSED,
        .run = bf_cmd_status,
    },
    {
        .name = "jobs",
        .summary = "list jobs, the newest first",
        .help = "As a table, or with --json as status tells of each.",
        .options = FLAGS(jobs_flags),
        .exits = UNREACHABLE | REFUSED,
        .run = bf_cmd_jobs,
    },
    {
        .name = "batches",
        .words = "[ID...]",
        .summary = "tell how far batches are, the newest first",
        .help =
            "SEALED AT is the count that a batch was sealed with; NOT, how\n"
            "many of its jobs ended otherwise than succeeded. 'jobs --batch'\n"
            "lists its jobs, 'results --batch' fetches what they returned.",
        .options = FLAGS(batches_flags),
        .max_words = SIZE_MAX,
        .exits = UNREACHABLE | REFUSED,
        .run = bf_cmd_batches,
    },
    {
        .name = "wait",
        .words = "[ID...]",
        .summary = "wait until jobs have ended",
        .help = "Then tells of them as status does. Exits with 1 when one of\n"
                "them has not succeeded, with 6 when time was up, with 4 when\n"
                "a batch has fewer jobs than its seal says, all of them have\n"
                "ended, and for a minute (--gap) no other has come.",
        .options = FLAGS(wait_flags),
        .max_words = SIZE_MAX,
        .exits = UNREACHABLE | REFUSED | ENDED,
        .run = bf_cmd_wait,
    },
    {
        .name = "results",
        .summary = "fetch results, as NDJSON or one as it is",
        .help = "One line per result, oldest first; each carries the block's\n"
                "result as a JSON string, so that no byte of it changes.",
        .options = FLAGS(results_flags),
        .exits = UNREACHABLE | REFUSED,
        .run = bf_cmd_results,
    },
    {
        .name = "deadletter list",
        .summary = "list records that could not be done, and why",
        .help =
            "Reads the topic itself, oldest first. PARTITION and OFFSET are\n"
            "the letter's own: 'deadletter show' takes them.",
        .options = FLAGS(deadletter_list_flags),
        .exits = UNREACHABLE | REFUSED,
        .run = bf_cmd_deadletter_list,
    },
    {
        .name = "deadletter show",
        .words = "PARTITION OFFSET",
        .summary = "show one dead letter, with its record's own headers",
        .help = "With --raw, prints the record's value byte by byte.",
        .options = FLAGS(deadletter_show_flags),
        .min_words = 2,
        .max_words = 2,
        .exits = UNREACHABLE | REFUSED,
        .run = bf_cmd_deadletter_show,
    },
    {
        .name = "usage",
        .summary = "show what was metered",
        .help =
            "Sums of the dispatcher, exact and with corrections; by workspace\n"
            "and day unless --by names other things. Complete for runs that\n"
            "ended before the time that it tells.\n"
            "All workspaces are an operator's to see.",
        .options = FLAGS(usage_flags),
        .exits = UNREACHABLE | REFUSED,
        .run = bf_cmd_usage,
    },
    {
        .name = "usage export",
        .summary = "write metering events to a file that can be verified",
        .help =
            "One line a row of the usage topic, as JSON: its place, key,\n"
            "headers with the signature, and value. 'verify --file' checks\n"
            "them wherever the fleet's keys are trusted. A row may stand\n"
            "twice: it has the same ce_id then, and counts once. --from and\n"
            "--to choose as those of 'usage' do, by when a run ended, and a\n"
            "correction by the run that it corrects; --since by when a row\n"
            "was written.",
        .options = FLAGS(usage_export_flags),
        .exits = UNREACHABLE | REFUSED,
        .run = bf_cmd_usage_export,
    },
    {
        .name = "usage correct",
        .words = "ID [NAME=DIFFERENCE...]",
        .summary = "write a signed correction of a metered row",
        .help =
            "ID is the row's ce_id, of 'usage export'. The row stays as it\n"
            "is; a row of differences is added, against it and all earlier\n"
            "corrections of it:\n"
            "  blockfleet usage correct ID duration_seconds=-1.5 runs=-1\n"
            "What is left of a quantity is never below zero. Sums count it\n"
            "on. An id says nothing of when or where its row was written:\n"
            "all of the topic is read first, or what was written from --since\n"
            "on, and afterwards whether another correction came first. Exits\n"
            "with 6 when an open transaction hides what was written: do\n"
            "nothing again before --dry-run shows a higher number. Needs a\n"
            "key of purpose result.",
        .options = FLAGS(usage_correct_flags),
        .min_words = 1,
        .max_words = 1 + 7,
        .exits = UNREACHABLE | REFUSED | BF_EXIT_BIT(BF_EXIT_PENDING),
        .run = bf_cmd_usage_correct,
    },
    {
        .name = "usage reconcile",
        .summary = "compare what ended with what was metered",
        .help =
            "Reads results and usage from Kafka. Every result that names a\n"
            "usage row must have it, every run's row a result, no job two\n"
            "results; exits with 5 when that is not so. COPIES counts rows\n"
            "with their repetitions, LOST the runs that nobody knows the end\n"
            "of, which are not billed. What CORRECTIONS change is in RUNS,\n"
            "BILLABLE and SECONDS.",
        .options = FLAGS(usage_reconcile_flags),
        .exits = UNREACHABLE | REFUSED | BF_EXIT_BIT(BF_EXIT_UNHEALTHY),
        .run = bf_cmd_usage_reconcile,
    },
    {
        .name = "verify",
        .words = "[TOPIC [PARTITION OFFSET]]",
        .summary = "check the signatures of records",
        .help =
            "Of a whole topic (jobs, results, usage, ...), of one record, or\n"
            "of a --file. Trusted is what the keys of keys.dir trust. Exits\n"
            "with 5 when a record is not.",
        .options = FLAGS(verify_flags),
        .max_words = 3,
        .exits = UNREACHABLE | REFUSED | BF_EXIT_BIT(BF_EXIT_UNHEALTHY),
        .run = bf_cmd_verify,
    },
    {
        .name = "completion",
        .words = "SHELL",
        .summary = "print completion for bash, zsh or fish",
        .help =
            "For this shell: source <(blockfleet completion bash), or zsh;\n"
            "fish: blockfleet completion fish | source",
        .min_words = 1,
        .max_words = 1,
        .bare = true,
        .run = bf_cmd_completion,
    },
    {
        .name = "version",
        .summary = "print versions",
        .help = "Of this program and of the libraries it talks with.",
        .bare = true,
        .run = bf_cmd_version,
    },
    {
        .name = "help",
        .words = "[COMMAND]",
        .summary = "tell what there is, or more about a command",
        .help = "The same texts as COMMANDS.md.",
        .options = FLAGS(help_flags),
        .max_words = 2,
        .bare = true,
        .run = bf_cmd_help,
    },
};

const struct bf_command *bf_command_at(size_t i)
{
    return i < bf_countof(commands) ? &commands[i] : NULL;
}
