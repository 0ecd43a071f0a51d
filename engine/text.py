"""Text of others."""


def well_formed(text: str) -> str:
    """`text` without halves of characters, which JSON can hold and nothing else can: they become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
