"""The lines of the page."""

from demo.board import Board, Kind, Row
from demo.view import line_of


def test_lines_are_told_once_in_the_order_in_which_they_began() -> None:
    told: list[str] = []
    board = Board(lambda row: told.append(row.text))
    board.put("a", Kind.SAYS, "Agent", "On", settled=False)
    board.put("b", Kind.HEARS, "Sarah", "On Monday", settled=True)
    assert told == []
    board.put("a", Kind.SAYS, "Agent", "On Monday", settled=True)
    assert told == ["On Monday", "On Monday"]
    board.put("a", Kind.SAYS, "Agent", "On Tuesday", settled=True)
    assert told == ["On Monday", "On Monday"]
    assert board.rows[0].text == "On Monday"


def test_the_end_of_a_call_settles_what_was_open() -> None:
    told: list[str] = []
    board = Board(lambda row: told.append(row.text))
    board.put("a", Kind.SAYS, "Agent", "On", settled=False)
    board.settle_all()
    assert told == ["On"]


def test_what_was_cut_off_is_shown_struck_out() -> None:
    row = Row(Kind.SAYS, "Agent", 1.0, "I have nine", " or ten.", settled=True)
    words = line_of(row)[2]
    assert words.plain == "I have nine or ten."
    assert [words.plain[span.start : span.end] for span in words.spans if "strike" in str(span.style)] == [
        " or ten."
    ]
