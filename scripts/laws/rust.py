"""A reading of Rust source that is just good enough for laws: what is code, what is comment, where a block ends.

Enters: the text of a file. Leaves: the same text with everything blanked that is not code (or not comment), line for
line, so that a pattern never matches inside of a string.
"""

import re

_RAW_STRING = re.compile(r'b?r(#*)"')
_CHAR = re.compile(r"b?'(?:\\(?:u\{[0-9a-fA-F_]+\}|x[0-9a-fA-F]{2}|.)|[^'\\\n])'")
# One character, then everything that cannot begin a comment, a string or a character.
_PLAIN = re.compile(r".[^\"'/br]*", re.S)
_FUNCTION = re.compile(r"\bfn\s+(\w+)")
_TEST_ITEM = re.compile(r"#\s*\[\s*(?:cfg\s*\(\s*(?:test\b|all\s*\(\s*test\b)|test\b)")


def _blank(text):
    return re.sub(r"[^\n]", " ", text)


def split(text):
    """Returns (code, comments): two texts of the same shape, each with the other's characters blanked."""
    code, comments, at, end = [], [], 0, len(text)

    def take(stop, is_comment=False, is_code=False):
        nonlocal at
        piece = text[at:stop]
        code.append(piece if is_code else _blank(piece))
        comments.append(piece if is_comment else _blank(piece))
        at = stop

    while at < end:
        here = text[at]
        before = text[at - 1] if at else " "
        if text.startswith("//", at):
            stop = text.find("\n", at)
            take(end if stop < 0 else stop, is_comment=True)
        elif text.startswith("/*", at):
            take(_comment_end(text, at), is_comment=True)
        elif here in "br" and not (before.isalnum() or before == "_") and (raw := _RAW_STRING.match(text, at)):
            stop = text.find('"' + raw[1], raw.end())
            take(end if stop < 0 else stop + 1 + len(raw[1]))
        elif here == '"':
            take(_string_end(text, at))
        elif here == "'" and (char := _CHAR.match(text, at)):
            take(char.end())
        else:
            take(_PLAIN.match(text, at).end(), is_code=True)
    return "".join(code), "".join(comments)


def _comment_end(text, at):
    depth, cursor = 0, at
    for mark in re.finditer(r"/\*|\*/", text[at:]):
        depth += 1 if mark[0] == "/*" else -1
        cursor = at + mark.end()
        if depth == 0:
            return cursor
    return len(text)


def _string_end(text, at):
    cursor = at + 1
    while cursor < len(text) and text[cursor] != '"':
        cursor += 2 if text[cursor] == "\\" else 1
    return min(cursor + 1, len(text))


def line_of(text, offset):
    """The line number of an offset, from 1."""
    return text.count("\n", 0, offset) + 1


def block_end(code, start):
    """The offset of the brace that closes the first block after `start`, or None where a `;` comes first."""
    depth, brackets = 0, 0
    for cursor in range(start, len(code)):
        here = code[cursor]
        if here in "([":
            brackets += 1
        elif here in ")]":
            brackets -= 1
        elif here == "{":
            depth += 1
        elif here == "}":
            depth -= 1
            if depth == 0:
                return cursor
        elif here == ";" and depth == 0 and brackets == 0:
            return None
    return None


def functions(code):
    """Yields (name, first line, last line) of every function that has a body."""
    for head in _FUNCTION.finditer(code):
        end = block_end(code, head.end())
        if end is not None:
            yield head[1], line_of(code, head.start()), line_of(code, end)


def test_lines(code):
    """The set of lines that belong to items under `#[cfg(test)]` or `#[test]`."""
    lines = set()
    for mark in _TEST_ITEM.finditer(code):
        first = line_of(code, mark.start())
        if first in lines:
            continue
        end = block_end(code, code.find("]", mark.end()) + 1)
        last = first if end is None else line_of(code, end)
        lines.update(range(first, last + 1))
    return lines
