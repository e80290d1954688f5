"""The page's own script, run by node: orders, sides, results, and a whole session without a browser."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from fmri_lightning.evaluation.ratings.key import read_key
from fmri_lightning.evaluation.ratings.sessions import read_sessions

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")

# Enough of a browser for the page: elements that remember what is written to them, and listeners.
BROWSER = """
function element(id) {
  return { id, hidden: true, value: "", textContent: "", listeners: {}, classes: new Set(), open: false,
    classList: { add() {}, remove() {} }, focus() {}, select() {}, click() { globalThis.clicked = this; },
    decode() { return Promise.resolve(); }, querySelector() { return element("details"); },
    addEventListener(name, run) { this.listeners[name] = run; } };
}
function browser(data, storage, words) {
  const found = new Proxy({}, { get: (known, id) => known[id] || (known[id] = element(id)) });
  found.data.textContent = JSON.stringify(data);
  const document = { hidden: false, listeners: {}, addEventListener(name, run) { this.listeners[name] = run; },
    getElementById(id) { return found[id]; }, createElement(name) { return element(name); } };
  let now = 0;
  return { document, found, localStorage: storage, confirm: () => true,
    performance: { now: () => (now += 400.4) }, requestAnimationFrame: (run) => run(), setTimeout: (run) => run(),
    crypto: { getRandomValues: (array) => { array.set(words); return array; } }, Blob, navigator: {},
    URL: { createObjectURL: () => "blob:", revokeObjectURL() {} },
    key(name, more) { document.listeners.keydown({ key: name, preventDefault() {}, ...more }); },
    async settle() { for (let i = 0; i < 9; i += 1) { await Promise.resolve(); await new Promise(setImmediate); } } };
}
function storage(kept) {
  return { getItem(k) { return kept[k] ?? null; }, setItem(k, v) { kept[k] = v; } };
}
"""


@pytest.fixture
def node(written, tmp_path):
    """Run JavaScript beside the page's script, and decode what it returns."""
    script = written.html.rsplit("<script>", 1)[1].split("</script>")[0]
    (tmp_path / "page.js").write_text(script)
    (tmp_path / "data.json").write_text(json.dumps(written.data))

    def call(code):
        file = tmp_path / "run.js"
        head = 'const R = require("./page.js"); const data = require("./data.json");\n' + BROWSER
        file.write_text(f"{head}(async () => {{ {code} }})().then((x) => console.log(JSON.stringify(x)));")
        done = subprocess.run([NODE, file.name], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


def test_order_and_sides_come_from_the_seed_alone(node):
    one, again, other = node("return [R.layout(40, 7), R.layout(40, 7), R.layout(40, 8)];")
    assert one == again != other
    assert sorted(one["order"]) == list(range(40))
    assert one["order"] != other["order"]
    assert one["left"] != other["left"]


def test_orders_and_sides_are_fair(node):
    """Every trial at every place, and each picture on each side, as often as chance has it over 4000 raters."""
    found = node(
        "const all = []; for (let s = 0; s < 4000; s += 1) { all.push(R.layout(8, Math.imul(s, 2654435761) >>> 0)); }"
        " return all;"
    )
    places = np.array([one["order"] for one in found])
    counts = np.stack([np.bincount(places[:, i], minlength=8) for i in range(8)])
    # 500 expected; five standard deviations are 105.
    assert np.abs(counts - 500).max() < 105
    left = np.array([one["left"] for one in found]).mean(axis=0)
    assert np.abs(left - 0.5).max() < 0.04


def test_answers_undo_and_results(node):
    found = node(
        """
        const state = R.newState("p", new Uint32Array([5, 1, 2, 3, 4]));
        const first = R.current(state, 3);
        R.answer(state, 3, "left", 512.6); R.undo(state); R.answer(state, 3, "right", null);
        const half = JSON.parse(R.resultText(state, 3));
        R.answer(state, 3, "left", 1); R.answer(state, 3, "left", 2);
        return [first, half, JSON.parse(R.resultText(state, 3)), R.current(state, 3), R.results(state, 3)];
        """
    )
    first, half, full, after, results = found
    assert half["session"] == "00000001000000020000000300000004"
    assert half["seed"] == 5
    assert half["answers"] == [
        {
            "trial": first["trial"],
            "chosen": first["right"],
            "side": "right",
            "position": 0,
            "time_ms": None,
            "revised": True,
        }
    ]
    assert (half["finished"], full["finished"], after) == (False, True, None)
    assert full == results


def test_a_kept_session_of_another_page_is_not_gone_on_with(node):
    found = node(
        """
        const state = R.newState("p", new Uint32Array([5, 1, 2, 3, 4])); R.answer(state, 3, "left", 1);
        const text = JSON.stringify(state);
        const moved = JSON.stringify({ ...state, seed: 6, answers: [{ trial: 99 }] });
        return [R.restore(text, "p", 3), R.restore(text, "q", 3), R.restore("{", "p", 3), R.restore(null, "p", 3),
          R.restore("null", "p", 3), R.restore(moved, "p", 3)];
        """
    )
    assert found[0]["answers"][0]["side"] == "left"
    assert found[1:] == [None] * 5


def test_a_rater_goes_through_the_page_with_a_reload_on_the_way(node, written, tmp_path):
    """Keys, the mouse, undo, a held key, a reload; the saved file is scored by the key."""
    found = node(
        """
        const store = storage({}), words = [9, 8, 7, 6, 5], shown = [];
        let b = browser(data, store, words);
        R.start(b);
        const before = b.found.intro.hidden;
        b.found.rater.value = " anna ";
        b.found.begin.listeners.submit({ preventDefault() {} });
        b.key("ArrowLeft");  // Nothing is shown yet: not an answer.
        await b.settle();
        b.key("ArrowLeft"); b.key("ArrowLeft"); await b.settle();
        b.key("j", { repeat: true }); b.key("j", { ctrlKey: true });
        b.key("j"); await b.settle();
        b.key("Backspace"); await b.settle();
        b.document.hidden = true; b.document.listeners.visibilitychange(); b.document.hidden = false;
        b.found.right.listeners.click(); await b.settle();
        const count = b.found.count.textContent;
        b = browser(data, store, [1, 1, 1, 1, 1]);
        R.start(b);
        const back = b.found["pause-text"].textContent;
        b.found["go-on"].listeners.click(); await b.settle();
        while (b.found.done.hidden) {
          shown.push([b.found.top.src, b.found["left-image"].src].map((s) => data.images.indexOf(s.split(",")[1])));
          b.key("f"); await b.settle();
        }
        b.found.save.listeners.click();
        return [before, count, back, b.found.text.value, globalThis.clicked.download, shown];
        """
    )
    before, count, back, text, name, shown = found
    assert before is False
    assert count == "3 of 14"
    assert back.startswith("2 of 14")
    assert name == "ratings_00000008.json"
    file = tmp_path / name
    file.write_text(text)
    (session,) = read_sessions([file], read_key(written.key))
    plain = json.loads(text)
    assert (session.rater, plain["finished"], len(session.trial)) == ("anna", True, 14)
    assert [a["side"] for a in plain["answers"]] == ["left", "right"] + ["left"] * 12
    assert [a["revised"] for a in plain["answers"]] == [False, True] + [False] * 12
    assert [a["time_ms"] is None for a in plain["answers"]] == [False, True] + [False] * 12
    # What was recorded as chosen is what stood there.
    for answer, (top, left) in zip(plain["answers"][2:], shown, strict=True):
        listed = written.data["trials"][answer["trial"]]
        assert top == listed[0]
        assert left == listed[1 + answer["chosen"]]
    assert not {"nsd_id", "correct", "check"} & set(plain["answers"][0])
