// Sorting of tables marked "sortable", by click or keyboard. Without this script the page reads the same.
"use strict";

function keyOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  return { text, number: text === "" ? NaN : Number(text) };
}

function compare(a, b, sign) {
  if (a.text === "" || b.text === "") return (a.text === "") - (b.text === ""); // unmeasured stays last
  if (!Number.isNaN(a.number) && !Number.isNaN(b.number)) return sign * (a.number > b.number || -(a.number < b.number));
  return sign * a.text.localeCompare(b.text);
}

function sort(table, header) {
  const first = header.dataset.first ?? "ascending"; // the better end of a column comes up first
  const second = first === "ascending" ? "descending" : "ascending";
  const direction = header.getAttribute("aria-sort") === first ? second : first;
  for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  for (const body of table.tBodies) {
    const fixed = [...body.rows].filter((row) => "fixed" in row.dataset);
    const rows = [...body.rows].filter((row) => !("fixed" in row.dataset));
    rows.sort((a, b) => compare(keyOf(a, header.cellIndex), keyOf(b, header.cellIndex), sign));
    body.append(...fixed, ...rows);
  }
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const header of table.querySelectorAll("thead th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(table, header));
    header.append(button);
  }
}
