"""Rules that no compiler keeps: who may include whom, how long a function may
be, and that no two have one name, of which a linker takes the first library's.
Arguments: the C files and headers to look at."""

import re
import statistics
import subprocess
import sys
from pathlib import Path

# schemas <- config <- {dispatcher, worker}; the linker keeps most of it too.
MAY_INCLUDE = {
    "schemas": {"schemas"},
    "config": {"schemas", "config"},
    "dispatcher": {"schemas", "config", "dispatcher"},
    "worker": {"schemas", "config", "worker"},
}
LONGEST = 80

# At the beginning of a line, as the definition of one that is not static is.
_FUNCTION = re.compile(r"^(?!static\b)\w[^;{}()=]*?\b(bf_\w+)\([^;{}]*\)\n\{", re.M)
_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"/]+)/')


def climbs(path: str, text: str) -> list[str]:
    """The includes of one file that reach outside its layers."""
    layer = path.split("/")[0]
    if layer not in MAY_INCLUDE:
        return []
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _INCLUDE.match(line)
        if match and match[1] not in MAY_INCLUDE[layer]:
            found.append(f"{path}:{number}: {layer}/ must not include {match[1]}/")
    return found


def functions(paths: list[str]) -> list[tuple[int, str]]:
    """Every function as (lines, "file:line: name"), by universal-ctags."""
    command = ["ctags", "--languages=C", "--kinds-C=f", "--fields=+ne", "-f", "-"]
    tags = subprocess.run(
        [*command, "-L", "-"],
        input="\n".join(paths),
        capture_output=True,
        text=True,
        check=True,
    )
    found = []
    for line in tags.stdout.splitlines():
        name, path, rest = line.split("\t", 2)
        first, last = re.search(r"\bline:(\d+)", rest), re.search(r"\bend:(\d+)", rest)
        if first and last:
            length = int(last[1]) - int(first[1]) + 1
            found.append((length, f"{path}:{first[1]}: {name}"))
    return found


def namesakes(paths: list[str]) -> list[str]:
    """Functions of libraries that two files define."""
    first: dict[str, str] = {}
    found = []
    for path in paths:
        if path.split("/")[0] in MAY_INCLUDE and not path.endswith("/main.c"):
            for name in dict.fromkeys(_FUNCTION.findall(Path(path).read_text())):
                if name in first:
                    found.append(f"{path}: {name} is in {first[name]}, too")
                first.setdefault(name, path)
    return found


def main(paths: list[str]) -> int:
    wrong = [w for path in paths for w in climbs(path, Path(path).read_text())]
    wrong += namesakes([path for path in paths if path.endswith(".c")])
    found = functions(paths)
    for length, where in found:
        if length > LONGEST:
            wrong.append(f"{where} has {length} lines, {LONGEST} is the wall")
    ours = [n for n, where in found if where.split("/")[0] in MAY_INCLUDE]
    if ours:
        middle, longest = statistics.median(ours), max(ours)
        print(f"{len(ours)} functions: median {middle:g} lines, longest {longest}")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
