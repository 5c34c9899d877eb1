import pytest

from tests.fuzz import broken

SLICES = 8
CASES_A_SLICE = 3_000


@pytest.mark.parametrize("slice_", range(SLICES))
def test_whatever_comes_is_accounted_for(slice_: int) -> None:
    first = slice_ * CASES_A_SLICE

    assert dict(broken(range(first, first + CASES_A_SLICE))) == {}


FOUND = {
    2349: "a union without branches made the decoder's source invalid",
    3543: "a field without a name could not be sorted among those that were meant",
    43520: "an enum without symbols",
}


@pytest.mark.parametrize("seed", FOUND, ids=lambda seed: f"{seed}-{FOUND[seed].replace(' ', '-')}")
def test_what_was_found_once_stays_mended(seed: int) -> None:
    assert dict(broken(range(seed, seed + 1))) == {}
