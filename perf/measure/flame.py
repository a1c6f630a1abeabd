"""Stacks from `perf script`, folded, and drawn as a flame graph.

A folded stack is one line: frames from the thread's name to the leaf with semicolons between them, a space, and how many
samples it had.
"""

import collections
import re
from xml.sax.saxutils import escape

# `dp-worker-0  1234/1240  12.345678:   1003009 cpu-clock:`, with fields left out or added between name and colon.
_HEAD = re.compile(r"^(\S.*?)\s+(?:\d+/)?\d+\s.*:\s*$")
# `    55d0c0 symbol+0x1f (/path/of/the/program)`
_FRAME = re.compile(r"^\s+[0-9a-f]+ (.+?)(?:\+0x[0-9a-f]+)? \((.*)\)$")
_HASH = re.compile(r"::h[0-9a-f]{16}$")

WIDTH, FRAME_HEIGHT, MARGIN, CHARACTER_WIDTH = 1200, 17, 10, 6.6
# Narrower than this nothing can be seen, and the file stays small.
WIDTH_MIN = 0.3


def fold(lines):
    """Counts the stacks in the lines of `perf script`."""
    stacks = collections.Counter()
    thread, frames = None, []
    for line in [*lines, ""]:
        line = line.rstrip("\n")
        if not line.strip():
            if thread is not None:
                stacks[(thread, *reversed(frames))] += 1
            thread, frames = None, []
        elif thread is None:
            head = _HEAD.match(line)
            thread = head[1].replace(";", ":") if head else None
        else:
            frame = _FRAME.match(line)
            if frame:
                frames.append(_name(frame[1], frame[2]))
    return stacks


def _name(symbol, program):
    """A frame's name: without the hash of its instance, of the kernel with a mark."""
    if symbol == "[unknown]":
        symbol = f"[{program.rpartition('/')[2].strip('[]') or 'unknown'}]"
    name = _HASH.sub("", symbol).replace(";", ":")
    return f"{name} [k]" if program.startswith("[kernel") or program.endswith(".ko]") else name


def lines(stacks):
    """The folded form, sorted, so that equal stacks make an equal file."""
    return [f"{';'.join(stack)} {count}" for stack, count in sorted(stacks.items())]


class Node:
    """A frame with everything that it called."""

    def __init__(self):
        self.count, self.children = 0, {}

    def depth(self):
        """Rows that it and its callees take."""
        return 1 + max((child.depth() for child in self.children.values()), default=0)


def tree(stacks):
    """All stacks joined where they begin alike."""
    root = Node()
    for stack, count in stacks.items():
        root.count += count
        node = root
        for name in stack:
            node = node.children.setdefault(name, Node())
            node.count += count
    return root


def svg(stacks, title):
    """A flame graph: width is time, callers stand below what they call, each frame says its share when pointed at."""
    root = tree(stacks)
    depth = root.depth()
    height = (depth + 3) * FRAME_HEIGHT
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
           'font-family="monospace" font-size="11">',
           f'<rect width="{WIDTH}" height="{height}" fill="#fdfdf6"/>',
           f'<text x="{WIDTH / 2:.0f}" y="{FRAME_HEIGHT + 2}" font-size="15" text-anchor="middle">{escape(title)}</text>']
    if root.count:
        scale = (WIDTH - 2 * MARGIN) / root.count
        _draw(out, root, "all", MARGIN, (depth + 1) * FRAME_HEIGHT, scale, root.count)
    out.append("</svg>\n")
    return "\n".join(out)


def _draw(out, node, name, x, y, scale, total):
    width = node.count * scale
    if width < WIDTH_MIN:
        return
    label = f"{name}: {node.count} samples, {100 * node.count / total:.2f} %"
    out.append(f'<g><title>{escape(label)}</title><rect x="{x:.2f}" y="{y}" width="{width:.2f}" '
               f'height="{FRAME_HEIGHT - 1}" fill="{_colour(name)}" rx="1"/>')
    room = int((width - 6) / CHARACTER_WIDTH)
    if room >= 3:
        short = name if len(name) <= room else name[:room - 1] + "…"
        out.append(f'<text x="{x + 3:.2f}" y="{y + FRAME_HEIGHT - 5}">{escape(short)}</text>')
    out.append("</g>")
    for child_name, child in sorted(node.children.items()):
        _draw(out, child, child_name, x, y - FRAME_HEIGHT, scale, total)
        x += child.count * scale


def _colour(name):
    """The kernel in oranges, the cipher in greens, the rest in yellows; equal names in an equal shade."""
    shade = sum(name.encode()) % 40
    if name.endswith(" [k]"):
        return f"rgb({215 + shade},{130 + shade},90)"
    if "aead" in name or "chacha" in name or "poly1305" in name:
        return f"rgb({120 + shade},{190 + shade},{120 + shade})"
    return f"rgb({215 + shade},{200 + shade},{110 + shade})"


def hottest(stacks, count=12):
    """(share, name) of the functions in which most samples were taken themselves."""
    total, leaves = sum(stacks.values()), collections.Counter()
    for stack, samples in stacks.items():
        leaves[stack[-1]] += samples
    return [(samples / total, name) for name, samples in leaves.most_common(count)]
