"""The Grafana dashboards as code: `make dashboards` writes `helm/dashboards/*.json`, a test compares them.

`board.py` is the vocabulary, `grafana.py` writes it as Grafana's classic JSON; each other file is one dashboard and
reads like its table of contents. Every dashboard answers the questions of the person on call in the order in which they
are asked: is it fresh? is it delivering? if not, why?
"""

from pathlib import Path

from dashboards.board import Board
from dashboards.braze import BRAZE
from dashboards.cost import COST
from dashboards.kafka import KAFKA
from dashboards.overview import OVERVIEW
from dashboards.process import PROCESS

BOARDS: tuple[Board, ...] = (OVERVIEW, BRAZE, KAFKA, COST, PROCESS)

FOLDER = Path(__file__).parent.parent / "helm" / "dashboards"
"""Inside the chart, which cannot include what lies outside of it."""
