"""The plot of tools/bench: panels of horizontal bars, as SVG, for a light or a dark page.

A panel has a bar for each client, its length a ratio. The scale is the same in all of them, from 0 to a
little over the longest bar that is not out of all proportion; one that is longer is broken off, and its
number tells.
"""
import textwrap
from xml.sax.saxutils import escape

WIDTH = 880
MARGIN = 16
NAME = 100          # of a bar, left of it
LABEL = 118         # its figures, right of it
BAR, STEP = 20, 29  # a bar's height, and from one to the next
PANEL_HEAD = 30
GAP = 40            # between the two columns
OUTLIER = 4         # a ratio beyond this has its bar broken off

THEMES = {
    "light": {"text": "#1f2328", "soft": "#59636e", "page": "#ffffff", "line": "#d1d9e0",
              "first": "#0969da", "second": "#54aeff", "other": "#afb8c1"},
    "dark": {"text": "#f0f6fc", "soft": "#9198a1", "page": "#0d1117", "line": "#3d444d",
             "first": "#4493f8", "second": "#2a6cc4", "other": "#656c76"},
}


def number(x):
    return f"{x:.0f}×" if x >= 10 else f"{x:.1f}×" if x >= 9.95 else f"{x:.2f}×"


def time(ns):
    return f"{ns:.0f} ns" if ns < 999.5 else f"{ns / 1000:.1f} µs" if ns < 99950 else f"{ns / 1000:.0f} µs"


class Drawing:
    def __init__(self, theme):
        self.colour = THEMES[theme]
        self.parts = []

    def text(self, x, y, words, size=13, colour="text", weight=400, anchor="start"):
        self.parts.append(f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" '
                          f'text-anchor="{anchor}" fill="{self.colour[colour]}">{words}</text>')

    def line(self, x, y, to_y):
        self.parts.append(f'<path d="M{x:g} {y:g}V{to_y:g}" stroke="{self.colour["line"]}"/>')

    def bar(self, x, y, width, colour, broken):
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{max(width, 1):g}" height="{BAR}" rx="2" '
                          f'fill="{self.colour[colour]}"/>')
        if broken:  # a slanted gap, in the colour of the page
            at = x + width - 34
            self.parts.append(f'<path d="M{at:g} {y + BAR + 1:g}l8 {-BAR - 2}h6l-8 {BAR + 2}z" '
                              f'fill="{self.colour["page"]}"/>')


def panel(draw, x, y, width, title, bars, top):
    """bars: (name, ratio, ns, colour). top: the ratio that fills the width."""
    left, room = x + NAME, width - NAME - LABEL
    draw.text(x, y + 14, escape(title), 14, weight=600)
    y += PANEL_HEAD
    end = y + STEP * len(bars) - (STEP - BAR)
    draw.line(left, y - 4, end + 4)
    for i, (name, ratio, ns, colour) in enumerate(bars):
        at, broken = y + STEP * i, ratio > top
        length = room * min(ratio, top) / top
        draw.text(left - 8, at + 15, escape(name), weight=600 if i == 0 else 400, anchor="end")
        draw.bar(left, at, length, colour, broken)
        draw.text(left + length + 8, at + 15,
                  f'<tspan font-weight="600">{number(ratio)}</tspan>'
                  f'<tspan fill="{draw.colour["soft"]}" dx="6">{time(ns)}</tspan>')
    return end


def svg(title, panels, captions, theme):
    """panels: (title, bars), drawn two in a row."""
    draw = Drawing(theme)
    within = [ratio for _, bars in panels for _, ratio, *_ in bars if ratio <= OUTLIER]
    top = max([1, *within]) * 1.02
    width = (WIDTH - 2 * MARGIN - GAP) / 2
    draw.text(MARGIN, 32, f'<tspan font-weight="600">{escape(title)}</tspan>'
              f'<tspan dx="10" font-size="13" fill="{draw.colour["soft"]}">less is better</tspan>', 18)
    y = bottom = 58
    for i in range(0, len(panels), 2):
        for column, (name, bars) in enumerate(panels[i:i + 2]):
            bottom = max(bottom, panel(draw, MARGIN + column * (width + GAP), y, width, name, bars, top))
        y = bottom + 36
    for caption in captions:
        for line in textwrap.wrap(caption, 118):
            draw.text(MARGIN, y, escape(line), 12, "soft")
            y += 17
    fonts = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:g}" width="{WIDTH}" '
            f'height="{y:g}" font-family="{fonts}" role="img">\n<title>{escape(title)}</title>\n'
            + "\n".join(draw.parts) + "\n</svg>\n")
