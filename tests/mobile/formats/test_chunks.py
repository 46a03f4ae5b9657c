"""Files are cut along their tensors: every byte once, sizes within bounds, common parts in common chunks."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mobile.formats.chunks import MAX_BYTES, MIN_BYTES, TARGET_BYTES, Span, model_spans, spans
from tests.support.weights import random_weights, save_weights

SIZES = st.integers(0, 40 * TARGET_BYTES)
TENSORS = st.lists(st.builds(Span, st.integers(0, 41 * TARGET_BYTES), st.integers(0, 9 * TARGET_BYTES)), max_size=40)
TFLITE = Path(__file__).parents[2] / "data/models/face_detection_short_range.tflite"


def digests(data, found):
    return [hashlib.sha256(data[span.offset : span.end]).hexdigest() for span in found]


@settings(max_examples=300, deadline=None)
@given(SIZES, TENSORS)
def test_every_byte_is_covered_once_and_sizes_are_within_bounds(size_bytes, tensors):
    found = spans(size_bytes, tensors)
    end = 0
    for span in found:
        assert span.offset == end
        end = span.end
        assert span.length <= MAX_BYTES
        assert span.length >= min(MIN_BYTES, size_bytes)
    assert end == size_bytes
    assert spans(size_bytes, reversed(tensors)) == found


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(MIN_BYTES, 6 * TARGET_BYTES), min_size=1, max_size=12), st.integers(0, 5000))
def test_large_tensors_begin_and_end_chunks(lengths, gap):
    tensors, offset = [], gap
    for length in lengths:
        tensors.append(Span(offset, length))
        offset += length + gap
    ends = {span.end for span in spans(offset, tensors)}
    # What is too small for a chunk of its own stands before the tensor, or after the last one.
    assert {tensor.end for tensor in tensors[:-1]} <= ends


@settings(max_examples=50, deadline=None)
@given(st.integers(2 * TARGET_BYTES, 5 * TARGET_BYTES), st.integers(0, 100_000), st.integers(0, 100_000))
def test_a_tensor_gives_the_same_chunks_wherever_it_lies(length, before, other):
    def inner(offset):
        tensor = Span(offset, length)
        found = spans(offset + length + MIN_BYTES, [tensor])
        return {
            (span.offset - offset, span.length) for span in found if span.offset > offset and span.end <= tensor.end
        }

    assert inner(before) == inner(other) != set()


def weights():
    return random_weights((150_000, 400_000, 90_000, 1_000_000))


def test_one_changed_weight_changes_its_own_chunks_only(tmp_path):
    before, after = weights(), weights()
    after[1] = after[1] + 1
    found = []
    for name, values in (("a.onnx", before), ("b.onnx", after)):
        path = save_weights(tmp_path / name, values)
        data = path.read_bytes()
        (cut,) = model_spans([path])
        found.append(dict(zip(digests(data, cut), cut, strict=True)))
    changed_bytes = sum(span.length for digest, span in found[1].items() if digest not in found[0])
    assert after[1].nbytes <= changed_bytes <= 1.05 * after[1].nbytes


def test_external_data_is_cut_along_its_tensors(tmp_path):
    path = save_weights(tmp_path / "m.onnx", weights(), external=True)
    data = tmp_path / "m.onnx.data"
    own, external = model_spans([path, data])
    assert len(own) == 1
    assert external[-1].end == data.stat().st_size
    assert 600_000 in {span.end for span in external}


def test_a_tflite_model_is_cut_along_its_buffers():
    (found,) = model_spans([TFLITE])
    assert found[-1].end == TFLITE.stat().st_size


def test_other_files_are_cut_by_size(tmp_path):
    for name, data in (("empty", b""), ("text", b"x" * 100), ("large", bytes(5_000_000)), ("half.onnx", b"\x08\x07:")):
        (tmp_path / name).write_bytes(data)
        assert model_spans([tmp_path / name]) == [spans(len(data))]
