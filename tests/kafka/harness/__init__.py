"""A real Kafka under a test's thumb: brokers, a cutting proxy, child processes.

Standard library only. `tests/kafka` is the import root:

    from harness import Api, Cluster, Procs, Proxy, wait_until
"""

from .broker import Broker, Cluster
from .procs import HANG_S, Proc, Procs, Timeout, wait_until
from .proxy import Api, Proxy, Rule

__all__ = [
    "HANG_S",
    "Api",
    "Broker",
    "Cluster",
    "Proc",
    "Procs",
    "Proxy",
    "Rule",
    "Timeout",
    "wait_until",
]
