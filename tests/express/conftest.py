"""The lane itself; where there is no C compiler its tests are skipped."""

import pytest

from connector.express import is_compiled
from tests.cache import absent


@pytest.fixture(autouse=True, scope="package")
def compiled() -> None:
    if not is_compiled():
        absent("the express lane is not compiled: python -m connector.express.build says why")
