"""How a file is built on a device: every byte once and in order, whatever is known of what lies there."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from mobile.push import plan as planning
from mobile.push.content import Chunk, Content, content
from mobile.push.index import Place, decode, encode, key
from mobile.push.plan import Copy, Send, known_places, plan

FOLDER = "/w/store/ab/" + "ab" * 32


def made_of(letters):
    """A file whose chunks are named by letters; equal letters are equal chunks of 1000 times the letter's number."""
    chunks, offset = [], 0
    for letter in letters:
        length = 1000 * (ord(letter) - 96)
        chunks.append(Chunk(offset, length, letter * 64, ""))
        offset += length
    return Content(b"", "m", offset, "f" * 64, tuple(chunks))


def built(passes, files):
    """What the passes make of the files on the device, by the letters of their chunks."""
    return "".join(letter for one in passes for step in one.operations for letter in _letters(step, files))


def _letters(step, files):
    if isinstance(step, Send):
        yield from (chunk.sha256[0] for chunk in step.chunks)
        return
    at = 0
    for chunk in files[step.path].chunks:
        if step.offset <= at and at + chunk.length <= step.offset + step.length:
            yield chunk.sha256[0]
        at += chunk.length


LETTERS = st.text(alphabet="abcdefgh", max_size=40)


@settings(max_examples=300, deadline=None)
@given(LETTERS, st.lists(LETTERS, max_size=4), st.data())
def test_the_file_comes_out_whole(letters, others, data):
    file = made_of(letters)
    files = {f"/d/{number}": made_of(other) for number, other in enumerate(others)}
    known = known_places(
        (key(chunk.length, chunk.sha256), Place(path, chunk.offset))
        for path, one in files.items()
        for chunk in one.chunks
    )
    kept = data.draw(st.integers(0, len(letters)))
    kept_bytes = sum(chunk.length for chunk in file.chunks[:kept])
    passes = plan(file, kept_bytes, known)
    assert built(passes, files) == letters[kept:]
    assert [one.start for one in passes] == [kept_bytes, *(one.end for one in passes[:-1])]
    assert passes[-1].end == file.size_bytes
    for one in passes:
        assert sum(isinstance(step, Send) for step in one.operations) <= 1
        assert one.end - one.start == sum(step.length for step in one.operations)
    sent = {letter for one in passes if one.send for letter in (chunk.sha256[0] for chunk in one.send.chunks)}
    assert sent == set(letters[kept:]) - set("".join(others))


def test_neighbours_are_joined():
    file, other = made_of("abcdefab"), made_of("xabcdz")
    known = known_places((key(chunk.length, chunk.sha256), Place("/d/0", chunk.offset)) for chunk in other.chunks)
    (one,) = plan(file, 0, known)
    first, send, last = one.operations
    assert first == Copy("/d/0", 24_000, 10_000)
    assert [chunk.sha256[0] for chunk in send.chunks] == ["e", "f"]
    assert last == Copy("/d/0", 24_000, 3_000)
    assert one.copied_bytes == 13_000


def test_many_copies_are_several_commands(monkeypatch):
    monkeypatch.setattr(planning, "_ARGUMENTS_BYTES", 500)
    letters = "".join(random.Random(1).choices("abcdefgh", k=60))
    files = {f"/d/{letter}": made_of(letter) for letter in "abcdefgh"}
    known = known_places(
        (key(chunk.length, chunk.sha256), Place(path, 0)) for path, one in files.items() for chunk in one.chunks
    )
    passes = plan(made_of(letters), 0, known)
    assert len(passes) > 4
    assert built(passes, files) == letters


def test_an_empty_or_whole_file_has_one_pass():
    assert [one.operations for one in plan(made_of(""), 0, {})] == [()]
    file = made_of("abc")
    assert [one.operations for one in plan(file, file.size_bytes, {})] == [()]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1, max_size=8), LETTERS), max_size=4))
def test_an_index_says_where_each_chunk_lies(given_files):
    files = [
        Content(b"", name, made_of(letters).size_bytes, "f" * 64, made_of(letters).chunks)
        for name, letters in given_files
    ]
    found = decode(encode(files), FOLDER)
    assert found == [
        (key(chunk.length, chunk.sha256), Place(f"{FOLDER}/{file.name}", chunk.offset))
        for file in files
        for chunk in file.chunks
        if "\0" not in file.name
    ] or any("\0" in file.name for file in files)


def test_names_that_are_not_text_survive_an_index():
    (file,) = [content(b"x" * 10, "\udcff.onnx")]
    ((_, place),) = decode(encode([file]), FOLDER)
    assert place == Place(f"{FOLDER}/\udcff.onnx", 0)
