"""CSV files as the world writes them, and as nobody should."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.importing.csvfile import LINE_MOST, BadRow, Columns, CsvFile, Row, WrongCsv

COLUMNS = Columns({"name": ("full name",), "phone": ("telephone",), "since": ()}, needed=("name", "phone"))


def read(path: Path, content: bytes | str) -> list[Row | BadRow]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with CsvFile(path, COLUMNS) as file:
        return list(file.rows())


def values(path: Path, content: bytes | str) -> list[dict[str, str]]:
    return [row.values for row in read(path, content) if isinstance(row, Row)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "customers.csv"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff", "sep={}\r\n", "\ufeffsep={}\n", "\n\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_marks_and_line_ends_make_no_difference(
    path: Path, separator: str, mark: str, end: str
) -> None:
    lines = [("TELEPHONE", "Notes", "Full  Name"), ("+13125550142", '"a\nb"', '"Mitchell, Sarah;x"')]
    text = mark.format(separator) + end.join(separator.join(line) for line in lines)
    assert values(path, text) == [{"phone": "+13125550142", "name": "Mitchell, Sarah;x"}]


def test_what_excel_does_to_digits_is_undone_and_its_empty_lines_are_none(path: Path) -> None:
    text = 'name,phone,since\n"=""Ann""",="0123",\'2020\n Bo ,"(312) 555-0142",\xa0\n,,\n\n;\n'
    assert values(path, text)[:2] == [
        {"name": "Ann", "phone": "0123", "since": "2020"},
        {"name": "Bo", "phone": "(312) 555-0142", "since": ""},
    ]
    assert len(values(path, "name,phone\nAnn,1,,\n,,,\n\n\n")) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\r\n \n", "is empty"),
        (b"\n" * 100_000, "is empty"),
        (b"PK\x03\x04" + b"x" * 99, "workbook"),
        (b"\xd0\xcf\x11\xe0rest", "workbook"),
        ("name,phone\nAnn,1\n".encode("utf-16"), "UTF-16"),
        (b"\x7fELF\x02\x00\x00", "no text"),
        (b"\x89\xff\xfe\xf1 garbage", "no column name"),
        (b"x" * 300_000, "no CSV file"),
        (b"name,since\nAnn,2020\n", "no column phone"),
        (b"name;phone;Telephone\n", "two columns are the phone"),
        (b'"name,phone\nAnn,1\n', "no column"),
    ],
)
def test_what_is_no_csv_is_told_in_one_sentence(path: Path, content: bytes, said: str) -> None:
    with pytest.raises(WrongCsv) as told:
        read(path, content)
    assert said in str(told.value)
    assert "\n" not in str(told.value)
    assert str(told.value).isprintable()


def test_a_file_that_cannot_be_opened_is_told(path: Path) -> None:
    for wrong in (path, path.parent):
        with pytest.raises(WrongCsv, match="can't be read"):
            CsvFile(wrong, COLUMNS)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ('"Bo,2', "quote"),
        ('"B"o,2', "quote"),
        ('Bo,"2', "quote"),
        ("Bo,2,2020,more", "4 fields and 3 headings"),
        ("B\x00o,2", "no text"),
        ("B\x1b[31mo,2", "no text"),
        (b"B\xf6,2", "not UTF-8"),
        ("B" * (LINE_MOST * 3) + ",2", "characters"),
    ],
)
def test_a_bad_row_is_told_with_its_line_and_takes_no_other_with_it(
    path: Path, bad: str | bytes, said: str
) -> None:
    line = bad if isinstance(bad, bytes) else bad.encode()
    others = b"".join(b"Cy%d,3\n" % n for n in range(120))
    rows = read(path, b"name,phone,since\nAnn,1\n" + line + b"\n" + others)
    assert [row.values["name"] for row in rows if isinstance(row, Row)] == [
        "Ann",
        *(f"Cy{n}" for n in range(120)),
    ]
    wrong = [row for row in rows if isinstance(row, BadRow)]
    assert [row.line for row in wrong] == [3]
    assert said in wrong[0].todo
    assert wrong[0].value.isprintable()
    assert rows[-1].line == 123


