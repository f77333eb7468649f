"""The table as a chart: SVG, which is readable on a light and on a dark page."""

from html import escape
from typing import Any

from .report import Section, columns, label, number

_WIDTH, _GAP, _COLUMNS = 800, 40, 2
_TITLE, _BAR, _PANEL_GAP = 24, 18, 18
_LABELS, _VALUES = 130, 60
_PANEL = (_WIDTH - _GAP * (_COLUMNS - 1)) // _COLUMNS
_STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.note { fill: #59636e; font-size: 11px }
.bar { fill: #9aa4af }
.ours { fill: #1a7f64 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .note { fill: #9198a1 }
  .bar { fill: #656c76 }
  .ours { fill: #3fb68f }
}"""


def draw(section: Section) -> str:
    """Draws a panel for each row, in which the longest bar is that of the server with the largest figure."""
    servers = columns(section)
    rows = [row for row in section["rows"] if len(row["cells"]) > 1]
    lines: list[str] = []
    top = _TITLE + 8
    for first in range(0, len(rows), _COLUMNS):
        group = rows[first : first + _COLUMNS]
        for column, row in enumerate(group):
            lines += _draw_panel(row, servers, column * (_PANEL + _GAP), top)
        top += _TITLE + _PANEL_GAP + _BAR * max(len(row["cells"]) for row in group)
    note = f"Shorter is better. {section['date']}, {section['machine']}; docs/performance.md has all versions."
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" width="{_WIDTH}" height="{top}" '
            'role="img">',
            "<title>Server CPU time and memory of wsock and other libraries</title>",
            f"<style>\n{_STYLE}\n</style>",
            f'<text class="note" x="0" y="14">{escape(note)}</text>',
            *lines,
            "</svg>",
            "",
        ]
    )


def _draw_panel(row: dict[str, Any], servers: list[str], left: int, top: int) -> list[str]:
    cells = {name: row["cells"][name]["value"] for name in servers if name in row["cells"]}
    most = max(cells.values())
    room = _PANEL - _LABELS - _VALUES
    lines = [f'<text class="title" x="{left}" y="{top + 12}">{escape(row["name"])}, {escape(row["unit"])}</text>']
    for at, (name, value) in enumerate(cells.items()):
        y = top + _TITLE + at * _BAR
        width = max(1.0, room * value / most) if most > 0 else 1.0
        kind = "ours" if name == "wsock" else "bar"
        start = left + _LABELS
        lines.append(f'<text x="{left}" y="{y + 11}">{escape(label(name))}</text>')
        lines.append(f'<rect class="{kind}" x="{start}" y="{y}" width="{width:.1f}" height="{_BAR - 5}" rx="2"/>')
        lines.append(f'<text x="{start + width + 6:.1f}" y="{y + 11}">{number(value)}</text>')
    return lines
