"""A real Kafka under a test's thumb: brokers, a cutting proxy, child processes.

Standard library only. `tests/kafka` is the import root:

    from harness import Cluster, Procs, wait_until
"""

from .broker import Broker, Cluster
from .procs import Proc, Procs, Timeout, wait_until

__all__ = ["Broker", "Cluster", "Proc", "Procs", "Timeout", "wait_until"]
