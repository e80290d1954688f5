"use strict";
const Ratings = (function () {
  const FORMAT = "fmri-lightning ratings 1";
  const BLANK_MS = 250;

  /** Random numbers in [0, 1) from a 32-bit seed (mulberry32), so that a session can be laid out again. */
  function generator(seed) {
    let state = seed >>> 0;
    return function () {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = state;
      t = Math.imul(t ^ (t >>> 15), t | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  /** Order of n trials, and which of its two pictures stands left in each of them. */
  function layout(n, seed) {
    const random = generator(seed);
    const order = Array.from({ length: n }, function (_, i) { return i; });
    for (let i = n - 1; i > 0; i -= 1) {
      const j = Math.floor(random() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    const left = Array.from({ length: n }, function () { return random() < 0.5 ? 0 : 1; });
    return { order: order, left: left };
  }

  /** A session that has answered nothing; words are five random 32-bit numbers. */
  function newState(page, words) {
    const hex = Array.from(words).slice(1, 5).map(function (word) { return (word >>> 0).toString(16).padStart(8, "0"); });
    return { page: page, session: hex.join(""), seed: words[0] >>> 0, rater: "", started: false, answers: [], revised: [] };
  }

  /** The trial to ask next, or null when all are answered. */
  function current(state, n) {
    const position = state.answers.length;
    if (position >= n) { return null; }
    const found = layout(n, state.seed);
    const trial = found.order[position];
    return { trial: trial, left: found.left[trial], right: 1 - found.left[trial], position: position };
  }

  /** Record the choice of a side, "left" or "right"; timeMs is null when it could not be measured. */
  function answer(state, n, side, timeMs) {
    const asked = current(state, n);
    state.answers.push({
      trial: asked.trial, chosen: asked[side], side: side, position: asked.position,
      time_ms: timeMs === null ? null : Math.round(timeMs), revised: state.revised.includes(asked.trial),
    });
  }

  /** Take the last answer back; the trial is asked again and its answer marked as revised. */
  function undo(state) {
    const last = state.answers.pop();
    if (last !== undefined && !state.revised.includes(last.trial)) { state.revised.push(last.trial); }
  }

  /** What is saved. */
  function results(state, n) {
    return {
      format: FORMAT, page: state.page, session: state.session, seed: state.seed, rater: state.rater.trim(),
      n_trials: n, finished: state.answers.length === n, answers: state.answers,
    };
  }

  /** Text of the saved file: one line a trial. */
  function resultText(state, n) {
    const all = results(state, n);
    const lines = all.answers.map(function (one) { return "  " + JSON.stringify(one); });
    delete all.answers;
    const head = JSON.stringify(all, null, 1).slice(0, -2);
    return head + ',\n "answers": [' + (lines.length ? "\n" + lines.join(",\n") + "\n " : "") + "]\n}\n";
  }

  /** A kept session, or null when the text is none of this page. */
  function restore(text, page, n) {
    let state;
    try { state = JSON.parse(text); } catch (error) { return null; }
    if (state === null || typeof state !== "object" || state.page !== page || !Array.isArray(state.answers)) { return null; }
    if (typeof state.session !== "string" || typeof state.seed !== "number" || typeof state.rater !== "string") { return null; }
    if (!Array.isArray(state.revised) || state.answers.length > n) { return null; }
    const order = layout(n, state.seed).order;
    const fits = state.answers.every(function (one, i) { return one.trial === order[i]; });
    return fits ? state : null;
  }

  /** The side that a key chooses, or null. */
  function sideOfKey(key) {
    if (key === "ArrowLeft" || key === "f" || key === "F") { return "left"; }
    if (key === "ArrowRight" || key === "j" || key === "J") { return "right"; }
    return null;
  }

  /** Run the page. */
  function start(window) {
    const document = window.document;
    const $ = function (id) { return document.getElementById(id); };
    const data = JSON.parse($("data").textContent);
    const n = data.trials.length;
    const slot = "fmri-lightning-ratings-" + data.page;
    let state, asked = null, ready = false, shownAt = 0, looked = true, keeps = true;

    function fresh() { return newState(data.page, window.crypto.getRandomValues(new Uint32Array(5))); }
    function keep() {
      try { window.localStorage.setItem(slot, JSON.stringify(state)); } catch (error) { keeps = false; }
    }
    function kept() {
      try { return window.localStorage.getItem(slot); } catch (error) { return null; }
    }
    function show(name, focus) {
      for (const id of ["intro", "trial", "pause", "done"]) { $(id).hidden = id !== name; }
      asked = name === "trial" ? asked : null;
      ready = false;
      $(focus).focus();
    }
    function url(number) { return "data:image/jpeg;base64," + data.images[number]; }

    async function ask() {
      asked = current(state, n);
      if (asked === null) { finish(); return; }
      const now = asked;
      if ($("trial").hidden) { show("trial", "question"); asked = now; }
      ready = false;
      $("stage").classList.add("blank");
      $("bar").value = now.position;
      $("count").textContent = (now.position + 1) + " of " + n;
      $("undo").disabled = now.position === 0;
      const pictures = data.trials[now.trial];
      $("top").src = url(pictures[0]);
      $("left-image").src = url(pictures[1 + now.left]);
      $("right-image").src = url(pictures[1 + now.right]);
      const decoded = ["top", "left-image", "right-image"].map(function (id) { return $(id).decode(); });
      const gap = new Promise(function (resolve) { window.setTimeout(resolve, BLANK_MS); });
      await Promise.allSettled([...decoded, gap]);
      if (asked !== now) { return; }
      $("stage").classList.remove("blank");
      looked = !document.hidden;
      ready = true;
      shownAt = window.performance.now();
      window.requestAnimationFrame(function () { if (asked === now) { shownAt = window.performance.now(); } });
    }

    function choose(side) {
      if (!ready || asked === null) { return; }
      answer(state, n, side, looked ? Math.max(0, window.performance.now() - shownAt) : null);
      keep();
      const count = state.answers.length;
      if (count < n && count % data.breakEvery === 0 && n - count > data.breakEvery / 4) { rest(false); } else { ask(); }
    }

    function takeBack() {
      if (asked === null || state.answers.length === 0) { return; }
      undo(state);
      keep();
      ask();
    }

    function rest(returned) {
      $("pause-title").textContent = returned ? "Welcome back" : "Time for a break";
      $("pause-text").textContent = state.answers.length + " of " + n + " trials are answered. "
        + (returned ? "Your answers are kept; go on when you are ready." : "Rest your eyes; no time is measured here.");
      show("pause", "go-on");
    }

    function finish() {
      const count = state.answers.length;
      $("done-title").textContent = count === n ? "Thank you" : "Stopped for now";
      $("done-text").textContent = (count === n ? "All " + n + " trials are answered. " : count + " of " + n + " trials are answered. ")
        + "Please save the results and give the file to the person who asked you.";
      $("resume").hidden = count === n;
      $("text").value = resultText(state, n);
      $("said").textContent = "";
      show("done", "done-title");
    }

    function save() {
      const file = new window.Blob([$("text").value], { type: "application/json" });
      const link = document.createElement("a");
      link.href = window.URL.createObjectURL(file);
      link.download = "ratings_" + state.session.slice(0, 8) + ".json";
      link.click();
      window.setTimeout(function () { window.URL.revokeObjectURL(link.href); }, 60000);
      $("said").textContent = "Saved as " + link.download + ", among your downloads.";
    }

    async function copy() {
      try {
        await window.navigator.clipboard.writeText($("text").value);
        $("said").textContent = "Copied.";
      } catch (error) {
        $("done").querySelector("details").open = true;
        $("text").select();
        $("said").textContent = "The results are marked below: copy them with Ctrl+C or ⌘C.";
      }
    }

    function anew() {
      if (!window.confirm("The answers shown here are erased from this browser. Have they been saved?")) { return; }
      state = fresh();
      keep();
      $("rater").value = "";
      show("intro", "intro-title");
    }

    $("begin").addEventListener("submit", function (event) {
      event.preventDefault();
      state.rater = $("rater").value;
      state.started = true;
      keep();
      ask();
    });
    $("left").addEventListener("click", function () { choose("left"); });
    $("right").addEventListener("click", function () { choose("right"); });
    $("undo").addEventListener("click", takeBack);
    $("stop").addEventListener("click", finish);
    $("go-on").addEventListener("click", ask);
    $("resume").addEventListener("click", ask);
    $("save").addEventListener("click", save);
    $("copy").addEventListener("click", copy);
    $("anew").addEventListener("click", anew);
    document.addEventListener("visibilitychange", function () { looked = looked && !document.hidden; });
    document.addEventListener("keydown", function (event) {
      if (asked === null || event.ctrlKey || event.altKey || event.metaKey) { return; }
      const side = sideOfKey(event.key);
      // A key that is held down answers once.
      if (event.repeat) { if (side !== null || event.key === "Enter" || event.key === " ") { event.preventDefault(); } return; }
      if (side !== null) { event.preventDefault(); choose(side); }
      if (event.key === "Backspace") { event.preventDefault(); takeBack(); }
    });

    state = restore(kept(), data.page, n);
    if (state === null) { state = fresh(); keep(); }
    $("no-storage").hidden = keeps;
    if (state.answers.length === n) { finish(); } else if (state.started) { rest(true); } else { show("intro", "intro-title"); }
  }

  return { generator, layout, newState, current, answer, undo, results, resultText, restore, sideOfKey, start };
})();
if (typeof module !== "undefined") { module.exports = Ratings; }
if (typeof window !== "undefined" && typeof document !== "undefined") { Ratings.start(window); }
