// Escapes, overkill and review at any threshold; mvdefect/report/tradeoff.py computes the same.
(function () {
  "use strict";
  const data = JSON.parse(document.getElementById("trade-off-data").textContent);
  const find = (id) => document.getElementById(id);
  const always = new Set(data.always);
  const cuts = listCuts(data.scores, data.threshold);
  const state = { threshold: data.threshold, width: data.reviewWidth, prevalence: data.prevalence };

  // One threshold between each two neighbouring scores: a step moves one photograph.
  function listCuts(scores, threshold) {
    const ranked = Array.from(new Set(scores)).sort((one, two) => one - two);
    const between = ranked.slice(1).map((score, place) => (score + ranked[place]) / 2);
    const all = [data.low, ...between, data.high, threshold];
    return Array.from(new Set(all)).sort((one, two) => one - two);
  }

  function divide(numerator, denominator) {
    return denominator > 0 ? numerator / denominator : NaN;
  }

  function compute(threshold, width, prevalence) {
    const counts = [[0, 0, 0], [0, 0, 0]]; // good, defective: rejected, passed, to a person
    data.scores.forEach(function (score, place) {
      const novel = always.has(place);
      const review = !novel && score >= threshold - width && score < threshold + width;
      counts[data.labels[place]][review ? 2 : novel || score >= threshold ? 0 : 1] += 1;
    });
    const [good, bad] = counts;
    const total = (row) => row[0] + row[1] + row[2];
    const weigh = (ofBad, ofGood) =>
      prevalence * divide(ofBad, total(bad)) + (1 - prevalence) * divide(ofGood, total(good));
    return {
      caught: bad[0], missed: bad[1], reviewed_defective: bad[2],
      rejected_good: good[0], passed_good: good[1], reviewed_good: good[2],
      recall: divide(bad[0], bad[0] + bad[1]),
      false_alarm_rate: divide(good[0], good[0] + good[1]),
      precision: divide(weigh(bad[0], 0), weigh(bad[0], good[0])),
      escape_ppt: 1000 * weigh(bad[1], 0),
      overkill_ppt: 1000 * weigh(0, good[0]),
      review_ppt: 1000 * weigh(bad[2], good[2]),
    };
  }

  const shares = new Set(["recall", "false_alarm_rate", "precision"]);

  function format(name, value) {
    if (Number.isNaN(value)) return "not defined";
    if (name.endsWith("_ppt")) return value.toFixed(2);
    if (!shares.has(name)) return String(value);
    return formatPercent(value);
  }

  function formatPercent(share) {
    const smallest = 1e-6;
    if (share > smallest && share < 0.0095) return Number((100 * share).toPrecision(2)) + "%";
    if (share >= 0.9995 && share < 1 - smallest) return (100 * share).toFixed(2) + "%";
    const fine = (share > smallest && share < 0.0995) || (share > 0.9005 && share < 0.9995);
    return (100 * share).toFixed(fine ? 1 : 0) + "%";
  }

  function formatProbability(score) {
    const probability = 1 / (1 + Math.exp(-score));
    if (probability < 0.0005) return "<0.001";
    return probability >= 0.9995 ? ">0.999" : probability.toFixed(3);
  }

  function show() {
    const found = compute(state.threshold, state.width, state.prevalence);
    document.querySelectorAll("[data-figure]").forEach(function (cell) {
      cell.textContent = format(cell.dataset.figure, found[cell.dataset.figure]);
    });
    const said = formatProbability(state.threshold);
    find("threshold-said").textContent = said + " (score " + state.threshold.toFixed(2) + ")";
    find("threshold").setAttribute("aria-valuetext", "probability " + said);
    const zone = state.width > 0
      ? formatProbability(state.threshold - state.width) + " to " + formatProbability(state.threshold + state.width)
      : "nobody is asked";
    find("review-said").textContent = zone;
    find("review").setAttribute("aria-valuetext", zone);
    const parts = ["escape_ppt", "overkill_ppt", "review_ppt"].map((name) => format(name, found[name]));
    const percent = Number((100 * state.prevalence).toPrecision(4));
    const pieces = ["At a threshold of " + said + " and " + percent + "% defective products, of 1000 products ",
      parts[0], " defective ones escape, ", parts[1], " good ones are rejected and ", parts[2], " go to a person."];
    find("said").replaceChildren(...pieces.map(function (piece, place) {
      if (place % 2 === 0) return piece;
      const bold = document.createElement("b");
      bold.textContent = piece;
      return bold;
    }));
    const place = (score) => 1000 * (score - data.low) / (data.high - data.low);
    find("mark").setAttribute("x1", place(state.threshold));
    find("mark").setAttribute("x2", place(state.threshold));
    find("zone").setAttribute("x", place(state.threshold - state.width));
    find("zone").setAttribute("width", place(state.threshold + state.width) - place(state.threshold - state.width));
  }

  // Arrow keys go to the next threshold that makes a difference; Page keys go ten of them.
  function step(event) {
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 };
    const by = steps[event.key];
    if (by === undefined) return;
    event.preventDefault();
    const here = by > 0 ? cuts.filter((cut) => cut <= state.threshold).length - 1
      : cuts.findIndex((cut) => cut >= state.threshold);
    moveTo(cuts[Math.min(cuts.length - 1, Math.max(0, here + by))]);
  }

  function moveTo(threshold) {
    state.threshold = threshold;
    find("threshold").value = threshold;
    show();
  }

  function takePrevalence() {
    const percent = Number(find("prevalence").value);
    const allowed = percent > 0 && percent < 100;
    find("prevalence").setAttribute("aria-invalid", String(!allowed));
    find("prevalence-fault").textContent = allowed ? "" : "A number between 0 and 100 is needed.";
    if (!allowed) return;
    state.prevalence = percent / 100;
    show();
  }

  function reset() {
    Object.assign(state, { threshold: data.threshold, width: data.reviewWidth, prevalence: data.prevalence });
    find("review").value = state.width;
    find("prevalence").value = Number((100 * state.prevalence).toPrecision(4));
    find("prevalence").setAttribute("aria-invalid", "false");
    find("prevalence-fault").textContent = "";
    moveTo(data.threshold);
  }

  find("threshold").addEventListener("input", function (event) { moveTo(Number(event.target.value)); });
  find("threshold").addEventListener("keydown", step);
  find("review").addEventListener("input", function (event) { state.width = Number(event.target.value); show(); });
  find("prevalence").addEventListener("input", takePrevalence);
  find("reset").addEventListener("click", reset);
  find("controls").addEventListener("submit", function (event) { event.preventDefault(); });
  find("controls").hidden = false;
  reset();
})();
