"""Text that others wrote, made fit for a line of plain text."""


def one_line(text: str) -> str:
    """`text` without control characters, which would move the cursor of a terminal or worse."""
    return "".join(character if character.isprintable() else " " for character in text)
