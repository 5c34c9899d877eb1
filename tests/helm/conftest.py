from __future__ import annotations

from pathlib import Path

import pytest

from tests.helm.chart import Chart


@pytest.fixture(scope="session")
def chart(helm: Path) -> Chart:
    return Chart(helm)
