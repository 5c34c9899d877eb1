"""Peers are pinned: a figure is of one version."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from bench import peers
from tests import cache
from tests.tools import go


def test_every_peer_is_pinned_to_one_version() -> None:
    assert all(re.fullmatch(r"[a-z\[\]-]+==\d+\.\d+\.\d+", each) for each in peers.FASTSTREAM)
    assert re.fullmatch(r"v\d+\.\d+\.\d+", peers.BENTO[1])


def test_without_go_bento_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "FOLDER", tmp_path)
    monkeypatch.setattr(go, "FOLDER", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(go.Unavailable, match="no go on the path"):
        peers.bento()
