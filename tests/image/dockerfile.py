"""The steps of our own Dockerfile, carried out in Debian trees (debian.py).

It knows the instructions that the Dockerfile uses and fails on any other, so
that what passes here means what it means to an engine:

    python dockerfile.py [--target STAGE] [-- COMMAND ...]

Layers from before a stage's first COPY are kept in the cache; the sources'
are not, ccache makes up for it.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from debian import ROOT, Inside, base, cache_dir, check, locked, scratch

FILE = ROOT / "Dockerfile"
# What an engine keeps beside an image and a tree has no use for.
_NOTES = {"EXPOSE", "HEALTHCHECK", "LABEL", "CMD", "ENTRYPOINT", "STOPSIGNAL"}
UNUSED_S = 14 * 24 * 3600
_BASE = re.compile(r"debian:(\w+)-slim")


class Refused(Exception):
    """An instruction that is not understood here, or is wrong."""


@dataclass(frozen=True)
class Instruction:
    line: int
    name: str
    text: str  # after the name, continued lines joined

    def refuse(self, why: str) -> Refused:
        return Refused(f"{FILE.name}:{self.line}: {self.name} {self.text}: {why}")

    def words(self) -> list[str]:
        return shlex.split(self.text)

    def form(self) -> list[str]:
        """The exec form: a JSON array of strings."""
        try:
            found = json.loads(self.text)
        except ValueError:
            raise self.refuse("only the exec form is understood") from None
        if not isinstance(found, list) or not all(isinstance(w, str) for w in found):
            raise self.refuse("not an array of strings")
        return found


def parse(text: str) -> list[Instruction]:
    found: list[Instruction] = []
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        while line.endswith("\\"):
            # A comment between continued lines is no part of them.
            more = next((more for _, more in lines if not more.startswith("#")), "")
            line = f"{line[:-1].rstrip()} {more.strip()}"
        name, _, rest = line.strip().partition(" ")
        found.append(Instruction(number, name.upper(), rest.strip()))
    return found


@dataclass(frozen=True)
class Stage:
    name: str
    source: Instruction  # its FROM
    instructions: tuple[Instruction, ...]


def stages(instructions: Sequence[Instruction]) -> dict[str, Stage]:
    """By name; one without is called by its number."""
    found: dict[str, Stage] = {}
    for one in instructions:
        if one.name == "FROM":
            words = one.words()
            named = len(words) == 3 and words[1].upper() == "AS"
            if len(words) != 1 and not named:
                raise one.refuse("not understood")
            name = words[2] if named else str(len(found))
            found[name] = Stage(name, one, ())
        elif not found:
            raise one.refuse("before the first FROM")
        else:
            last = found[list(found)[-1]]
            found[last.name] = replace(last, instructions=(*last.instructions, one))
    return found


@dataclass(frozen=True)
class Image:
    """What a stage has come to."""

    layers: tuple[Path, ...]
    key: str  # of everything so far; "": not to be found again
    env: dict[str, str] = field(default_factory=dict)
    args: dict[str, str] = field(default_factory=dict)
    cwd: str = "/"
    user: str = ""
    notes: dict[str, Instruction] = field(default_factory=dict)

    def command(self) -> list[str]:
        """What an engine would run."""
        words: list[str] = []
        for name in ("ENTRYPOINT", "CMD"):
            if name in self.notes:
                words += self.notes[name].form()
        return words


def context() -> list[str]:
    """The files that an engine would get: those that git would."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


