"use strict";
// The page's content is whole without this. It adds: rows that open, columns that sort, a filter, and print with all opened.
document.documentElement.classList.add("scripted");
document.addEventListener("DOMContentLoaded", () => {
  const table = document.getElementById("stops");
  if (!table) return;
  // In the order that they are shown in.
  let stops = [...table.tBodies];
  const form = document.querySelector("form");
  const status = form.querySelector("[role=status]");
  const nothing = document.getElementById("nothing");
  const more = document.getElementById("more");
  // A browser lays out so many rows at once without being slow; the rest is a click away.
  const PORTION = 100;
  let most = PORTION;

  // Puts what a cell has into a button.
  const button = (cell, attributes) => {
    const button = document.createElement("button");
    button.type = "button";
    for (const [name, value] of Object.entries(attributes)) button.setAttribute(name, value);
    button.append(...cell.childNodes);
    cell.append(button);
    return button;
  };

  // Rows that open. What is in the lower one is a text until it is wanted: escaped once where the page was made, as all of the page.
  const policy = globalThis.trustedTypes?.createPolicy("page", { createHTML: (text) => text });
  const details = (stop) => {
    const text = stop.querySelector("noscript")?.textContent;
    if (text !== undefined) {
      const parsed = new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, "text/html");
      stop.rows[1].cells[0].replaceChildren(...parsed.body.childNodes);
    }
    return stop.querySelector("details");
  };
  const opened = (stop) => stop.rows[1].classList.contains("open");
  const open = (stop, yes) => {
    if (yes) details(stop).open = true;
    stop.rows[1].classList.toggle("open", yes);
    stop.querySelector("button").setAttribute("aria-expanded", String(yes));
  };
  for (const stop of stops) {
    button(stop.rows[0].cells[0], { "aria-expanded": "false", "aria-controls": stop.rows[1].id });
  }
  if (stops.length === 1) open(stops[0], true);
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
    stops = keyed.map(({ stop }) => stop);
    sorted = true;
    most = PORTION;
    show();
  };
  for (const heading of table.tHead.rows[0].cells) {
    button(heading, {}).addEventListener("click", () => sort(heading));
  }

  // The filter. What is searched is put together when it is first asked for.
  let texts;
  const escapes = { amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'" };
  const unescaped = (text) => text.replace(/&(amp|lt|gt|quot|#39);/g, (_, name) => escapes[name]);
  // The page's own words, which are the same in every stop.
  const labels = /<(dt|h3|summary|caption|thead)\b[^>]*>.*?<\/\1>|<b>What to do:<\/b>/gs;
  const text = (stop) => {
    const cells = [...stop.rows[0].cells].map((cell) => cell.textContent);
    // A stop's name as Events have it, and its moment as the API does.
    const pod = `${stop.dataset.namespace}/${stop.querySelector("b").textContent}`;
    const moment = stop.rows[0].querySelector("time")?.dateTime;
    const below = stop.querySelector("noscript")?.textContent ?? stop.rows[1].innerHTML;
    return [...cells, pod, moment, unescaped(below.replace(labels, "\n").replace(/<[^>]*>/g, "\n"))].join("\n").toLowerCase();
  };
  let shown = new Set(stops);
  let sorted = false;
  const show = () => {
    const wanted = form.text.value.toLowerCase().split(/\s+/).filter((word) => word);
    if (wanted.length > 0) texts ??= new Map(stops.map((stop) => [stop, text(stop)]));
    const { outcome, cause, namespace } = form;
    const before = shown;
    shown = new Set();
    let found = 0;
    for (const stop of stops) {
      const is = stop.dataset;
      const yes =
        (!outcome.value || is.outcome === outcome.value) &&
        (!cause.value || is.cause.split(" ").includes(cause.value)) &&
        (!namespace.value || is.namespace === namespace.value) &&
        wanted.every((word) => texts.get(stop).includes(word));
      found += yes;
      if (yes && found <= most) shown.add(stop);
    }
    // Whatever is touched is looked at anew by the browser.
    for (const stop of before) if (!shown.has(stop)) stop.hidden = true;
    for (const stop of shown) if (!before.has(stop)) stop.hidden = false;
    // The order of those that nobody sees does not matter.
    if (sorted) table.append(...shown);
    nothing.hidden = found > 0;
    more.hidden = found <= most;
    const number = new Intl.NumberFormat("en").format;
    const first = found > most ? `the first ${number(most)} shown` : "all shown";
    status.textContent = `${number(found)} of ${number(stops.length)} stops, ${first}`;
  };
  let due = 0;
  const soon = () => {
    cancelAnimationFrame(due);
    due = requestAnimationFrame(() => {
      most = PORTION;
      show();
    });
  };
  form.addEventListener("input", soon);
  // A form's fields have their first values only after its event.
  form.addEventListener("reset", soon);
  form.addEventListener("submit", (event) => event.preventDefault());
  nothing.querySelector("button").addEventListener("click", () => {
    form.reset();
    form.text.focus();
  });
  more.querySelector("button").addEventListener("click", () => {
    const next = stops.filter((stop) => !stop.hidden).at(-1);
    most += PORTION;
    show();
    // Where the new ones begin; the button may be gone.
    next.querySelector("button").focus();
  });
  form.hidden = false;
  show();
  table.classList.add("ready");

  // On paper all is opened, and as it was afterwards.
  let closed = [];
  let before = most;
  addEventListener("beforeprint", () => {
    before = most;
    most = Infinity;
    show();
    for (const stop of stops) if (!stop.hidden) details(stop);
    closed = [...document.querySelectorAll("tbody:not([hidden]) details:not([open])")];
    for (const each of closed) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of closed) each.open = false;
    closed = [];
    most = before;
    show();
  });
});
