"""Signs up to 64 jobs as one tree and produces them: sign_producer.py BROKERS KEY_FILE
WORKSPACE BATCH "$(cat block.json)" <inputs.ndjson  (KEY_FILE: a job key's 32 bytes)"""

import sys
import time
from base64 import urlsafe_b64encode as b64
from hashlib import blake2b

from confluent_kafka import Producer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def F(*parts):
    data = [p if isinstance(p, bytes) else str(p).encode() for p in parts]
    return b"".join(len(d).to_bytes(4, "big") + d for d in data)


def H(data, size=16):
    return blake2b(data, digest_size=size).digest()


def build(ws, job, block, inputs, now_ms, shards, fleet="main", spread=4):
    own, key = (int.from_bytes(H(s.encode())[:8], "big") for s in (ws, job))
    event = F("blockfleet/v1/event", "dev.blockfleet.job.v1", ws, "job", job, 0)
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_ms // 1000))
    text = f"""ce_specversion=1.0 ce_id={H(event).hex()} ce_source=/blockfleet/{fleet}
    ce_type=dev.blockfleet.job.v1 ce_time={at}.{now_ms % 1000:03d}Z bf_workspace={ws}
    ce_subject={ws}/{job} content-type=application/json bf_kind=block bf_job={job}
    bf_generation=0 bf_id_origin=client bf_spread={spread} bf_execution=at_least_once
    bf_expires_at_ms={now_ms + 86_400_000} bf_timeout_ms=20000 bf_max_attempts=3"""
    headers = [part for header in text.split() for part in header.split("=", 1)]
    where = (own + key % spread) % 2**64 % shards
    return ["bf.jobs", where, ws, 1, inputs, *headers, "bf_block", block]


def sign(jobs, key, now_ms):
    tree = [[H(F("blockfleet/v1/leaf", "job", *job), 32) for job in jobs]]
    while len(row := tree[-1]) > 1:  # an odd last node is promoted as it is
        two = [F("blockfleet/v1/node", *p) for p in zip(*[iter(row)] * 2, strict=False)]
        tree.append([H(pair, 32) for pair in two] + row[2 * len(two) :])
    kid, n = H(key.public_key().public_bytes_raw()).hex()[:16], len(jobs)
    root = key.sign(F("blockfleet/v1/root", "job", kid, now_ms, n, tree[-1][0]))
    for i, job in enumerate(jobs):
        path = [r[i >> d ^ 1] for d, r in enumerate(tree) if i >> d ^ 1 < len(r)]
        path, sig = (b64(b).strip(b"=").decode() for b in (b"".join(path), root))
        job += ["bf_signature", f"v1.job.{kid}.{now_ms}.{n}.{i}.{path}.{sig}"]


if __name__ == "__main__":
    hosts, file, ws, batch, block = sys.argv[1:]
    config = {"bootstrap.servers": hosts, "on_delivery": lambda e, _: e and sys.exit(e)}
    kafka, now = Producer(config), time.time_ns() // 10**6
    shards = len(kafka.list_topics("bf.jobs", 10).topics["bf.jobs"].partitions)
    lines = enumerate(sys.stdin.buffer.read().splitlines())
    jobs = [build(ws, f"{batch}-{n}", block, line, now, shards) for n, line in lines]
    sign(jobs, Ed25519PrivateKey.from_private_bytes(open(file, "rb").read()), now)
    for topic, where, ws, _, value, *h in jobs:
        headers = [*zip(h[::2], h[1::2], strict=True)]
        kafka.produce(topic, value, ws, where, headers=headers)
    sys.exit(kafka.flush(60))
