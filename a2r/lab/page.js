"use strict";
const MANY = 20, SHOWN = 10;
const value = (row, i) => row.cells[i]?.textContent.trim() ?? "";
const number = (text) => parseFloat(text.replace("−", "-").replace(/,(?=\d{3})/g, ""));
const NUMBER = /^([+−-]?[\d.,]+(e[+-]?\d+)?( \[.*\])?%?|nan|–|undefined|)$/;
for (const table of document.querySelectorAll("table.sorts")) {
  const body = table.tBodies[0], all = [...table.rows];
  if (!all[0].cells[0].textContent && [...body.rows].every((row, i) => value(row, 0) === String(i))) // pandas' row numbers
    all.forEach((row) => row.deleteCell(0));
  [...all[0].cells].forEach((head, i) => {
    const texts = [...body.rows].map((row) => value(row, i));
    const kind = texts.every((text) => NUMBER.test(text)) ? "n" : texts.every((text) => text.length < 24) ? "short" : "text";
    all.forEach((row) => row.cells[i]?.classList.add(kind));
  });
  const fold = () => [...body.rows].forEach((row, i) => row.classList.toggle("more", i >= SHOWN));
  table.querySelectorAll("thead th").forEach((head, i) => head.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const order = (a, b) => head.classList.contains("n")
      ? (number(value(a, i)) || 0) - (number(value(b, i)) || 0) : value(a, i).localeCompare(value(b, i), undefined, {numeric: true});
    body.append(...[...body.rows].sort((a, b) => up ? order(a, b) : order(b, a)));
    if (body.rows.length > MANY) fold();
  }));
  if (body.rows.length > MANY) {
    fold();
    table.classList.add("folded");
    const button = document.createElement("button");
    const say = () => { button.textContent = table.classList.contains("folded") ? `show all ${body.rows.length} rows` : `show ${SHOWN} rows`; };
    button.addEventListener("click", () => { table.classList.toggle("folded"); say(); });
    say();
    table.after(button);
  }
}
const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
const seen = new IntersectionObserver((entries) => entries.filter((e) => e.isIntersecting).forEach((e) => {
  links.forEach((a) => a.classList.remove("here"));
  links.get(e.target.id)?.classList.add("here");
}), {rootMargin: "0px 0px -80% 0px"});
document.querySelectorAll("header[id], section[id], h3[id]").forEach((part) => seen.observe(part));
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
