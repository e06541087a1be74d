// Highlights, filters and sorts trials; without it the page shows all of them.
(function () {
  "use strict";
  const list = (selector, root) => Array.from((root || document).querySelectorAll(selector));
  const find = (id) => document.getElementById(id);
  list(".scripted").forEach((element) => element.removeAttribute("hidden"));
  if (find("trial-table")) sortByHeads(find("trial-table"));
  if (find("search-data")) explore(JSON.parse(find("search-data").textContent));

  // A head sorts upwards, then downwards; what has no key stays last.
  function sortByHeads(table) {
    const heads = list("thead th", table);
    heads.forEach(function (head, column) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", function () {
        const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
        const rows = list("tbody tr", table);
        rows.sort((one, two) => compare(one.cells[column].dataset.key, two.cells[column].dataset.key, sign));
        table.tBodies[0].append(...rows);
      });
    });
  }

  function compare(one, two, sign) {
    if (one === undefined || two === undefined) return (one === undefined) - (two === undefined);
    const numeric = !Number.isNaN(Number(one)) && !Number.isNaN(Number(two));
    return sign * (numeric ? Number(one) - Number(two) : one < two ? -1 : Number(one > two));
  }

  function explore(data) {
    const { axes, trials, plot } = data;
    const svg = find("parallel-plot");
    const lines = list("#lines .trial").reverse(); // the best first
    const sets = list("#filters fieldset");
    const hint = find("told").textContent;
    const round = (number) => Number(number.toPrecision(4));
    const toScale = (axis, number) => axis.kind === "log" ? Math.log(number) : number;
    const fromScale = (axis, number) => axis.kind === "log" ? Math.exp(number) : number;

    function toY(axis, number) {
      const [bottom, top] = [toScale(axis, axis.bottom), toScale(axis, axis.top)];
      return plot.bottom - (toScale(axis, number) - bottom) / (top - bottom) * (plot.bottom - plot.top);
    }

    function toNumber(axis, y) {
      const share = (plot.bottom - Math.min(plot.bottom, Math.max(plot.top, y))) / (plot.bottom - plot.top);
      const [bottom, top] = [toScale(axis, axis.bottom), toScale(axis, axis.top)];
      return fromScale(axis, bottom + share * (top - bottom));
    }

    // One trial is highlighted, here and in the tables; null: none.
    function light(place) {
      const at = (element) => element.dataset.trial === place;
      list("[data-trial]").forEach((element) => element.classList.toggle("lit", at(element)));
      const line = lines.find(at);
      svg.classList.toggle("dimmed", Boolean(line));
      find("told").textContent = line ? line.getAttribute("aria-label") : hint;
    }

    const placeOf = function (event) {
      const element = event.target.closest("[data-trial]");
      return element ? element.dataset.trial : null;
    };
    const focused = () => document.activeElement && document.activeElement.closest("[data-trial]");
    document.addEventListener("pointerover", function (event) {
      const kept = focused();
      light(placeOf(event) || (kept && kept.dataset.trial) || null);
    });
    document.addEventListener("focusin", (event) => light(placeOf(event)));
    document.addEventListener("focusout", () => light(null));

    // The lines are one stop of the tab key; the arrow keys go from line to line, by score.
    lines.forEach((line, rank) => line.setAttribute("tabindex", rank === 0 ? "0" : "-1"));
    find("lines").addEventListener("keydown", function (event) {
      const shown = lines.filter((line) => !line.classList.contains("out"));
      const here = shown.indexOf(event.target.closest(".trial"));
      const goals = { ArrowDown: here + 1, ArrowRight: here + 1, ArrowUp: here - 1, ArrowLeft: here - 1,
        Home: 0, End: shown.length - 1 };
      if (!(event.key in goals) || here < 0) return;
      event.preventDefault();
      stopAt(shown[Math.min(shown.length - 1, Math.max(0, goals[event.key]))]).focus();
    });

    function stopAt(line) {
      lines.forEach((other) => other.setAttribute("tabindex", other === line ? "0" : "-1"));
      return line;
    }

    // What an axis lets through, as its fields say; null: everything.
    function readFilter(number) {
      const fields = Object.fromEntries(["from", "to", "used", "absent"].map(
        (name) => [name, sets[number].querySelector(`[name="${name}"]`)]));
      const boxes = list('[name="category"]', sets[number]);
      const low = fields.from && fields.from.value !== "" ? Number(fields.from.value) : -Infinity;
      const high = fields.to && fields.to.value !== "" ? Number(fields.to.value) : Infinity;
      const lacking = !fields.absent || fields.absent.checked;
      const allowed = boxes.filter((box) => box.checked).map((box) => Number(box.value));
      const used = !fields.used || fields.used.checked;
      const whole = used && low === -Infinity && high === Infinity && allowed.length === boxes.length;
      if (whole && lacking) return null;
      const lets = (value) => value === null ? Boolean(fields.absent) && lacking
        : boxes.length ? allowed.includes(value) : used && value >= low && value <= high;
      return { low, high, allowed, lets, whole: whole || !used };
    }

    function filter() {
      const filters = axes.map((_, number) => readFilter(number));
      const isIn = (trial) => filters.every((one, number) => !one || one.lets(trial.numbers[number]));
      const kept = new Set(trials.filter(isIn).map((trial) => String(trial.place)));
      lines.forEach((line) => line.classList.toggle("out", !kept.has(line.dataset.trial)));
      list("#trial-table tbody tr").forEach((row) => { row.hidden = !kept.has(row.dataset.trial); });
      const shown = lines.filter((line) => kept.has(line.dataset.trial));
      if (shown.length && !shown.some((line) => line.getAttribute("tabindex") === "0")) stopAt(shown[0]);
      find("kept").textContent = filters.some(Boolean) ? `${shown.length} of ${lines.length} are shown` : "";
      filters.forEach(drawBrushes);
    }

    function drawBrushes(filter, number) {
      const axis = axes[number];
      const room = (plot.bottom - plot.top) / (axis.categories.length || 1) / 2;
      const spans = !filter || filter.whole ? []
        : axis.kind === "category" ? filter.allowed.map((place) => [toY(axis, place) - room, toY(axis, place) + room])
        : [[toY(axis, Math.max(filter.low, Math.min(axis.bottom, axis.top))),
            toY(axis, Math.min(filter.high, Math.max(axis.bottom, axis.top)))].sort((one, two) => one - two)];
      svg.querySelector(`[data-axis="${number}"] .brushes`).replaceChildren(...spans.map(function (span) {
        const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        const shape = { x: axis.x - 7, y: span[0], width: 14, height: Math.max(2, span[1] - span[0]), class: "brush" };
        Object.entries(shape).forEach(([name, value]) => rect.setAttribute(name, value));
        return rect;
      }));
    }

    // A stroke along an axis fills in its fields; a click empties them.
    function brush(number, start, end) {
      const [axis, set] = [axes[number], sets[number]];
      const [high, low] = [Math.min(start, end), Math.max(start, end)];
      const clears = low - high < 4;
      const ends = [toNumber(axis, low), toNumber(axis, high)].sort((one, two) => one - two).map(round);
      const within = (y) => clears || (y >= high && y <= low);
      list('[name="category"]', set).forEach((box) => { box.checked = within(toY(axis, Number(box.value))); });
      list('[name="from"], [name="to"]', set).forEach(function (field, place) {
        field.value = clears || high > plot.bottom ? "" : ends[place];
      });
      list('[name="used"]', set).forEach((box) => { box.checked = clears || high <= plot.bottom; });
      list('[name="absent"]', set).forEach((box) => { box.checked = within(plot.absent); });
      filter();
    }

    list(".brush-area").forEach(function (area, number) {
      const toLocal = (event) => new DOMPoint(event.clientX, event.clientY)
        .matrixTransform(svg.getScreenCTM().inverse()).y;
      let start = null;
      area.addEventListener("pointerdown", function (event) {
        start = toLocal(event);
        area.setPointerCapture(event.pointerId);
        event.preventDefault();
      });
      area.addEventListener("pointermove", (event) => { if (start !== null) brush(number, start, toLocal(event)); });
      area.addEventListener("pointerup", function (event) {
        if (start !== null) brush(number, start, toLocal(event));
        start = null;
      });
      area.addEventListener("pointercancel", () => { start = null; });
    });
    find("filters").addEventListener("input", filter);
    find("filters").addEventListener("reset", () => setTimeout(filter));
    find("filters").addEventListener("submit", (event) => event.preventDefault());
    // An anchor that leads to a line gives it the focus too.
    document.addEventListener("click", function (event) {
      const link = event.target.closest('a[href^="#line-"]');
      if (link) setTimeout(() => stopAt(find(link.hash.slice(1))).focus());
    });
    const scroller = find("parallel-scroll");
    if (scroller.scrollWidth > scroller.clientWidth) scroller.scrollLeft = scroller.scrollWidth;
    filter();
  }
})();
