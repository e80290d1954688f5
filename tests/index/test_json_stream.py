"""Large JSON files read piece by piece, against the standard library."""

import hashlib
import json
import tracemalloc

import pytest

from fmri_lightning.errors import BadInputError
from fmri_lightning.index import json_stream
from fmri_lightning.index.json_stream import JsonStream

CONTENT = {
    "info": {"year": 2017, "about": 'é 猫 \U0001f408 \\ " ] } ,'},
    "empty": [],
    "number": -12.5e-3,
    "numbers": [1, 22, 333.25, -4, 5e10],
    "mixed": [None, True, "a, b]", {"deep": [[1, [2]], {}]}, []],
    "long": [{"text": "x" * 5000, "id": 1}, {"text": "猫" * 3000, "id": 2}],
    "last": 123456,
}


def collected(path):
    found = {}
    stream = JsonStream(path)
    for name, value in stream.entries():
        found.setdefault(name, []).append(value)
    return found, stream.sha256


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize("style", [{}, {"indent": 2}, {"ensure_ascii": False, "separators": (",", ":")}])
def test_entries_are_those_of_the_standard_library(tmp_path, monkeypatch, chunk, style):
    monkeypatch.setattr(json_stream, "CHUNK_BYTES", chunk)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(CONTENT, **style) + "\n", encoding="utf-8")
    found, digest = collected(path)
    assert found == {
        name: value if isinstance(value, list) else [value] for name, value in CONTENT.items() if value != []
    }
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("end", [1, 20, 60, 200, -3, -1])
def test_a_file_that_was_cut_off_is_refused(tmp_path, end):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(CONTENT)[:end])
    with pytest.raises(BadInputError, match=r"a\.json cannot be read as JSON"):
        collected(path)


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", '{"a": 1} {"b": 2}', '{"a" 1}', '{"a": [1 2]}', '{"a": 1,}', "nonsense"]
)
def test_what_is_no_object_is_refused(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(BadInputError, match="cannot be read as JSON"):
        collected(path)


def test_other_encodings_and_missing_files_are_refused(tmp_path):
    (tmp_path / "a.json").write_bytes(b'{"a": "\xff\xfe"}')
    for name in ("a.json", "absent.json"):
        with pytest.raises(BadInputError, match="cannot be read as JSON"):
            collected(tmp_path / name)


def test_an_entry_without_end_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "CHUNK_BYTES", 100)
    monkeypatch.setattr(json_stream, "LONGEST_ENTRY", 1000)
    path = tmp_path / "a.json"
    path.write_text('{"a": ["' + "x" * 1_000_000)
    stream = JsonStream(path)
    with pytest.raises(BadInputError):
        list(stream.entries())
    assert len(stream._text) < 5000


def test_memory_does_not_grow_with_the_file(tmp_path):
    def peak(n):
        path = tmp_path / f"{n}.json"
        path.write_text(json.dumps({"annotations": [{"id": k, "segmentation": [list(range(200))]} for k in range(n)]}))
        tracemalloc.start()
        assert sum(1 for _ in JsonStream(path).entries()) == n
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest, path.stat().st_size

    small, large = peak(1500), peak(12000)
    assert large[1] > 7 * small[1]
    assert large[0] < 1.5 * small[0]
    assert large[0] < large[1]
