"""The README says what the code does."""

import re

from launcher.settings_table import README, with_table


def test_the_table_of_settings_is_the_codes() -> None:
    text = README.read_text()
    assert with_table(text) == text, "run: .venv/bin/python -m launcher.settings_table"


def test_every_make_target_that_the_readme_names_exists() -> None:
    makefile = (README.parent / "Makefile").read_text()
    named = set(re.findall(r"\bmake ([a-z]+)\b", README.read_text())) - {"on", "and"}
    assert named
    assert [target for target in sorted(named) if f"\n{target}:" not in makefile] == []


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README.read_text()) if "://" not in link]
    assert [link for link in links if not (README.parent / link).exists()] == []
