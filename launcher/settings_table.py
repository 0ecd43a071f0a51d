"""README's table of settings and `.env.example`, from the code: `python -m launcher.settings_table` writes both."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
EXAMPLE = ROOT / ".env.example"
BEGIN, END = "<!-- settings -->\n", "<!-- /settings -->"
_HEAD = "# Copy to .env and set what you need. Every line shows the default; nothing has to be set.\n"
_LINE = re.compile(r"    (?:# --- (?P<section>.+)|(?P<name>[a-z_0-9]+): .* = Field\()")


def sections() -> Iterator[tuple[str, list[str]]]:
    """Each section's title and its settings' names, in the order of the code."""
    found: list[tuple[str, list[str]]] = []
    for line in inspect.getsource(Settings).splitlines():
        match = _LINE.match(line)
        if match and match["section"]:
            found.append((match["section"], []))
        elif match:
            found[-1][1].append(match["name"])
    yield from found


def table() -> str:
    """One line a setting: name, default, description."""
    rows = ["| setting | default | |", "|---|---|---|"]
    for title, names in sections():
        rows.append(f"| **{title}** | | |")
        for name in names:
            field = Settings.model_fields[name]
            default = "" if field.default in ("", None) else f"`{field.default}`"
            rows.append(f"| `{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


def example() -> str:
    """`.env.example`: a commented line a setting, under its description."""
    parts = [_HEAD]
    for title, names in sections():
        parts.append(f"\n# --- {title}\n\n")
        for name in names:
            field = Settings.model_fields[name]
            parts.append(f"# {field.description}\n#{name.upper()}={_as_text(field.default)}\n")
    return "".join(parts)


def _as_text(default: Any) -> str:
    if default is None:
        return ""
    return str(int(default)) if isinstance(default, bool) else str(default)


def with_table(readme: str) -> str:
    """The README with the current table between its marks. Raises ValueError without marks."""
    head, _, rest = readme.partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        raise ValueError("README.md has no <!-- settings --> marks: put them where the table belongs")
    return f"{head}{BEGIN}{table()}{END}{tail}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
    EXAMPLE.write_text(example())
