#include <curl/curl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>

#include "dispatcher/cli/cli.h"

int main(int argc, char **argv)
{
    enum bf_exit number;

    if (sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        fputs("blockfleet: cannot start the libraries\n", stderr);
        return BF_EXIT_LOCAL;
    }
    /* a closed pipe after `| head` is a write error, told like any other */
    signal(SIGPIPE, SIG_IGN);
    number = bf_cli_main(argc, argv, stdin, stdout, stderr);
    curl_global_cleanup();
    return number;
}
