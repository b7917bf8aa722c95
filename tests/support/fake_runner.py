"""Stands in for bfrunner in tests of the pool: does what each request's "do"
says, also what a runner must never do."""

import json
import os
import signal
import socket
import struct
import sys

PREFIX = struct.Struct(">IQ")


class Fake:
    def __init__(self) -> None:
        fd = int(sys.argv[sys.argv.index("--fd") + 1])
        self.sock = socket.socket(fileno=fd)
        self.held: set[str] = set()
        self.killed: list[str] = []

    def send(self, body: bytes = b"", **head: object) -> None:
        text = json.dumps(head).encode()
        self.sock.sendall(PREFIX.pack(len(text), len(body)) + text + body)

    def take(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            piece = self.sock.recv(min(size - len(got), 1 << 20))
            if not piece:
                sys.exit(0)
            got += piece
        return got

    def serve(self) -> None:
        self.send(op="ready", python="0")
        while True:
            head_len, body_len = PREFIX.unpack(self.take(PREFIX.size))
            head = json.loads(self.take(head_len))
            body = self.take(body_len)
            if head["op"] == "kill":
                self.on_kill(head["run_id"])
            else:
                getattr(self, "do_" + head["do"])(head["run_id"], body)

    def do_echo(self, run_id: str, body: bytes) -> None:
        self.send(op="started", run_id=run_id)
        self.send(body, op="done", run_id=run_id)

    def on_kill(self, run_id: str) -> None:
        self.killed.append(run_id)
        if run_id in self.held:
            self.send(op="done", run_id=run_id)

    def do_hold(self, run_id: str, _: bytes) -> None:
        self.held.add(run_id)
        self.send(op="started", run_id=run_id)

    def do_who(self, run_id: str, _: bytes) -> None:
        self.send(str(os.getpid()).encode(), op="done", run_id=run_id)

    def do_killed(self, run_id: str, _: bytes) -> None:
        self.send(" ".join(self.killed).encode(), op="done", run_id=run_id)

    def do_world(self, run_id: str, _: bytes) -> None:
        """What it was given: arguments, environment, descriptors, signals."""
        with open("/proc/self/status") as file:
            status = dict(line.partition(":")[::2] for line in file)
        world = {
            "args": sys.argv[1:],
            "env": dict(os.environ),
            "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1],
            "stdin": os.readlink("/proc/self/fd/0"),
            "blocked": int(status["SigBlk"], 16),
            "leader": os.getpgrp() == os.getpid(),
        }
        self.send(json.dumps(world).encode(), op="done", run_id=run_id)

    def do_silent(self, run_id: str, body: bytes) -> None:
        pass

    def do_die(self, run_id: str, _: bytes) -> None:
        self.send(op="started", run_id=run_id)
        os.kill(os.getpid(), signal.SIGKILL)

    def do_answer_and_die(self, run_id: str, body: bytes) -> None:
        self.do_echo(run_id, body)
        os._exit(3)

    def do_close(self, run_id: str, _: bytes) -> None:
        self.send(op="started", run_id=run_id)
        self.sock.close()
        signal.pause()

    def do_shout(self, run_id: str, body: bytes) -> None:
        for _ in range(64):
            os.write(2, b"x" * 65536)
        os.write(2, b"\nlast words\n")
        self.do_echo(run_id, body)

    def do_huge(self, run_id: str, _: bytes) -> None:
        self.sock.sendall(PREFIX.pack(1 << 31, 0))

    def do_huge_body(self, run_id: str, _: bytes) -> None:
        self.sock.sendall(PREFIX.pack(2, 1 << 40))

    def do_garbage(self, run_id: str, _: bytes) -> None:
        self.sock.sendall(PREFIX.pack(3, 0) + b"\xff{}")

    def do_stranger(self, run_id: str, _: bytes) -> None:
        self.send(op="done", run_id="nobody")

    def do_twice(self, run_id: str, body: bytes) -> None:
        self.do_echo(run_id, body)
        self.send(op="done", run_id=run_id)

    def do_unknown(self, run_id: str, _: bytes) -> None:
        self.send(op="dance", run_id=run_id)

    def do_ready(self, run_id: str, _: bytes) -> None:
        self.send(op="ready", python="0")


if "--broken" in sys.argv:
    sys.exit("broken on purpose")
Fake().serve()
