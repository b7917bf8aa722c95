#ifndef BF_DISPATCHER_APIKEYS_PRIVATE_H
#define BF_DISPATCHER_APIKEYS_PRIVATE_H

/* What the two files of the API keys share. */

#include "dispatcher/apikeys.h"

#define BF_APIKEY_SECRET_BYTES 32

void bf_apikey_hash(struct bf_slice id,
                    const unsigned char secret[BF_APIKEY_SECRET_BYTES],
                    unsigned char out[BF_APIKEY_HASH_BYTES]);

#endif
