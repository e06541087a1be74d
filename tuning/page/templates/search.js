// Sorts the table of trials; without it they stand in the order in which they began.
(function () {
  "use strict";
  const list = (selector, root) => Array.from((root || document).querySelectorAll(selector));
  list(".scripted").forEach((element) => element.removeAttribute("hidden"));
  list("#trial-table").forEach(sortByHeads);

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
})();
