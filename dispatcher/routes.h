#ifndef BF_DISPATCHER_ROUTES_H
#define BF_DISPATCHER_ROUTES_H

/*
 * The resources of the HTTP API, one row each: what a request means, who may
 * send it and what it may ask. Pure.
 */

#include "dispatcher/handler.h"

/* Whom a resource is for; checked before it begins. */
enum bf_scope {
    BF_SCOPE_FORGOTTEN, /* a row that does not say: a broken invariant */
    BF_SCOPE_EVERYONE,  /* needs no key: tells nothing about jobs */
    BF_SCOPE_QUERY,     /* the workspace of the query, or the key's only one */
    BF_SCOPE_QUERY_OR_ALL, /* the same; of an operator who names none: all */
    BF_SCOPE_BODY,         /* workspaces stand in the body: intake.h asks */
    BF_SCOPE_OPERATOR,     /* keys of every workspace */
    BF_SCOPE_MODAL, /* workspace_id of the query; Modal's headers, text/plain */
};

#define BF_ROUTE_QUERY 8

struct bf_route {
    const char *method;
    const char *path; /* "/v1/jobs/{id}": braces stand for one segment */
    enum bf_scope scope;
    /* What may stand in the query, besides workspace with the two of them. */
    const char *query[BF_ROUTE_QUERY];
    bf_begin_fn *begin;
};

/* NULL: no more. */
const struct bf_route *bf_route_at(size_t i);

#define BF_ALLOWED_SIZE 64

/*
 * The row of a request, and the segments of its path after the first one
 * ("v1"). NULL: none; then allowed is what an Allow header should say, "" when
 * no resource has this path. HEAD is GET without its body.
 */
const struct bf_route *bf_route_find(const char *method, const char *path,
                                     struct bf_path *ret,
                                     char allowed[static BF_ALLOWED_SIZE]);

bool bf_route_takes(const struct bf_route *route, const char *name);

#endif
