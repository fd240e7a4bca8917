"""A bar chart as SVG: the bar is the median, the dots are the rounds."""

from html import escape
from statistics import median

WIDTH = 760
LEFT = 150
RIGHT = 84
BAR = 20
GAP = 8

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1d2127; }
  .title { font-size: 16px; font-weight: 600; }
  .soft { fill: #5d6571; }
  .bar { fill: #b9c0ca; }
  .bar.first { fill: #d9744a; }
  circle { fill: #1d2127; fill-opacity: .55; }
  .paper { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e9e9e6; } .soft { fill: #a0a7b2; } .bar { fill: #4a525e; } .bar.first { fill: #c4653d; }
    circle { fill: #ffffff; fill-opacity: .6; } .paper { fill: #14161a; }
  }
"""


def plot(subtitle, groups):
    """`groups`: (title, [(name, values per round)]); every group has a scale of its own, starting at zero."""
    parts, y = [], 64
    for title, bars in groups:
        parts.append(f'<text x="16" y="{y + 14}" class="soft">{escape(title)}</text>')
        y += 28
        top = max(max(values) for _, values in bars)
        for index, (name, values) in enumerate(bars):
            parts += bar(name, values, y, (WIDTH - LEFT - RIGHT) / top, "bar first" if index == 0 else "bar")
            y += BAR + GAP
        y += 14
    return document(subtitle, parts, y)


def bar(name, values, y, pixels_per_unit, kind):
    length = median(values) * pixels_per_unit
    base = y + BAR - 5
    yield f'<text x="{LEFT - 10}" y="{base}" text-anchor="end">{escape(name)}</text>'
    yield f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" rx="3" class="{kind}"/>'
    for value in values:
        yield f'<circle cx="{LEFT + value * pixels_per_unit:.1f}" cy="{y + BAR / 2}" r="2.5"/>'
    label = LEFT + max(values) * pixels_per_unit + 10
    yield f'<text x="{label:.1f}" y="{base}">{median(values):.1f} µs</text>'


def document(subtitle, parts, height):
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' role="img" aria-label="CPU time per request">',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" rx="8" class="paper"/>',
        '<text x="16" y="28" class="title">CPU time of the proxy per request</text>',
        f'<text x="16" y="48" class="soft">{escape(subtitle)}</text>',
        *parts, "</svg>", "",
    ])
