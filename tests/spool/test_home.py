"""A directory has an owner from its first moment to its last."""

from __future__ import annotations

import errno

from defender_logging._pipeline.spool.home import make_home, take_home
from defender_logging._pipeline.spool.locks import take_lock


def test_nobody_sees_a_directory_without_its_owner(spool, handler, tmp_path, names):
    """It gets its name when it is locked and described, and not before."""
    seen = []
    real = spool.fs.rename

    def watch(source, target):
        if target.name == "s1":
            seen.extend(names(source))
            assert source.name.startswith(".")
            assert None is take_lock(spool.fs, source)
        real(source, target)

    spool.fs.rename = watch
    home = make_home(spool.fs, tmp_path, "s1", handler.seal(b"salt"))

    assert ["lock", "meta.json"] == seen
    assert None is take_home(spool.fs, tmp_path / "s1")
    home.lock.release()


def test_is_removed_only_with_nothing_of_value_in_it(spool, handler, tmp_path, names):
    """Any file that is not a side file keeps all of it; the lock's file goes last."""
    home = make_home(spool.fs, tmp_path, "s1", handler.seal(b"salt"))
    (home.path / "00000001.seg").touch()

    assert not home.remove_if_empty()
    assert ["00000001.seg", "lock", "meta.json"] == names(home.path)

    (home.path / "00000001.seg").unlink()
    spool.fs.calls.clear()

    assert home.remove_if_empty()
    assert ("unlink", "lock") == spool.fs.calls[-1]
    assert [] == names(tmp_path)
    home.lock.release()


def test_somebody_who_looks_in_meanwhile_stops_only_the_last_step(spool, handler, tmp_path):
    """A claim's draft may stand there for a moment; the empty directory is cleared away later."""
    home = make_home(spool.fs, tmp_path, "s1", handler.seal(b"salt"))

    def refuse(path):
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    spool.fs.remove_directory = refuse

    assert not home.remove_if_empty()
    home.lock.release()
