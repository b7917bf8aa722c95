"""Samples as pictures: a line of text, and an SVG with a chart for each kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from growth import Sample

BARS = "▁▂▃▄▅▆▇█"
WIDTH, HEIGHT, LEFT, TOP = 860, 150, 60, 30
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555")
Lines = Mapping[str, Sequence[Sequence[Sample]]]


def spark(samples: Sequence[Sample], columns: int = 32) -> str:
    """The highest of each column, from nothing to the highest of all."""
    if not samples:
        return ""
    begin = samples[0].at_s
    length = samples[-1].at_s - begin or 1.0
    highest: list[float] = [-1.0] * columns
    for sample in samples:
        column = min(columns - 1, int((sample.at_s - begin) / length * columns))
        highest[column] = max(highest[column], sample.value)
    most = max(highest) or 1.0
    return "".join(
        " " if value < 0 else BARS[round(value / most * (len(BARS) - 1))]
        for value in highest
    )


def svg(charts: Mapping[str, Lines], marks: Iterable[tuple[float, str]]) -> str:
    """charts: by title, the lines by name, each in pieces (one per life); marks:
    what was done when."""
    marks = list(marks)
    every = [s for lines in charts.values() for s in _samples(lines)]
    end_s = max((sample.at_s for sample in every), default=1.0) or 1.0
    parts = [
        _chart(TOP + n * (HEIGHT + 60), title, lines, marks, end_s)
        for n, (title, lines) in enumerate(charts.items())
    ]
    size = LEFT + WIDTH + 20, TOP + len(charts) * (HEIGHT + 60)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" '
        f'height="{size[1]}" font-family="sans-serif" font-size="11">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _samples(lines: Lines) -> list[Sample]:
    return [s for pieces in lines.values() for piece in pieces for s in piece]


def _chart(
    top: int, title: str, lines: Lines, marks: list[tuple[float, str]], end_s: float
) -> str:
    most = max((s.value for s in _samples(lines)), default=1.0) or 1.0

    def x(at_s: float) -> float:
        return LEFT + at_s / end_s * WIDTH

    def y(value: float) -> float:
        return top + HEIGHT - value / most * HEIGHT

    out = [
        f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{escape(title)}</text>',
        f'<path d="M{LEFT} {top}V{top + HEIGHT}H{LEFT + WIDTH}" fill="none" '
        'stroke="#999"/>',
        f'<text x="{LEFT - 4}" y="{top + 8}" text-anchor="end">{most:,.0f}</text>',
        f'<text x="{LEFT - 4}" y="{top + HEIGHT}" text-anchor="end">0</text>',
        f'<text x="{LEFT + WIDTH}" y="{top + HEIGHT + 14}" text-anchor="end">'
        f"{end_s / 60:.1f} min</text>",
    ]
    for at_s, what in marks:
        out.append(
            f'<path d="M{x(at_s):.1f} {top}v{HEIGHT}" stroke="#ddd">'
            f"<title>{escape(what)}</title></path>"
        )
    for n, (name, pieces) in enumerate(lines.items()):
        colour = COLOURS[n % len(COLOURS)]
        for piece in pieces:
            points = " ".join(f"{x(s.at_s):.1f},{y(s.value):.1f}" for s in piece)
            out.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        left = LEFT + n * 120
        out.append(
            f'<text x="{left}" y="{top + HEIGHT + 28}" fill="{colour}">'
            f"{escape(name)}</text>"
        )
    return "".join(out)
