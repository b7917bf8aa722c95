#ifndef BF_SCHEMAS_BANNED_H
#define BF_SCHEMAS_BANNED_H

/*
 * Force-included before every file of ours: calls that have a safer sibling,
 * block the loop, or keep hidden state. Using one does not compile. System
 * headers come first, so that their own declarations stay untouched.
 */

#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

/* unbounded copies: bf_buf_*, snprintf, memcpy with a checked length */
#pragma GCC poison strcpy strcat strncpy strncat stpcpy sprintf vsprintf gets
/* no error, silent overflow: bf_slice_u64 */
#pragma GCC poison atoi atol atoll atof
/* hidden static state */
#pragma GCC poison strtok asctime ctime localtime gmtime tmpnam rand srand
/* waiting is the loop's business */
#pragma GCC poison sleep usleep nanosleep system popen

#endif
