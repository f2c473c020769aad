// The supervision tree as an indented table. Rows are kept from poll to poll, so that a selection or
// the reading position survives; all data goes in as text, never as markup.

import { NONE, age, count, duration, latency, rate } from "./format.js";

const COLUMNS = ["Actor", "State", "Restarts", "Mailbox", "Handled", "Per second", "Oldest", "Last failure"];
const NUMERIC = new Set(["Restarts", "Handled", "Per second", "Oldest"]);
const STATE_TONES = { running: "good", starting: "warn", restarting: "warn", failed: "bad" };
const BREAKER_TONES = { closed: "", half_open: "warn", open: "bad" };
const RATE_WINDOW_MS = 5000;
const MAILBOX_WARN = 0.5;
const MAILBOX_BAD = 0.9;

/** An element with a class and a text. */
export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** A badge whose tone is told by shape and word as well as by colour. */
export function badge(text, tone = "") {
  const made = element("span", "badge", text);
  made.dataset.tone = tone;
  return made;
}

/** A horizontal bar that is full at a ratio of 1. */
export function fillMeter(meter, ratio, tone = "") {
  meter.dataset.tone = tone;
  meter.style.setProperty("--fill", Math.min(1, Math.max(0, ratio)).toFixed(3));
}

function flatten(node, depth, rows) {
  rows.push({ node, depth });
  for (const child of node.children ?? []) flatten(child, depth + 1, rows);
  return rows;
}

/** The table's body. */
export class ActorTable {
  #body;
  #rows = new Map();
  #handled = new Map();

  constructor(body) {
    this.#body = body;
  }

  /** Shows the tree; `nowMs` is the bridge's clock. Returns how many nodes there are and how many are well. */
  update(root, nowMs) {
    const flat = flatten(root, 0, []);
    const seen = new Set();
    flat.forEach(({ node, depth }, index) => {
      const path = node.path ?? "";
      seen.add(path);
      const row = this.#rows.get(path) ?? this.#makeRow(path);
      this.#fill(row, node, depth, nowMs);
      if (this.#body.children[index] !== row.line) this.#body.insertBefore(row.line, this.#body.children[index] ?? null);
    });
    for (const [path, row] of this.#rows) {
      if (seen.has(path)) continue;
      row.line.remove();
      this.#rows.delete(path);
      this.#handled.delete(path);
    }
    return { actors: flat.length, well: flat.filter(({ node }) => node.state === "running").length };
  }

  #makeRow(path) {
    const line = element("tr");
    line.setAttribute("role", "row");
    const cells = {};
    for (const label of COLUMNS) {
      const cell = element("td", NUMERIC.has(label) ? "num" : "");
      cell.dataset.label = label;
      cell.setAttribute("role", "cell");
      cells[label] = cell;
      line.append(cell);
    }
    const row = { line, cells };
    this.#rows.set(path, row);
    return row;
  }

  #fill({ line, cells }, node, depth, nowMs) {
    const tone = STATE_TONES[node.state] ?? "";
    line.dataset.tone = tone === "good" ? "" : tone;
    cells.Actor.replaceChildren(actorName(node, depth));
    cells.State.replaceChildren(badge(node.state ?? NONE, tone));
    cells.Restarts.textContent = count(node.restarts);
    cells.Restarts.classList.toggle("quiet", !node.restarts);
    cells.Mailbox.replaceChildren(mailbox(node.mailbox));
    cells.Handled.textContent = count(node.handled);
    cells["Per second"].textContent = rate(this.#rate(node, nowMs));
    cells.Oldest.textContent = node.oldest_ms > 0 ? latency(node.oldest_ms / 1000) : NONE;
    cells["Last failure"].textContent = failure(node.last_failure, nowMs);
    cells["Last failure"].className = node.last_failure ? "failure" : "failure quiet";
  }

  #rate({ path, handled }, nowMs) {
    if (typeof handled !== "number") return null;
    const past = (this.#handled.get(path) ?? []).filter(({ at }) => nowMs - at <= RATE_WINDOW_MS);
    past.push({ at: nowMs, handled });
    this.#handled.set(path, past);
    const [first] = past;
    if (nowMs <= first.at) return null;
    return handled < first.handled ? null : ((handled - first.handled) * 1000) / (nowMs - first.at);
  }
}

function actorName(node, depth) {
  const shown = element("span", "actor");
  shown.style.setProperty("--depth", depth);
  if (depth > 0) shown.append(element("span", "twig", "└"));
  const path = node.path || "root";
  const cut = path.lastIndexOf("/") + 1;
  const name = element("span", "name");
  name.append(element("span", "prefix", path.slice(0, cut)), path.slice(cut));
  shown.append(name);
  if (node.kind && node.kind !== path) shown.append(element("span", "muted", node.kind));
  if (typeof node.live === "number") shown.append(badge(`${count(node.live)} live`, node.live > 0 ? "good" : ""));
  if (node.breaker) shown.append(breakerBadge(node.breaker));
  return shown;
}

function breakerBadge({ state, retry_in_ms: retryInMs }) {
  const again = state === "open" && retryInMs > 0 ? `, tries in ${duration(retryInMs / 1000)}` : "";
  return badge(`breaker ${String(state).replace("_", " ")}${again}`, BREAKER_TONES[state] ?? "");
}

function mailbox(box) {
  if (!box || typeof box.depth !== "number") return element("span", "quiet", NONE);
  const shown = element("span", "mailbox");
  const ratio = box.capacity > 0 ? box.depth / box.capacity : 0;
  const meter = element("span", "meter");
  meter.append(element("i"));
  fillMeter(meter, ratio, ratio >= MAILBOX_BAD ? "bad" : ratio >= MAILBOX_WARN ? "warn" : "");
  shown.append(meter, element("span", "", `${count(box.depth)} / ${count(box.capacity)}`));
  return shown;
}

function failure(last, nowMs) {
  if (!last) return NONE;
  const seconds = (nowMs - Date.parse(last.at)) / 1000;
  return Number.isNaN(seconds) ? String(last.reason) : `${last.reason} · ${age(seconds)}`;
}
