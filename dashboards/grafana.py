"""A board as Grafana's classic dashboard JSON, which every version since 9 reads and the sidecar provisions.

The layout is reckoned, not drawn: panels stand in rows from left to right. No id and no data source is fixed, so that a
dashboard can be imported anywhere; the uid is, so that links to it hold.
"""

from __future__ import annotations

import json
from typing import Any, Final

from dashboards.board import Board, Panel, Query, Row, Threshold

_SCHEMA: Final = 39
_COLUMNS: Final = 24
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_TAG: Final = "aiq-braze"


def rendered(board: Board) -> str:
    """The file's text."""
    return json.dumps(document(board), indent=2, ensure_ascii=False) + "\n"


def document(board: Board) -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    return {
        "uid": f"aiq-braze-{board.name}",
        "id": None,
        "title": board.title,
        "description": board.says,
        "tags": [_TAG],
        "editable": False,
        "graphTooltip": 1,
        "schemaVersion": _SCHEMA,
        "timezone": "browser",
        "time": {"from": board.range, "to": "now"},
        "refresh": "30s",
        "annotations": {"list": [_restarts()]},
        "links": [
            {
                "type": "dashboards",
                "title": "aiq-braze",
                "tags": [_TAG],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "",
                "url": "",
            }
        ],
        "templating": {"list": [_source(), _variable("job", ""), _variable("instance", 'job=~"$job"')]},
        "panels": _laid_out(board.rows),
    }


def _source() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
    }


def _variable(label: str, matchers: str) -> dict[str, Any]:
    query = f"label_values(aiq_braze_build_info{{{matchers}}}, {label})"
    return {
        "name": label,
        "label": label.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"Variable-{label}"},
        "allValue": ".+",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
        "includeAll": True,
        "multi": True,
        "options": [],
        "refresh": 2,
        "regex": "",
        "skipUrlSync": False,
        "sort": 1,
    }


def _restarts() -> dict[str, Any]:
    """A line wherever a process began: the first question after "since when" is "what was rolled out then"."""
    began = 'process_start_time_seconds{job=~"$job", instance=~"$instance"} * 1000'
    return {
        "name": "starts",
        "datasource": _SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "blue",
        "expr": began,
        "step": "60s",
        "titleFormat": "started",
        "textFormat": "{{instance}}",
        "useValueForTime": True,
    }


def _laid_out(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": top, "w": _COLUMNS, "h": 1},
                "panels": [],
            }
        )
        top += 1
        left = height = 0
        for panel in row.panels:
            if left + panel.width > _COLUMNS:
                left, top, height = 0, top + height, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            panels.append({"id": len(panels) + 1, "gridPos": place} | _panel(panel))
            left, height = left + panel.width, max(height, panel.height)
        top += height
    return panels


def _panel(panel: Panel) -> dict[str, Any]:
    is_number = panel.shows == "number"
    return {
        "type": "stat" if is_number else "timeseries",
        "title": panel.title,
        "description": panel.says,
        "datasource": _SOURCE,
        "targets": [_target(query, index, is_number=is_number) for index, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _number() if is_number else _lines(),
    }


def _target(query: Query, index: int, *, is_number: bool) -> dict[str, Any]:
    return {
        "refId": chr(ord("A") + index),
        "datasource": _SOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": query.legend,
        "range": not is_number,
        "instant": is_number,
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps = panel.thresholds or (Threshold(None, "green"),)
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "color": {"mode": "thresholds" if panel.shows == "number" else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": [{"color": step.colour, "value": step.at} for step in steps]},
        "mappings": [],
    }
    if panel.unit == "percentunit" or panel.shows == "lines":
        defaults["min"] = 0
    if panel.most is not None:
        defaults["max"] = panel.most
    if panel.empty is not None:
        defaults["noValue"] = panel.empty
    if panel.shows == "lines":
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 25 if panel.is_stacked else 5,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.is_stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if panel.thresholds else "off"},
        }
    return defaults


def _number() -> dict[str, Any]:
    return {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background_solid",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "wideLayout": True,
    }


def _lines() -> dict[str, Any]:
    return {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
