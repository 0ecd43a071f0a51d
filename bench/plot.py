"""A line chart as SVG: few lines, no dependency, readable on light and dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 150, 40, 52
_COLOURS = ("#2a78d6", "#d6552a", "#3a9a4a", "#8a58c8", "#b08a18")
_INK = "#767c86"


@dataclass(frozen=True)
class Series:
    """One line: its name and its points."""

    name: str
    points: Sequence[tuple[float, float]]


def _step(top: float) -> float:
    """The distance of grid lines: 1, 2 or 5 times a power of ten, four to eight of them."""
    power = 10.0 ** math.floor(math.log10(top / 4))
    return next(power * factor for factor in (1, 2, 5, 10) if top / (power * factor) <= 8)


def chart(title: str, across: str, up: str, series: Sequence[Series]) -> str:
    """The SVG. Each line's name stands at its end. Raises ValueError without any point."""
    points = [point for one in series for point in one.points]
    if not points:
        raise ValueError("nothing to draw: run the bench first")
    right, top = max(x for x, _ in points) or 1.0, max(y for _, y in points) or 1.0
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        return round(_LEFT + wide * x / right, 1), round(_TOP + high * (1 - y / top), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12" fill="{_INK}">',
        f'<text x="{_LEFT}" y="20" font-size="14">{escape(title)}</text>',
        f'<text x="{_LEFT + wide / 2:g}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(across)}</text>',
        f'<text transform="translate(16 {_TOP + high / 2:g}) rotate(-90)" text-anchor="middle">{escape(up)}</text>',
    ]
    step = _step(top)
    for count in range(int(top / step) + 1):
        _, y = at(0, count * step)
        parts.append(f'<path d="M{_LEFT} {y}h{wide}" stroke="{_INK}" stroke-opacity=".25"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{count * step:g}</text>')
    step = _step(right)
    for count in range(int(right / step) + 1):
        x, _ = at(count * step, 0)
        parts.append(f'<text x="{x}" y="{_TOP + high + 18}" text-anchor="middle">{count * step:g}</text>')
    taken: list[float] = []
    for one, colour in zip(series, _COLOURS * len(series), strict=False):
        places = [at(x, y) for x, y in one.points]
        if not places:
            continue
        line = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places]
        x, y = places[-1]
        while any(abs(y - other) < 14 for other in taken):  # names must not lie upon each other
            y += 14
        taken.append(y)
        parts.append(f'<text x="{x + 8}" y="{y + 4}" fill="{colour}">{escape(one.name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
