"""Signs to words: quotes, backslashes, comments, and `$NAME`.

Two readings of the same signs exist, and both live here.  In *text* (commands and values) quotes
stay, because a shell reads them later; in *lists* (file names) they are taken off.  In both, one
level of backslashes goes and variables are replaced where they stand.  A value is put in as it is:
its dollar signs are not looked at again, so `\\$HOME` in a value reaches the shell as `$HOME`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum

_TEXT_RUN = re.compile(r"[^\\$'\"#\n]+")
_LIST_RUN = re.compile(r"[^\\$'\"#\n \t:=\->]+")
_SINGLE_RUN = re.compile(r"[^\\'\n]+")
_DOUBLE_RUN = re.compile(r"[^\\$'\"\n]+")
_BLANKS = re.compile(r"[ \t]+")
_NAME = re.compile(r"\$(?:([A-Za-z0-9_]+)|\(([A-Za-z0-9_]+)\)|\{([A-Za-z0-9_]+)\})")
_DOUBLE_ESCAPES = {"n": "\n", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "r": "\r", "v": "\v"}


class Mark(Enum):
    """What stands in a list besides names."""

    ARROW = "->"
    COLON = ":"
    BLANK = " "


class Reader:
    """A position in a text, and the ways to read on from it.

    `lookup` gives the value of a variable, None for one that exists nowhere; `report(line, sentence)`
    takes problems, after which reading goes on, so that one pass finds all of them; `missing(line,
    name)` is told of unknown variables.
    """

    def __init__(
        self,
        text: str,
        *,
        lookup: Callable[[str], str | None],
        report: Callable[[int, str], None],
        missing: Callable[[int, str], None],
    ) -> None:
        # A last line without a line end and lines that end with CR LF are read like any other.
        text = text.replace("\r\n", "\n")
        self.text = text if text.endswith("\n") or not text else text + "\n"
        self.at = 0
        self.line = 1
        self._lookup = lookup
        self._report = report
        self._missing = missing

    @property
    def ended(self) -> bool:
        return self.at >= len(self.text)

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The match at this position; the position stays."""
        return pattern.match(self.text, self.at)

    def skip_line(self) -> None:
        """Go to the beginning of the next line."""
        end = self.text.find("\n", self.at)
        self.at = len(self.text) if end < 0 else end + 1
        self.line += 1

    def skip_blanks(self) -> None:
        blanks = self.match(_BLANKS)
        if blanks:
            self.at = blanks.end()

    def rest_of_line(self) -> str:
        """What stands between here and the line's end, unread and as it is, for error messages."""
        end = self.text.find("\n", self.at)
        rest = self.text[self.at : end].strip()
        return rest if len(rest) <= 40 else rest[:39] + "…"

    def read_text(self) -> str:
        """The rest of the logical line with its quotes, variables replaced; ends behind the line."""
        self.skip_blanks()
        parts: list[str] = []
        while True:
            run = self.match(_TEXT_RUN)
            if run:
                parts.append(run[0])
                self.at = run.end()
            sign = self.text[self.at] if not self.ended else "\n"
            if sign in "\n#":
                self.skip_line()
                return "".join(parts).rstrip(" \t")
            if sign == "\\":
                parts.append(self._escape())
            elif sign == "$":
                parts.append(self._variable())
            else:
                parts.append(self._quoted(sign, keep=True))

    def read_list(self) -> list[str | Mark]:
        """Names and marks up to the line's end, without blanks and quotes; ends behind the line."""
        items: list[str | Mark] = []
        word: list[str] | None = None

        def close() -> None:
            nonlocal word
            if word is not None:
                items.append("".join(word))
            word = None

        def add(text: str) -> None:
            nonlocal word
            word = [text] if word is None else [*word, text]

        while True:
            run = self.match(_LIST_RUN)
            if run:
                add(run[0])
                self.at = run.end()
            sign = self.text[self.at] if not self.ended else "\n"
            if sign in "\n#":
                close()
                self.skip_line()
                return items
            if sign in " \t":
                close()
                self.skip_blanks()
            elif sign == ":":
                close()
                items.append(Mark.COLON)
                self.at += 1
            elif self.text.startswith("->", self.at):
                close()
                items.append(Mark.ARROW)
                self.at += 2
            elif sign in "->":
                add(sign)
                self.at += 1
            elif sign == "=":
                self._report(self.line, "a file name with '=' in it must be quoted, as in 'a=b'")
                add(sign)
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                # Joined lines of a list: the blank separates, it does not become part of a name.
                close()
                self._escape()
            elif sign == "\\":
                add(self._escape())
            elif sign == "$":
                for piece in split_value(self._variable()):
                    if isinstance(piece, str):
                        add(piece)
                    else:
                        close()
                        if piece is Mark.ARROW:
                            items.append(piece)
            else:
                add(self._quoted(sign, keep=False))

    def _escape(self, in_double: bool = False) -> str:
        """One backslash and what follows it.  At a line's end it joins the next line with a blank."""
        sign = self.text[self.at + 1 : self.at + 2]
        self.at += 2
        if sign == "\n":
            self.line += 1
            return " "
        if in_double:
            return _DOUBLE_ESCAPES.get(sign, sign)
        return sign

    def _quoted(self, quote: str, *, keep: bool) -> str:
        """Text in quotes from the opening one on, with or without the quotes themselves."""
        inner = self._single() if quote == "'" else self._double()
        return f"{quote}{inner}{quote}" if keep else inner

    def _single(self) -> str:
        opened = self.line
        self.at += 1
        parts: list[str] = []
        while True:
            run = self.match(_SINGLE_RUN)
            if run:
                parts.append(run[0])
                self.at = run.end()
            sign = self.text[self.at : self.at + 1]
            if sign == "\\":
                parts.append(self._escape())
                continue
            if sign == "'":
                self.at += 1
            else:
                self._report(opened, "a ' is opened and not closed on its line; a lone one is written \\'")
            return "".join(parts)

    def _double(self) -> str:
        opened = self.line
        self.at += 1
        parts: list[str] = []
        while True:
            run = self.match(_DOUBLE_RUN)
            if run:
                parts.append(run[0])
                self.at = run.end()
            sign = self.text[self.at : self.at + 1]
            if sign == "\\":
                parts.append(self._escape(in_double=True))
            elif sign == "$":
                parts.append(self._variable())
            elif sign == "'":
                parts.append(self._quoted(sign, keep=True))
            elif sign == '"':
                self.at += 1
                return "".join(parts)
            else:
                self._report(opened, 'a " is opened and not closed on its line')
                return "".join(parts)

    def _variable(self) -> str:
        """The value of the variable named here; nothing, and a problem, where there is none."""
        name = self.match(_NAME)
        if name is None:
            rest = self.rest_of_line()
            self.at += 1
            if rest.startswith("$$"):
                self.at += 1
                sentence = "'$$' names no variable: for the number of the shell's process write \\$\\$"
            elif rest.startswith(("$(", "${")):
                sentence = (
                    f"'{rest}' names no variable: for the shell write \\{rest[:2]}…; "
                    "names built from variables do not exist here"
                )
            else:
                sentence = "a '$' must be followed by the name of a variable: for the sign itself write \\$"
            self._report(self.line, sentence)
            return ""
        self.at = name.end()
        key = name[1] or name[2] or name[3]
        value = self._lookup(key)
        if value is None:
            self._missing(self.line, key)
            return ""
        return value


_VALUE_PIECE = re.compile(r"'([^']*)'|\"([^\"]*)\"|([ \t\n]+)|(->)|((?:(?!->)[^'\" \t\n])+)|(['\"])")


def split_value(value: str) -> list[str | Mark]:
    """A variable's value as parts of a list: texts without their quotes, blanks, arrows.

    >>> [piece if isinstance(piece, str) else piece.name for piece in split_value("a 'b c'd")]
    ['a', 'BLANK', 'b c', 'd']
    """
    pieces: list[str | Mark] = []
    for found in _VALUE_PIECE.finditer(value):
        if found[3]:
            pieces.append(Mark.BLANK)
        elif found[4]:
            pieces.append(Mark.ARROW)
        else:
            pieces.append(next(text for text in (found[1], found[2], found[5], found[6]) if text is not None))
    return pieces


def unquote(value: str) -> str:
    """A value without the one pair of quotes around it, if there is one."""
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value
