"""What the READMEs and the picture say is what the kept runs found."""

from xml.etree import ElementTree

import pytest

from bench.plot import Series, chart
from bench.report import KEPT, written
from bench.results import load


def test_readmes_and_picture_say_what_the_kept_runs_found() -> None:
    stale = [str(path) for path, text in written(load(KEPT)).items() if path.read_text() != text]
    assert stale == [], "run: .venv/bin/python -m bench.report"


def test_a_chart_has_a_line_and_a_name_for_each_series() -> None:
    drawn = ElementTree.fromstring(
        chart("t", "x", "y", [Series("flat & low", [(0, 1), (50, 1)]), Series("steep", [(0, 0), (50, 90)])])
    )
    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"flat & low", "steep", "50"} <= set(texts)
    lines = [line.get("points", "").split() for line in drawn.iter("{http://www.w3.org/2000/svg}polyline")]
    assert [len(line) for line in lines] == [2, 2]
    heights = [float(point.partition(",")[2]) for point in lines[1]]
    assert heights[0] > heights[1]  # up is less


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        chart("t", "x", "y", [])
