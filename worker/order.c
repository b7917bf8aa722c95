#include "worker/order.h"

#include <search.h>

#include "schemas/check.h"
#include "schemas/err.h"

static int compare(const void *a, const void *b)
{
    const struct bf_order_node *x = a;
    const struct bf_order_node *y = b;
    int order = bf_slice_cmp(x->key, y->key);

    if (order == 0)
        order = bf_slice_cmp(x->workspace, y->workspace);
    if (order == 0)
        order = (x->epoch > y->epoch) - (x->epoch < y->epoch);
    if (order == 0)
        order = (x->lane > y->lane) - (x->lane < y->lane);
    return order;
}

int bf_order_enter(struct bf_order *order, struct bf_order_node *node,
                   struct bf_err *err)
{
    struct bf_order_node **head = tsearch(node, &order->heads, compare);
    struct bf_order_node *last;

    bf_assert(!node->in);
    if (!head)
        return bf_err_oom(err);
    node->next = NULL;
    node->in = true;
    if (*head == node)
        return 1;
    for (last = *head; last->next; last = last->next)
        ;
    last->next = node;
    return 0;
}

static void unlink_waiter(struct bf_order_node *head,
                          struct bf_order_node *node)
{
    while (head->next != node) {
        head = head->next;
        bf_assert(head);
    }
    head->next = node->next;
}

struct bf_order_node *bf_order_leave(struct bf_order *order,
                                     struct bf_order_node *node)
{
    struct bf_order_node **head;

    if (!node->in)
        return NULL;
    head = tfind(node, &order->heads, compare);
    bf_assert(head);
    node->in = false;
    if (*head != node) {
        unlink_waiter(*head, node);
        return NULL;
    }
    /* The next one takes its place in the tree: it compares the same. */
    if (node->next)
        *head = node->next;
    else
        tdelete(node, &order->heads, compare);
    return node->next;
}
