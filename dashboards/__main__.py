"""Write every dashboard: `python -m dashboards`."""

from dashboards import BOARDS, FOLDER
from dashboards.grafana import rendered

for board in BOARDS:
    (FOLDER / f"{board.name}.json").write_text(rendered(board), encoding="utf-8")
