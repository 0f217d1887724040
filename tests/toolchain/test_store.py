"""The cache of finished work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import InfrastructureError
from harness.toolchain.store import SWEEP_SECONDS, UNUSED_SECONDS, Store, digest


def test_lists_of_parts_that_join_to_the_same_text_differ() -> None:
    assert len({digest(["ab", "c"]), digest(["a", "bc"]), digest(["abc"]), digest(["abc", ""])}) == 4
    assert digest(["a", b"b"]) == digest([b"a", "b"])


def test_a_workspace_is_gone_afterwards_unless_it_was_published(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.workspace() as folder:
        (folder / "a").write_text("a")
    assert not folder.exists()
    with store.workspace() as folder:
        (folder / "a").write_text("a")
        store.publish_folder(folder, store.firmware("key"))
    assert (store.firmware("key") / "a").read_text() == "a"


def test_a_broken_entry_is_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.firmware("key").mkdir()
    (store.firmware("key") / "half").touch()
    with store.workspace() as folder:
        store.publish_folder(folder, store.firmware("key"))
    assert list(store.firmware("key").iterdir()) == []


def test_only_what_was_not_used_for_long_is_swept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for key in ("old", "used"):
        store.firmware(key).mkdir()
        (store.firmware(key) / "firmware.elf").touch()
        store.object(key, ".o").parent.mkdir(exist_ok=True)
        store.object(key, ".o").touch()
        for entry in (store.firmware(key), store.object(key, ".o")):
            os.utime(entry, (0, 0))
    store.used(store.firmware("used"))
    store.used(store.object("used", ".o"))
    now = store.firmware("used").stat().st_mtime + UNUSED_SECONDS - 60
    store.sweep(lambda: now)
    assert [path.name for path in (tmp_path / "firmware").iterdir()] == ["used"]
    assert [path.name for path in tmp_path.glob("objects/*/*")] == ["used.o"]
    store.sweep(lambda: now + 120)  # too soon to look again
    assert store.firmware("used").exists()
    store.sweep(lambda: now + SWEEP_SECONDS + 120)
    assert not store.firmware("used").exists()


def test_what_a_killed_harness_left_half_done_goes_after_a_day(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.workspace() as folder:
        store.sweep(lambda: folder.stat().st_mtime + SWEEP_SECONDS - 60)
        assert folder.exists()
        store.sweep(lambda: folder.stat().st_mtime + 2 * SWEEP_SECONDS)
        assert not folder.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InfrastructureError, match="cannot write the cache"):
        Store(tmp_path / "cache")


def test_a_cache_in_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(InfrastructureError, match="cannot write the cache") as refusal:
        Store(tmp_path / "cache")
    assert "XDG_CACHE_HOME" in str(refusal.value)
