# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Reading of a large YouTube-VIS JSON, one annotation at a time.

The annotations are nearly all of such a file. As Python objects they take six
times its size, one by one next to nothing.
"""
import json
import re
from typing import Any, Dict, Iterator, Tuple

_SPACE = re.compile(r'[ \t\n\r]*')
_DECODER = json.JSONDecoder()


class VISJson:
    """A JSON whose annotations are decoded when they are asked for.

    Args:
        text (str): The JSON.

    Attributes:
        header (Any): The content; without ``annotations`` where these come
            one by one, and then perhaps without other keys that follow them.

    Raises:
        ValueError: If the text is not JSON, as far as that is seen.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = self._skip(0)
        self._expected: Dict[str, int] = {}
        self._in_array = False
        if text[self._position:self._position + 1] != '{':
            self.header: Any = self._decode_all()
            return
        self.header = {}
        self._position += 1
        if self._take('}'):
            self._end()
        else:
            self._read_members()
        if self._in_array and not self._find_members('videos', 'categories'):
            self.header = self._decode_all()
            self._in_array = False

    def annotations(self) -> Iterator[Any]:
        """The annotations, once.

        Yields:
            Any: An entry of the list.

        Raises:
            ValueError: If the rest of the text is not JSON.
        """
        if not self._in_array:
            return
        self._in_array = False
        more = not self._take(']')
        while more:
            self._position = self._skip(self._position)
            annotation, self._position = self._decode(self._position)
            yield annotation
            more = self._take(',')
            if not more:
                self._require(']')
        if self._take('}'):
            self._end()
        else:
            self._require(',')
            self._read_members()
        if self._in_array or self._expected:
            raise json.JSONDecodeError(
                'annotations, videos and categories must come once, in the '
                'outermost object', self._text, self._position)

    def _read_members(self) -> None:
        """Read the members of the outermost object up to the annotations."""
        while True:
            start = self._position = self._skip(self._position)
            key, self._position = self._decode(start)
            if not isinstance(key, str):
                raise json.JSONDecodeError('Expecting property name',
                                           self._text, start)
            self._require(':')
            self._position = self._skip(self._position)
            if key == 'annotations' and self._take('['):
                self._in_array = True
                return
            value, self._position = self._decode(self._position)
            self.header[key] = value
            if self._expected.get(key) == start:
                del self._expected[key]
            if self._take('}'):
                self._end()
                return
            self._require(',')

    def _find_members(self, *keys: str) -> bool:
        """Read members that follow the annotations; False if not found."""
        for key in keys:
            if key in self.header:
                continue
            start = self._text.rfind(f'"{key}"')
            colon = self._skip(start + len(key) + 2)
            if start < self._position or self._text[colon:colon + 1] != ':':
                return False
            try:
                value, _ = self._decode(self._skip(colon + 1))
            except ValueError:
                return False
            self.header[key] = value
            self._expected[key] = start
        return True

    def _decode(self, position: int) -> Tuple[Any, int]:
        """Decode the value at a position; gives also its end."""
        try:
            return _DECODER.raw_decode(self._text, position)
        except json.JSONDecodeError:
            raise
        except (ValueError, RecursionError) as error:  # long, or too deep
            raise json.JSONDecodeError(str(error), self._text,
                                       position) from None

    def _decode_all(self) -> Any:
        """Decode the text, which is one value."""
        value, self._position = self._decode(self._skip(0))
        self._end()
        return value

    def _end(self) -> None:
        """Refuse text after the outermost object."""
        if self._skip(self._position) != len(self._text):
            raise json.JSONDecodeError('Extra data', self._text,
                                       self._position)

    def _skip(self, position: int) -> int:
        """Where the white space ends."""
        return _SPACE.match(self._text, position).end()

    def _take(self, char: str) -> bool:
        """Step over white space and a character if it comes next."""
        position = self._skip(self._position)
        if self._text[position:position + 1] != char:
            return False
        self._position = position + 1
        return True

    def _require(self, char: str) -> None:
        """Step over white space and a character, which must come next."""
        if not self._take(char):
            raise json.JSONDecodeError(f"Expecting '{char}'", self._text,
                                       self._position)
