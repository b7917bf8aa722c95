"""Free TCP ports that stay ours while a broker is down.

A port from the kernel's ephemeral range would not: while nobody listens, a
reconnecting client can be given the very port it connects to, and then talks
to itself. So ports come from below that range, each held by a lock file.
"""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

FIRST = 10000


class PortLease:
    """One port of 127.0.0.1, reserved against other harnesses until release()."""

    def __init__(self) -> None:
        folder = Path(tempfile.gettempdir()) / f"blockfleet-ports-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        last = low if low > FIRST + 1000 else 65535
        for port in random.SystemRandom().sample(range(FIRST, last), 200):
            fd = os.open(folder / str(port), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            except OSError:
                os.close(fd)
                continue
            self.port, self._fd = port, fd
            return
        raise OSError("no free port found")

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
