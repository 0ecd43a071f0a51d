"""README's table of settings is what the settings are."""

import re
from pathlib import Path

from engine.settings import Settings
from launcher.settings_table import EXAMPLE, example, sections

README = Path(__file__).parents[2] / "README.md"
ROW = re.compile(r"^\| `([A-Z_0-9]+)` \| (.*?) \| (.*?) \|$")


def rows() -> list[tuple[str, str, str]]:
    """Name, default and description of each row of the table, as written."""
    text = README.read_text(encoding="utf-8")
    table = text.split("| setting | default | |", 1)[1].split("\n\n", 1)[0]
    return [match.groups() for line in table.splitlines() if (match := ROW.match(line))]  # type: ignore[misc]


def test_every_setting_has_its_line_in_the_readme_in_order_and_no_other() -> None:
    assert [name for name, _, _ in rows()] == [name.upper() for name in Settings.model_fields]


def test_each_line_says_what_the_settings_description_says() -> None:
    said = {name: description for name, _, description in rows()}
    assert said == {name.upper(): field.description for name, field in Settings.model_fields.items()}


def test_each_line_gives_the_default_that_holds() -> None:
    given = {name: default.strip().strip("`") for name, default, _ in rows()}
    assert given == {
        name.upper(): "" if field.default in ("", None) else str(field.default)
        for name, field in Settings.model_fields.items()
    }


def test_the_example_of_an_env_file_is_what_the_settings_are() -> None:
    assert EXAMPLE.read_text() == example()


def test_no_setting_is_missing_from_the_sections() -> None:
    assert [name for _, names in sections() for name in names] == list(Settings.model_fields)
