"""The picture of a call."""

from pathlib import Path

from demo.__main__ import draw
from demo.board import Board, Kind
from demo.performance import Performance
from demo.report import Record


def test_the_picture_shows_the_call_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    board = Board()
    board.put("a", Kind.SAYS, "Agent", "Good morning", settled=True)
    picture = tmp_path / "call.svg"
    draw(picture, Performance(board, Path("call.wav"), Record(ending="completed")), "an oil change", "")
    text = picture.read_text()
    assert "Good&#160;morning" in text
    assert "url(&quot;" not in text
    assert 'url("' not in text