def test_two_open_quotes_cost_their_two_lines(path: Path) -> None:
    rows = read(path, 'name,phone,since\n"Ann,1\nBo,2\nCy,3,"\nDee,4\n')
    assert [row.values["name"] for row in rows if isinstance(row, Row)] == ["Bo", "Dee"]
    assert [row.line for row in rows if isinstance(row, BadRow)] == [2, 4]


@pytest.mark.parametrize(
    ("lines", "people"), [(40, ["Ann", "Bo"]), (60, [*(f"Cy{n}" for n in range(60)), "Bo"])]
)
def test_a_row_may_have_many_lines_in_its_notes_but_not_any_number(
    path: Path, lines: int, people: list[str]
) -> None:
    between = "".join(f"Cy{n},3\n" for n in range(lines))
    rows = read(path, f'name,phone,notes\nAnn,1,"begun\n{between}"\nBo,2\n')
    assert [row.values["name"] for row in rows if isinstance(row, Row)] == people


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)
rows_of_text = st.lists(st.tuples(texts, texts, texts), max_size=30)


@given(rows_of_text, st.sampled_from(",;\t"), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_what_a_csv_writer_wrote_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    written: list[tuple[str, str, str]],
    separator: str,
    all_quoted: bool,
    end: str,
) -> None:
    out = io.StringIO()
    quoting = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
    writer = csv.writer(out, delimiter=separator, quoting=quoting, lineterminator=end)
    # A leading letter: what looks like Excel's ="..." or is only spaces is not kept as it is.
    written = [(f"A{name}Z", f"1{phone}2", f"A{since}Z") for name, phone, since in written]
    writer.writerows([("name", "phone", "since"), *written])
    path = tmp_path_factory.getbasetemp() / "written.csv"
    expected = [tuple(field.replace("\xa0", " ") for field in row) for row in written]
    assert [tuple(row.values()) for row in values(path, out.getvalue())] == expected


hostile = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [
                b'"',
                b'""',
                b",",
                b";",
                b"\t",
                b"\n",
                b"\r",
                b"\r\n",
                b"\x00",
                b'="',
                b"name",
                b"phone",
                b"\xef\xbb\xbf",
            ]
        ),
        st.sampled_from([b"name,phone\n", b"x" * (LINE_MOST + 10)]),
    ),
    max_size=40,
).map(b"".join)


@given(hostile, st.booleans())
def test_whatever_is_in_a_file_it_is_read_or_told_and_lines_go_up(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, headed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.csv"
    try:
        rows = read(path, b"name,phone\n" * headed + content)
    except WrongCsv as error:
        assert str(error).isprintable()  # noqa: PT017 - a file that is told is as good as one that is read
        return
    assert [row.line for row in rows] == sorted({row.line for row in rows})
    for row in rows:
        if isinstance(row, BadRow):
            assert row.todo
            assert row.value.isprintable()
        else:
            text = "".join(row.values.values())
            assert "\0" not in text
            text.encode()  # Postgres can take it


@given(
    st.lists(st.sampled_from([b'"', b'Bo,"2', b'"B"o,2', b"B\xff,1", b"a,b,c,d,e", b"\x00,1"]), max_size=8),
    st.data(),
)
def test_good_rows_between_bad_ones_are_all_there(
    tmp_path_factory: pytest.TempPathFactory, bad: list[bytes], data: st.DataObject
) -> None:
    """Each row is in quotes, so that a stray quote before one can't be closed within it and still make a row."""
    path = tmp_path_factory.getbasetemp() / "between.csv"
    lines = [b'"Good%d","+1312555%04d","2020"' % (n, n) for n in range(60)]
    for line in bad:
        lines.insert(data.draw(st.integers(0, len(lines))), line)
    found = {row["name"] for row in values(path, b"name,phone,since\n" + b"\n".join(lines) + b"\n")}
    assert found >= {f"Good{n}" for n in range(60)}
