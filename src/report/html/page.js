"use strict";
// The page's content is whole without this. It adds: rows that open, columns that sort, a filter, and print with all opened.
document.documentElement.classList.add("scripted");
document.addEventListener("DOMContentLoaded", () => {
  const table = document.getElementById("stops");
  if (!table) return;
  const stops = [...table.tBodies];
  const form = document.querySelector("form");
  const status = form.querySelector("[role=status]");
  const nothing = document.getElementById("nothing");

  // Puts what a cell has into a button.
  const button = (cell, attributes) => {
    const button = document.createElement("button");
    button.type = "button";
    for (const [name, value] of Object.entries(attributes)) button.setAttribute(name, value);
    button.append(...cell.childNodes);
    cell.append(button);
    return button;
  };

  // Rows that open.
  const opened = (stop) => stop.rows[1].classList.contains("open");
  const open = (stop, yes) => {
    stop.rows[1].classList.toggle("open", yes);
    stop.querySelector("details").open = yes;
    stop.querySelector("button").setAttribute("aria-expanded", String(yes));
  };
  for (const stop of stops) {
    const yes = stop.rows[1].querySelector("details").open;
    button(stop.rows[0].cells[0], { "aria-expanded": "false", "aria-controls": stop.rows[1].id });
    if (yes) open(stop, true);
  }
  table.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    const stop = row && row.parentNode;
    // Whoever marks text to copy does not mean to open.
    if (stop && stops.includes(stop) && row === stop.rows[0] && getSelection().isCollapsed) open(stop, !opened(stop));
  });

  // Columns that sort: numbers where a cell says so, else words; what is not known is last either way.
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const key = (cell) => {
    const value = cell.dataset.value;
    if (value === undefined) return cell.textContent;
    return value === "" ? "" : Number(value);
  };
  const sort = (heading) => {
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    const turn = ascending ? 1 : -1;
    for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const keyed = stops.map((stop) => ({ stop, key: key(stop.rows[0].cells[heading.cellIndex]) }));
    keyed.sort((a, b) => {
      if (a.key === "" || b.key === "") return (a.key === "") - (b.key === "");
      return turn * (typeof a.key === "number" ? a.key - b.key : compare(a.key, b.key));
    });
    table.append(...keyed.map(({ stop }) => stop));
  };
  for (const heading of table.tHead.rows[0].cells) {
    button(heading, {}).addEventListener("click", () => sort(heading));
  }

  // The filter. What is searched is put together when it is first asked for.
  let texts;
  const text = (stop) => {
    const parts = [stop.rows[0], ...stop.querySelectorAll(".findings, .timeline tbody, .facts")];
    return parts.map((part) => part.textContent).join("\n").toLowerCase();
  };
  const show = () => {
    const wanted = form.text.value.trim().toLowerCase();
    if (wanted) texts ??= stops.map(text);
    const { outcome, cause, namespace } = form;
    let shown = 0;
    stops.forEach((stop, at) => {
      const is = stop.dataset;
      const yes =
        (!outcome.value || is.outcome === outcome.value) &&
        (!cause.value || is.cause.split(" ").includes(cause.value)) &&
        (!namespace.value || is.namespace === namespace.value) &&
        (!wanted || texts[at].includes(wanted));
      stop.hidden = !yes;
      shown += yes;
    });
    nothing.hidden = shown > 0;
    const number = new Intl.NumberFormat("en").format;
    status.textContent = `${number(shown)} of ${number(stops.length)} stops shown`;
  };
  let due = 0;
  const soon = () => {
    cancelAnimationFrame(due);
    due = requestAnimationFrame(show);
  };
  form.addEventListener("input", soon);
  // A form's fields have their first values only after its event.
  form.addEventListener("reset", soon);
  form.addEventListener("submit", (event) => event.preventDefault());
  nothing.querySelector("button").addEventListener("click", () => {
    form.reset();
    form.text.focus();
  });
  form.hidden = false;
  show();

  // On paper all is opened, and as it was afterwards.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("tbody:not([hidden]) details:not([open])")];
    for (const details of closed) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of closed) details.open = false;
    closed = [];
  });
});
