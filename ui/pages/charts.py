"""Charts: Plotly figures as plain values, whose colours the page's style sheet gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

# Told apart in both themes, also by those who see fewer colours (Okabe and Ito 2008, darkened).
COLOURS = ("#3b82f6", "#d97706", "#059669", "#c026d3", "#0891b2", "#dc2626", "#7c8493")


LOGARITHMIC = {"type": "log", "exponentformat": "e", "dtick": "D2"}
"""An axis on which equal distances are equal ratios."""


def figure(
    data: Sequence[Mapping[str, Any]],
    *,
    x: str,
    y: str,
    height: int = 280,
    layout: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A figure with the names of its axes; `layout` is put over ours, one level deep."""
    whole: dict[str, Any] = {
        "height": height,
        "margin": {"l": 56, "r": 12, "t": 12, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": list(COLOURS),
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "showlegend": len(data) > 1,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hovermode": "x unified" if len(data) > 1 else "closest",
        "xaxis": {"title": {"text": x}, "zeroline": False, "automargin": True},
        "yaxis": {"title": {"text": y}, "zeroline": False, "automargin": True},
    }
    for key, value in (layout or {}).items():
        old = whole.get(key)
        whole[key] = {**old, **value} if isinstance(old, dict) else value
    # `chart_place.js` sees to the width.
    config = {"displaylogo": False, "displayModeBar": False, "responsive": False}
    return {"data": [dict(one) for one in data], "layout": whole, "config": config}


def chart(made: dict[str, Any], *, label: str) -> ui.plotly:
    """The figure on the page; `label` says in a sentence what it shows, for screen readers."""
    with _ChartPlace().classes("w-full min-w-0"):
        plot = ui.plotly(made).classes("w-full")
    return plot.props(f'role=group aria-label="{label}"')


class _ChartPlace(ui.element, component="chart_place.js"):
    """What a chart is as wide as."""
