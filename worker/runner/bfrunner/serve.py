"""The body of a zygote process: prepare it, serve, end; or become a template."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket

from bfrunner import preload, procs
from bfrunner.options import ENVIRONMENT, Options
from bfrunner.template import template_main
from bfrunner.zygote import BecomeTemplate, Zygote


def serve(fd: int, options: Options) -> None:
    """Until the inherited socket closes or SIGTERM arrives."""
    for name in list(os.environ):
        if name not in ENVIRONMENT:
            del os.environ[name]
    procs.adopt_orphans()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    _open_standard_fds()
    preloaded = preload.warm(options.preload)
    gc.collect()
    gc.freeze()
    zygote = Zygote(sock, options)
    signal.signal(signal.SIGTERM, zygote.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker decides
    birth = None
    try:
        zygote.serve(preloaded)
    except BecomeTemplate as become:
        birth = become.birth
    if birth is not None:
        zygote.forget()
        template_main(birth)


def _open_standard_fds() -> None:
    """No input, and no descriptor of ours may come out as 1 or 2."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    while null < 3:
        null = os.dup(null)
    os.close(null)
