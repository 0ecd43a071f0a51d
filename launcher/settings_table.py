"""The README's table of settings, made from the code: `python -m launcher.settings_table` rewrites it."""

from pathlib import Path

from engine.settings import Settings

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- settings -->\n", "<!-- /settings -->"


def table() -> str:
    """One line a setting: name, default, description."""
    rows = ["| setting | default | |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in ("", None) else f"`{field.default}`"
        rows.append(f"| `{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


def with_table(readme: str) -> str:
    """The README with the current table between its marks. Raises ValueError without marks."""
    head, _, rest = readme.partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        raise ValueError("README.md has no <!-- settings --> marks: put them where the table belongs")
    return f"{head}{BEGIN}{table()}{END}{tail}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
