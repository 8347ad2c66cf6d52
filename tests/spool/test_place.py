"""A directory that will not do is told of in words, before anything is written."""

from __future__ import annotations

import os

import pytest

from defender_logging._pipeline.spool import SpoolError
from defender_logging._pipeline.spool.place import SpoolPlace


def place_at(spool, path):
    return SpoolPlace(spool.fs, path)


def test_checking_changes_nothing(spool, tmp_path, names):
    """A directory that can be made is fine, and is not made."""
    assert None is place_at(spool, tmp_path / "a" / "b").check()
    assert [] == names(tmp_path)


def test_a_file_is_no_directory(spool, tmp_path):
    """Nor can one be made in it; a broken link is none either."""
    (tmp_path / "file").touch()
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")

    assert "is not a directory" in place_at(spool, tmp_path / "file").check()
    assert "is not a directory" in place_at(spool, tmp_path / "file" / "spool").check()
    assert "is not a directory" in place_at(spool, tmp_path / "broken").check()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the administrator may write everywhere")
def test_a_directory_without_permission_will_not_do(spool, tmp_path):
    """To be read, written and made in."""
    (tmp_path / "closed").mkdir(mode=0o500)

    assert "not readable and writable" in place_at(spool, tmp_path / "closed").check()
    assert "is not writable" in place_at(spool, tmp_path / "closed" / "spool").check()


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_a_shared_directory_is_refused(spool, tmp_path, mode):
    """Others could take the streams away; nothing is changed about it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "of others").touch()
    shared.chmod(mode)
    place = place_at(spool, shared)

    assert "other users" in place.check()
    with pytest.raises(SpoolError, match="other users"):
        place.prepare()
    assert mode == shared.stat().st_mode & 0o7777


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_directory_of_the_spool_alone_is_closed_to_others(spool, tmp_path, is_empty):
    """An empty one, or one that the spool has used before."""
    path = tmp_path / "mine"
    if not is_empty:
        place_at(spool, path).prepare()
    path.mkdir(exist_ok=True)
    path.chmod(0o775)
    place = place_at(spool, path)

    assert None is place.check()
    place.prepare()
    assert 0o700 == path.stat().st_mode & 0o777


def test_a_directory_that_others_may_only_read_keeps_its_mode(spool, tmp_path):
    """What the spool makes in there is closed by itself."""
    path = tmp_path / "service"
    path.mkdir()
    (path / "config").touch()
    path.chmod(0o755)
    place_at(spool, path).prepare()

    assert 0o755 == path.stat().st_mode & 0o777


def test_the_directory_may_be_a_symbolic_link(spool, tmp_path, names):
    """It is what an administrator chose; what is in it was not."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    place_at(spool, tmp_path / "link").prepare()

    assert ["salt"] == names(tmp_path / "real")


def test_the_salt_is_made_once(spool, tmp_path):
    """Everyone reads the same, and it is put back if somebody removed it."""
    place = place_at(spool, tmp_path / "spool")
    salt = place.prepare()

    assert 32 == len(salt)
    assert salt == place_at(spool, tmp_path / "spool").prepare()

    (tmp_path / "spool" / "salt").unlink()

    assert salt == place.prepare()
    assert salt == place_at(spool, tmp_path / "spool").prepare()


@pytest.mark.parametrize("content", [b"", b"00ff", b"zz" * 32, b"\xff" * 64])
def test_a_damaged_salt_is_told(spool, tmp_path, content):
    """A new one would make every orphan somebody else's."""
    place = place_at(spool, tmp_path / "spool")
    place.prepare()
    (tmp_path / "spool" / "salt").write_bytes(content)
    with pytest.raises(SpoolError, match="salt' is damaged"):
        place.prepare()
    assert content == (tmp_path / "spool" / "salt").read_bytes()


def test_a_salt_can_be_made_without_hard_links(spool, tmp_path, names):
    """Some file systems have none."""
    spool.fs.fail("link", 1)

    assert 32 == len(place_at(spool, tmp_path / "spool").prepare())
    assert ["salt"] == names(tmp_path / "spool")
