"""A small writer of charts: axes, lines, dots, bars, words."""

import html
import math

WIDTH, HEIGHT = 800, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 230, 60, 60
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")


class Scale:
    """From values to places along an axis, linear or logarithmic."""

    def __init__(self, low, high, first, last, log=False):
        self._log = log
        low, high = (math.log10(low), math.log10(high)) if log else (low, high)
        self._low, self._span = low, (high - low) or 1
        self._first, self._length = first, last - first

    def __call__(self, value):
        value = math.log10(value) if self._log else value
        return self._first + (value - self._low) / self._span * self._length


def ticks(low, high, log=False):
    """Round values between two ends: about five, or each power of ten."""
    if log:
        return [10.0 ** power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    step = 10 ** math.floor(math.log10((high - low) / 5 or 1))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 6)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]


def number(value):
    """A number as an axis shows it."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


class Chart:
    """One chart. Values of x are numbers, or places of names where `names` is given; `marks` are those that the
    axis names, where round ones would not do; `about` stands below the title."""

    def __init__(self, title, x, y, across, up, log_x=False, log_y=False, names=None, marks=None, about=""):
        self._parts, self._legend = [], []
        self.x = Scale(*across, LEFT, WIDTH - RIGHT, log_x)
        self.y = Scale(*up, HEIGHT - BOTTOM, TOP, log_y)
        self.text(LEFT, TOP - 36, title, size=14)
        self.text(LEFT, TOP - 18, about, colour="#555")
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x, anchor="middle")
        self._parts.append(f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{html.escape(y)}</text>')
        for value in ticks(*up, log_y):
            if up[0] <= value <= up[1]:
                self.line([(LEFT, self.y(value)), (WIDTH - RIGHT, self.y(value))], "#ddd")
                self.text(LEFT - 6, self.y(value) + 4, number(value), anchor="end")
        marks = list(enumerate(names)) if names else [(value, number(value)) for value in marks or ticks(*across, log_x)]
        # Many names stand in two rows, so that none runs into the next.
        rows = 2 if len(names or []) > 6 else 1
        for at, (value, word) in enumerate(marks):
            if across[0] <= value <= across[1]:
                self.text(self.x(value), HEIGHT - BOTTOM + 18 + 14 * (at % rows), word, anchor="middle")
        self.line([(LEFT, TOP), (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM)], "#444")

    def text(self, x, y, words, anchor="start", size=12, colour="#000"):
        """Words at a place of the picture, if there are any."""
        if words:
            self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">'
                               f'{html.escape(words)}</text>')

    def line(self, points, colour, width=1):
        """A line through places of the picture."""
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="{width}"/>')

    def curve(self, points, colour, dots=False):
        """A line through values."""
        places = [(self.x(x), self.y(y)) for x, y in points]
        self.line(places, colour, 2)
        if dots:
            for x, y in places:
                self.dot(x, y, colour)

    def dot(self, x, y, colour, size=3):
        """A dot at a place of the picture."""
        self._parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="{colour}"/>')

    def bar(self, x, low, high, half, colour):
        """A bar around a value of x, from one value of y to another."""
        left, right, top = self.x(x - half), self.x(x + half), self.y(high)
        self._parts.append(f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{self.y(low) - top:.1f}" fill="{colour}"/>')

    def legend(self, words, colour):
        """A line of the legend."""
        y = TOP + 16 * len(self._legend)
        self._legend.append(words)
        self.dot(WIDTH - RIGHT + 16, y - 4, colour, 5)
        self.text(WIDTH - RIGHT + 28, y, words)

    def render(self):
        """The picture."""
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">'
                f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>' + "\n".join(self._parts) + "</svg>\n")
