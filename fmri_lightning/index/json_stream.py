"""Large JSON files read piece by piece: an object of lists, one entry in memory at a time."""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fmri_lightning.errors import BadInputError

CHUNK_BYTES = 1 << 20
LONGEST_ENTRY = 64 << 20
"""Characters; a damaged file is refused before it is in memory as a whole."""

_BLANK = " \t\r\n"
_BEHIND = _BLANK + ",]}:"


class JsonStream:
    """Entries of the lists of one JSON object, in the order of the file.

    Args:
        path: The file, UTF-8, one object.

    Attributes:
        sha256: Of the whole file, 64 hexadecimal digits; empty until all entries were read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sha256 = ""
        self._text, self._at = "", 0

    def entries(self) -> Iterator[tuple[str, Any]]:
        """Read the file from its start.

        Memory: the entry at hand and some MiB of text, whatever the length of the file.

        Yields:
            Name of a list of the object and one of its entries; for a value that is no list, its name and the value.

        Raises:
            BadInputError: If the file cannot be read, is cut off, or is no JSON object.
        """
        try:
            with open(self.path, "rb") as handle:
                pieces = _decoded(handle, digest := hashlib.sha256())
                self._text, self._at = "", 0
                yield from self._object(pieces)
                self.sha256 = digest.hexdigest()
        except (OSError, ValueError) as error:
            raise BadInputError(f"{self.path} cannot be read as JSON: {error}; cut off? get it again") from error

    def _object(self, pieces: Iterator[str]) -> Iterator[tuple[str, Any]]:
        self._expect("{", pieces)
        if self._peek(pieces) == "}":
            self._at += 1
        else:
            while True:
                name = self._value(pieces)
                self._expect(":", pieces)
                if self._peek(pieces) == "[":
                    self._at += 1
                    for value in self._list(pieces):
                        yield str(name), value
                else:
                    yield str(name), self._value(pieces)
                if self._expect(",}", pieces) == "}":
                    break
        rest = self._text[self._at :] + "".join(pieces)
        if rest.strip(_BLANK):
            raise ValueError("there is text behind the end of the object")

    def _list(self, pieces: Iterator[str]) -> Iterator[Any]:
        if self._peek(pieces) == "]":
            self._at += 1
            return
        while True:
            yield self._value(pieces)
            if self._expect(",]", pieces) == "]":
                return

    def _value(self, pieces: Iterator[str]) -> Any:
        self._peek(pieces)
        decoder = json.JSONDecoder()
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._at)
                # A number that ends with the text, or before a point, may go on in the next piece.
                if end < len(self._text) and self._text[end] in _BEHIND:
                    self._at = end
                    return value
                failed = "the file ends within a value"
            except ValueError as error:
                # Its words alone: the error holds the text that was decoded.
                failed = str(error)
            if len(self._text) - self._at > LONGEST_ENTRY or not self._more(pieces):
                raise ValueError(failed)

    def _expect(self, wanted: str, pieces: Iterator[str]) -> str:
        found = self._peek(pieces)
        if found not in wanted:
            raise ValueError(f"expected one of {' '.join(wanted)}, found {found!r}")
        self._at += 1
        return found

    def _peek(self, pieces: Iterator[str]) -> str:
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANK:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(pieces):
                raise ValueError("the file ends within an object")

    def _more(self, pieces: Iterator[str]) -> bool:
        # As much again as is waiting: an entry longer than a piece is not decoded anew for every piece of it.
        waiting, grown = self._text[self._at :], ""
        for piece in pieces:
            grown += piece
            if len(grown) >= len(waiting):
                break
        self._text, self._at = waiting + grown, 0
        return bool(grown)


def _decoded(handle: Any, digest: Any) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    while data := handle.read(CHUNK_BYTES):
        digest.update(data)
        yield decoder.decode(data)
    yield decoder.decode(b"", final=True)
