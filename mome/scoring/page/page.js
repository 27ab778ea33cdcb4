// A click on a header sorts its table: upwards, then downwards. Numbers sort by value, "-" goes last.
"use strict";

function sortKey(row, column) {
  const cell = row.cells[column];
  return cell === undefined ? "" : cell.dataset.sort ?? cell.textContent.trim();
}

function compare(a, b) {
  const [x, y] = [a, b].map((text) => parseFloat(text.replace(/,/g, "")));
  if (Number.isNaN(x) !== Number.isNaN(y)) return { order: Number.isNaN(x) ? 1 : -1, fixed: true };
  if (Number.isNaN(x)) return { order: a.localeCompare(b, "en", { numeric: true }), fixed: false };
  return { order: x - y, fixed: false };
}

function sortBy(table, column) {
  const header = table.tHead.rows[0].cells[column];
  const direction = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  const sign = direction === "ascending" ? 1 : -1;
  const rows = Array.from(table.tBodies[0].rows);
  rows.sort((one, two) => {
    const found = compare(sortKey(one, column), sortKey(two, column));
    return found.fixed ? found.order : sign * found.order;
  });
  table.tBodies[0].append(...rows);
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", direction);
}

for (const table of document.querySelectorAll("table.sortable")) {
  Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sortBy(table, column));
    header.append(button);
    header.setAttribute("aria-sort", "none");
  });
}

// A link to a part that is folded opens it.
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folded = target?.closest("details");
  if (folded) {
    folded.open = true;
    target.scrollIntoView();
  }
}
window.addEventListener("hashchange", openTarget);
openTarget();