class Builder:
    """Stages of one Dockerfile, as far as they are needed."""

    def __init__(self, folder: Path, text: str | None = None) -> None:
        self._folder = folder  # for layers that are not kept
        self._stages = stages(parse(FILE.read_text() if text is None else text))
        self._done: dict[str, Image] = {}
        self._count = 0

    def build(self, target: str | None = None) -> Image:
        name = target if target is not None else list(self._stages)[-1]
        if name not in self._stages:
            raise Refused(f"{FILE.name} has no stage {name}")
        if name not in self._done:
            stage = self._stages[name]
            image = self._from(stage.source)
            for one in stage.instructions:
                image = self._step(one, image)
            self._done[name] = image
        return self._done[name]

    def _from(self, one: Instruction) -> Image:
        source = one.words()[0]
        if source in self._stages:
            parent = self.build(source)
            return replace(parent, args={})
        match = _BASE.fullmatch(source)
        if not match:
            raise one.refuse("neither a stage nor debian:SUITE-slim")
        tree = base(match[1])
        env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        return Image((tree,), hashlib.sha256(tree.name.encode()).hexdigest(), env)

    def _step(self, one: Instruction, image: Image) -> Image:
        steps = {
            "RUN": self._run,
            "COPY": self._copy,
            "ENV": self._env,
            "ARG": self._arg,
            "WORKDIR": self._workdir,
            "USER": self._user,
        }
        if one.name in _NOTES:
            return replace(image, notes={**image.notes, one.name: one})
        if one.name not in steps:
            raise one.refuse("not understood")
        print(f"{one.line:4} {one.name} {one.text}"[:100], flush=True)
        return steps[one.name](one, image)

    def _env(self, one: Instruction, image: Image) -> Image:
        pairs = [word.split("=", 1) for word in one.words()]
        if any(len(pair) != 2 or "$" in pair[1] for pair in pairs):
            raise one.refuse("not understood")
        return replace(image, env={**image.env, **dict(pairs)})

    def _arg(self, one: Instruction, image: Image) -> Image:
        words = one.words()
        if len(words) != 1 or "=" not in words[0]:
            raise one.refuse("not understood without a default")
        name, value = words[0].split("=", 1)
        return replace(image, args={**image.args, name: value})

    def _user(self, one: Instruction, image: Image) -> Image:
        return replace(image, user=one.text)

    def _workdir(self, one: Instruction, image: Image) -> Image:
        if not one.text.startswith("/"):
            raise one.refuse("not an absolute path")
        made = self._layer(one, image, ["mkdir", "-p", one.text], user="")
        return replace(made, cwd=one.text)

    def _run(self, one: Instruction, image: Image) -> Image:
        text, binds = one.text, []
        while text.startswith("--"):
            option, _, text = text.partition(" ")
            match = re.fullmatch(r"--mount=type=cache,target=(/[\w./-]+)", option)
            if not match:
                raise one.refuse(f"{option} is not understood")
            kept = cache_dir() / "mounts" / match[1].strip("/").replace("/", "-")
            kept.mkdir(parents=True, exist_ok=True)
            binds.append((kept, match[1], "rw"))
        if text.startswith(("[", "<<")):
            raise one.refuse("only the shell form is understood")
        return self._layer(one, image, ["/bin/sh", "-c", text], binds=binds)

    def _copy(self, one: Instruction, image: Image) -> Image:
        options = [word for word in one.words() if word.startswith("--")]
        *froms, to = [word for word in one.words() if not word.startswith("--")]
        source = dict(option[2:].split("=", 1) for option in options)
        if set(source) - {"from"} or not froms:
            raise one.refuse("not understood")
        many = len(froms) > 1
        if many and not to.endswith("/"):
            raise one.refuse("several files go to a folder, with a / at its end")
        if source:
            with Inside(self.build(source["from"]).layers) as inside:
                return self._copied(one, image, froms, to, inside)
        with scratch() as folder:
            self._gather(one, froms, folder)
            return self._copied(one, image, froms, to, folder)

    def _gather(self, one: Instruction, froms: Sequence[str], folder: Path) -> None:
        files = context()
        for name in froms:
            found = [f for f in files if f == name or f.startswith(f"{name}/")]
            if not found:
                raise one.refuse(f"no {name} among our files")
            for file in found:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / file, folder / file)

    def _copied(
        self,
        one: Instruction,
        image: Image,
        froms: Sequence[str],
        to: str,
        source: Path | Inside,
    ) -> Image:
        """A folder's contents are copied, a file as it is; as an engine does."""
        if isinstance(source, Inside):
            # Made anew out here: the tree is to be seen from within another.
            with scratch() as folder:
                shelf = replace(source, binds=[(folder, "/mnt", "rw")])
                with shelf as inside:
                    argv = ["cp", "-a", "--parents", *froms, "/mnt/"]
                    self._check(one, inside.run(argv))
                return self._copied(one, image, froms, to, folder)
        script = 'to=$1; shift; case $to in */) mkdir -p "$to" ;; esac\n'
        script += 'for from; do if [ -d "$from" ]; then mkdir -p "$to";'
        script += ' cp -a --no-preserve=ownership "$from/." "$to"; else'
        script += ' mkdir -p "$(dirname "$to")";'
        script += ' cp -a --no-preserve=ownership "$from" "$to"; fi; done'
        paths = [f"/mnt/{name.strip('/')}" for name in froms]
        argv = ["/bin/sh", "-euc", script, "copy", to, *paths]
        binds = [(source, "/mnt", "ro")]
        return self._layer(one, replace(image, key=""), argv, user="", binds=binds)

    def _check(self, one: Instruction, done: subprocess.CompletedProcess[str]) -> None:
        if done.returncode:
            raise SystemExit(
                f"{done.stdout or ''}\n{FILE.name}:{one.line}: {one.name} failed "
                f"with status {done.returncode}"
            )

    def _layer(
        self,
        one: Instruction,
        image: Image,
        argv: Sequence[str],
        *,
        user: str | None = None,
        binds: Sequence[tuple[Path, str, str]] = (),
    ) -> Image:
        """One more layer: what argv writes, from the cache if it is there."""
        said = [image.key, one.text, image.args, image.env, image.cwd, image.user]
        key = hashlib.sha256(json.dumps(said).encode()).hexdigest()
        if image.key:
            kept = cache_dir() / "layers" / key[:32]
        else:
            self._count += 1
            key, kept = "", self._folder / str(self._count)
        if not kept.is_dir():
            partial = kept.with_name(kept.name + ".part")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            with Inside(
                image.layers,
                partial,
                env={**image.env, **image.args},
                cwd=image.cwd if one.name != "WORKDIR" else "/",
                user=image.user if user is None else user,
                binds=binds,
            ) as inside:
                self._check(one, inside.run(argv, loud=one.name == "RUN"))
            partial.rename(kept)
        os.utime(kept)
        return replace(image, layers=(*image.layers, kept), key=key)


def prune() -> None:
    """Kept layers that nobody has used for long."""
    for path in (cache_dir() / "layers").glob("*"):
        if time.time() - path.stat().st_mtime > UNUSED_S:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def built(*targets: str | None, text: str | None = None) -> Iterator[list[Image]]:
    """Images of these stages (None: the last), for as long as this is open."""
    check()
    with scratch() as folder:
        builder = Builder(folder, text)
        with locked():
            images = [builder.build(target) for target in targets]
            prune()
        yield images


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", help="the stage; without it the last one")
    parser.add_argument("command", nargs="*", help="to run in there; else only build")
    options = parser.parse_args()
    with built(options.target) as [image]:
        if not options.command:
            return 0
        with Inside(
            image.layers, env=image.env, cwd=image.cwd, user=image.user
        ) as inside:
            return subprocess.run(inside.command(options.command)).returncode


if __name__ == "__main__":
    sys.exit(main())
