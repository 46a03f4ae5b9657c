"""device_agents/sensors/files.py: reading one attribute through everything that can be wrong with it."""

from __future__ import annotations

import errno
import os

import pytest

from device_agents.sensors.files import (
    MAX_LABEL_CHARS,
    Attribute,
    SensorError,
    folder,
    natural,
    read_label,
    read_number,
    read_text,
    under,
)


def test_reads_a_number_again_and_again(tmp_path):
    path = tmp_path / "temp"
    path.write_text("50468\n")
    attribute = Attribute(str(path))
    assert attribute.read() == 50468
    path.write_text("-392\n")
    assert attribute.read() == -392
    attribute.close()


def test_a_sysfs_attribute_stays_open_and_is_read_at_offset_zero():
    # The kernel shows its own attributes on every Linux: this one is one page "long", like all of sysfs.
    attribute = Attribute("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    if not os.path.exists(attribute.path):
        attribute = Attribute("/sys/kernel/uevent_seqnum")
    first = attribute.read()
    opened = attribute._descriptor
    assert opened >= 0
    assert attribute.read() >= min(first, 0)
    assert attribute._descriptor == opened
    attribute.close()
    with pytest.raises(OSError):
        os.fstat(opened)


def test_a_file_that_vanishes_and_comes_back(tmp_path):
    path = tmp_path / "temp"
    path.write_text("1\n")
    attribute = Attribute(str(path))
    assert attribute.read() == 1
    path.unlink()
    with pytest.raises(SensorError, match="gone"):
        attribute.read()
    path.write_text("2\n")
    assert attribute.read() == 2


@pytest.mark.parametrize(
    "number, words", [(errno.EIO, "does not answer"), (errno.EAGAIN, "not available now"), (errno.ENODEV, "gone")]
)
def test_a_device_that_fails_in_the_middle_is_reopened_once(monkeypatch, number, words):
    attribute = Attribute("/sys/kernel/uevent_seqnum")
    attribute.read()
    assert attribute._descriptor >= 0
    opened, real_open = [], os.open

    def failing(*arguments):
        raise OSError(number, os.strerror(number))

    def counting(*arguments, **options):
        opened.append(arguments[0])
        return real_open(*arguments, **options)

    monkeypatch.setattr(os, "pread", failing)
    monkeypatch.setattr(os, "open", counting)
    with pytest.raises(SensorError, match=words) as caught:
        attribute.read()
    assert not caught.value.lasting
    assert opened == [attribute.path]
    monkeypatch.undo()
    assert attribute.read() >= 0  # it came back
    attribute.close()


@pytest.mark.parametrize("content", [b"", b"\n", b"abc\n", b"\xff\xfe\x00", b"1 2\n", b"9" * 4096, b"0x10\n", b"1.5\n"])
def test_content_that_is_no_number_says_so(tmp_path, content):
    path = tmp_path / "value"
    path.write_bytes(content)
    with pytest.raises(SensorError, match="not a number") as caught:
        read_number(str(path))
    assert caught.value.lasting


def test_things_that_are_no_files_do_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "folder", "loop", "nothing"):
        with pytest.raises(SensorError):
            read_number(str(tmp_path / name))
        assert not read_text(str(tmp_path / name))
    assert read_text("a\0b") is None


def test_labels_are_printable_and_short(tmp_path):
    path = tmp_path / "label"
    path.write_bytes(b"\x1b[31mVDD\x00_IN\xff\nsecond line" + b"x" * 9999)
    assert read_label(str(path)) == "[31mVDD _IN"
    path.write_bytes(b"y" * 500)
    assert read_label(str(path)) == "y" * MAX_LABEL_CHARS
    path.write_bytes(b"\xff\xfe")
    assert read_label(str(path)) is None
    assert read_label(str(tmp_path / "none")) is None


def test_text_is_bounded(tmp_path):
    path = tmp_path / "big"
    path.write_bytes(b"z" * 200_000)
    assert len(read_text(str(path)) or "") == 64 * 1024


def test_folders_come_in_natural_order(tmp_path):
    for name in ("zone10", "zone2", "zone1", "abc", "1"):
        (tmp_path / name).touch()
    assert folder(str(tmp_path)) == ["1", "abc", "zone1", "zone2", "zone10"]
    assert folder(str(tmp_path / "none")) == []
    assert natural("a2b") < natural("a10b")


def test_under_a_root():
    assert under("/", "/sys/x") == "/sys/x"
    assert under("/tree", "/sys/x") == "/tree/sys/x"
