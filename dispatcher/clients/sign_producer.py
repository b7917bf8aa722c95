"""sign_producer.py BROKERS KEY_FILE WORKSPACE BATCH "$(cat block.json)" <inputs.ndjson
writes a signed job for each line, called BATCH-<line>. README.md has the steps."""

import sys
import time
from base64 import b64decode, urlsafe_b64encode
from hashlib import blake2b

from confluent_kafka import Producer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def F(*parts: bytes | str | int) -> bytes:
    data = [p if isinstance(p, bytes) else str(p).encode() for p in parts]
    return b"".join(len(d).to_bytes(4, "big") + d for d in data)


def H(data: bytes, size: int = 16) -> bytes:
    return blake2b(data, digest_size=size).digest()


def build(ws: str, job: str, block: str, inputs: bytes, now: int, shards: int) -> list:
    spread, at = 4, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 1000))
    own, key = (int.from_bytes(H(s.encode())[:8], "big") for s in (ws, job))
    event = F("blockfleet/v1/event", "dev.blockfleet.job.v1", ws, "job", job, 0)
    text = f"""ce_specversion=1.0 ce_id={H(event).hex()} ce_source=/blockfleet/main
    ce_type=dev.blockfleet.job.v1 ce_time={at}.{now % 1000:03d}Z bf_workspace={ws}
    ce_subject={ws}/{job} content-type=application/json bf_kind=block bf_job={job}
    bf_generation=0 bf_id_origin=client bf_spread={spread} bf_execution=at_least_once
    bf_expires_at_ms={now + 86_400_000} bf_timeout_ms=20000 bf_max_attempts=3"""
    headers = [*(s for h in text.split() for s in h.split("=", 1)), "bf_block", block]
    return ["bf.jobs", (own + key % spread) % 2**64 % shards, ws, 1, inputs, *headers]


def sign(jobs: list[list], key: Ed25519PrivateKey, now: int) -> None:  # 1 to 64 of them
    tree = [[H(F("blockfleet/v1/leaf", "job", *job), 32) for job in jobs]]
    while len(row := tree[-1]) > 1:  # an odd last node is promoted as it is
        two = [F("blockfleet/v1/node", *p) for p in zip(*[iter(row)] * 2, strict=False)]
        tree.append([H(pair, 32) for pair in two] + row[2 * len(two) :])
    kid, n = H(key.public_key().public_bytes_raw()).hex()[:16], len(jobs)
    root = key.sign(F("blockfleet/v1/root", "job", kid, now, n, tree[-1][0]))
    for i, job in enumerate(jobs):
        path = [r[i >> d ^ 1] for d, r in enumerate(tree) if i >> d ^ 1 < len(r)]
        b64 = (urlsafe_b64encode(b).decode().strip("=") for b in (b"".join(path), root))
        job += ["bf_signature", f"v1.job.{kid}.{now}.{n}.{i}." + ".".join(b64)]


if __name__ == "__main__":
    (hosts, file, ws, batch, block), bad = sys.argv[1:], []
    told = {"bootstrap.servers": hosts, "on_delivery": lambda e, _: e and bad.append(e)}
    kafka, lines = Producer(told), sys.stdin.buffer.read().splitlines()
    shards = len(kafka.list_topics("bf.jobs", 10).topics["bf.jobs"].partitions)
    key = Ed25519PrivateKey.from_private_bytes(b64decode(open(file).read().split()[2]))
    for at in range(0, len(lines), 64):
        now, some = time.time_ns() // 10**6, enumerate(lines[at : at + 64], at)
        jobs = [build(ws, f"{batch}-{n}", block, line, now, shards) for n, line in some]
        sign(jobs, key, now)
        for to, p, _, _, v, *h in jobs:
            kafka.produce(to, v, ws, p, headers=[*zip(h[::2], h[1::2], strict=True)])
        (kafka.flush(60) or bad) and sys.exit(f"not all is written: {bad}")
