// The page: asks the bridge once a second and shows what it answers.
//
// All addresses are relative, so the page works under any BASE_PATH. Data goes in as text only.

import { RateChart } from "./chart.js";
import { NONE, age, count, duration, latency, rate } from "./format.js";
import { Metrics, mean, observedSince, quantile } from "./metrics.js";
import { ActorTable, badge, element, fillMeter } from "./tree.js";

const POLL_MS = 1000;
const REQUEST_TIMEOUT_MS = 4000;
const RATE_WINDOW_MS = 3000;
const LATENCY_WINDOW_MS = 60_000;
const FEED_MAX = 5;
const MODES = ["REFLEX", "GUARDIAN", "PATTERN", "HYPOTHESIS"];

const chart = new RateChart(document.getElementById("chart"));
const actors = new ActorTable(document.getElementById("actors"));
const feed = [];
let samples = [];
let lastAnswerAt = null;
let lastUptime = null;

function show(name, text) {
  for (const place of document.querySelectorAll(`[data-text="${name}"]`)) {
    if (place.textContent !== text) place.textContent = text;
  }
}

function showBadge(name, text, tone) {
  const place = document.querySelector(`[data-badge="${name}"]`);
  place.textContent = text;
  place.dataset.tone = tone;
}

function setTone(tile, tone) {
  document.querySelector(`[data-tile="${tile}"]`).dataset.tone = tone;
}

/** One request: `{ok, status, body, serverMs}`; `body` is null when it could not be read. Fails only without an answer. */
async function ask(path, accept) {
  const answer = await fetch(path, {
    headers: { Accept: accept },
    cache: "no-store",
    signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
  });
  const text = await answer.text();
  const serverMs = Date.parse(answer.headers.get("Date") ?? "");
  if (accept === "text/plain") return { ok: answer.ok, status: answer.status, body: answer.ok ? text : null, serverMs };
  try {
    return { ok: answer.ok, status: answer.status, body: JSON.parse(text), serverMs };
  } catch {
    return { ok: answer.ok, status: answer.status, body: null, serverMs };
  }
}

async function askAll() {
  const asked = await Promise.allSettled([
    ask("health", "application/json"),
    ask("ready", "application/json"),
    ask("actors", "application/json"),
    ask("metrics", "application/json"),
    ask("metrics", "text/plain"),
  ]);
  const [health, ready, tree, summary, text] = asked.map(({ value }) => value ?? null);
  return { health, ready, tree, summary, text };
}

/** The bridge's clock where it differs from this machine's by more than the header's rounding. */
function bridgeClock(answers) {
  const serverMs = answers.health?.serverMs;
  return Number.isFinite(serverMs) && Math.abs(serverMs - Date.now()) > 2500 ? serverMs : Date.now();
}

function showHealth(health) {
  const body = health?.ok ? health.body : null;
  show("service", body?.service ?? "Biometric Bridge");
  show("version", body?.version ?? NONE);
  show("uptime", duration(body?.uptime_seconds));
  showBadge("health", body?.status ?? "unknown", { healthy: "good", degraded: "warn" }[body?.status] ?? "");
  document.title = `${body?.service ?? "Biometric Bridge"}${body?.status === "degraded" ? " (degraded)" : ""}`;
  showParts(body?.dependencies ?? {}, body?.thresholds);
}

function showParts(dependencies, thresholds) {
  const lines = Object.entries(dependencies).map(([name, part]) => {
    const line = element("li");
    const tone = { up: "good", ok: "good", healthy: "good", ready: "good", down: "bad", failed: "bad" }[part.state] ?? "warn";
    line.append(element("b", "", name), badge(part.state ?? NONE, tone));
    const facts = [part.kind, typeof part.latency_ms === "number" ? latency(part.latency_ms / 1000) : null, part.detail];
    line.append(element("span", "muted", facts.filter(Boolean).join(" · ")));
    return line;
  });
  if (thresholds?.thresholds_hash) {
    const line = element("li");
    line.append(element("b", "", "thresholds"), element("span", "muted", String(thresholds.thresholds_hash).slice(0, 12)));
    if (thresholds.last_refusal) line.append(badge("last change refused", "warn"));
    lines.push(line);
  }
  if (lines.length === 0) lines.push(element("li", "muted", NONE));
  document.getElementById("parts").replaceChildren(...lines);
}

function showReady(ready) {
  const isReady = ready?.ok === true;
  showBadge("ready", ready === null ? "unknown" : isReady ? "ready" : "not ready", ready === null ? "" : isReady ? "good" : "bad");
  return ready === null || isReady ? [] : [ready.body?.reasons ?? ready.body?.detail ?? []].flat().map(reasonText);
}

function reasonText(reason) {
  return typeof reason === "string" ? reason : reason?.detail ?? reason?.reason ?? JSON.stringify(reason);
}

/** One line about what is wrong, announced only when it changes. */
function showNotice(text, tone) {
  const notice = document.getElementById("notice");
  if (notice.textContent === text && notice.hidden === (text === "")) return;
  notice.hidden = text === "";
  notice.dataset.tone = tone;
  notice.textContent = text;
}

function takeSample(at, metrics, summary) {
  return {
    at,
    taken: metrics?.sum("webhook_events_total") ?? summary?.processed_webhooks_total ?? null,
    published: summary?.kafka_events_sent ?? null,
    answers: metrics?.histogram("webhook_process_duration_seconds") ?? null,
    switches: switchCounts(metrics),
  };
}

/** Switches by `from NUL to NUL reason`; null while the bridge has no such series. */
function switchCounts(metrics) {
  const counts = metrics?.groups("mode_switches_total", (l) => [l.from_mode, l.to_mode, l.reason].join("\u0000"));
  return counts?.size > 0 ? counts : null;
}

/** The growth per second of a counter from `before` to `now`; null across a restart or without both. */
function growth(now, before, field) {
  if (!before || now.at <= before.at || now[field] === null || before[field] === null) return null;
  return now[field] < before[field] ? null : ((now[field] - before[field]) * 1000) / (now.at - before.at);
}

function showFlow(now) {
  const previous = samples.at(-1);
  const recent = samples.find(({ at }) => now.at - at <= RATE_WINDOW_MS + POLL_MS / 2) ?? previous;
  const taken = growth(now, recent, "taken");
  const published = growth(now, recent, "published");
  show("rate", rate(taken));
  show("rate_in", rate(taken));
  show("rate_out", rate(published));
  const top = chart.push(now.at, taken, published);
  show("chart_max", `${count(top)}/s`);
  document.getElementById("chart").setAttribute("aria-label", `Events per second over the last two minutes; now ${rate(taken)}`);
}

function showCounters(now, metrics, summary) {
  const minute = samples.find(({ at }) => now.at - at <= LATENCY_WINDOW_MS);
  const observed = now.answers && observedSince(now.answers, minute?.answers);
  show("deliveries", count(summary?.processed_webhooks_total ?? null));
  show("answers", count(now.answers?.count ?? null));
  show("answer_mean", latency(mean(observed)));
  show("answer_p99", latency(quantile(observed, 0.99)));
  showFailures(metrics);
  const backlog = metrics?.sum("outbox_depth") ?? null;
  const lag = metrics?.sum("kafka_consumer_lag_messages") ?? null;
  const dead = metrics?.sum("dlq_depth") ?? null;
  show("backlog", count(backlog));
  show("lag", count(lag));
  show("dead", count(dead));
  show("applied", count(metrics?.sum("kafka_messages_processed_total", (l) => l.status === "applied") ?? null));
  setTone("backlog", backlog > 10_000 ? "warn" : "");
  setTone("lag", lag > 10_000 ? "warn" : "");
  setTone("dead", dead > 0 ? "warn" : "");
  showSlots(metrics);
  const saves = metrics?.histogram("checkpoint_save_seconds") ?? null;
  show("checkpoints", count(saves?.count ?? null));
  show("checkpoint_mean", latency(mean(saves)));
}

/** Duplicates are told from errors by `error_type`; a repeat that the log's reader skipped counts as one too. */
function showFailures(metrics) {
  const kinds = metrics?.groups("webhook_events_failed_total", (l) => l.error_type) ?? new Map();
  const repeated = metrics?.sum("kafka_messages_processed_total", (l) => l.status === "duplicate") ?? null;
  const known = metrics?.sum("webhook_events_failed_total") ?? null;
  const duplicates = kinds.get("duplicate_event") ?? 0;
  const errors = known === null ? null : known - duplicates;
  show("duplicates", count(known === null && repeated === null ? null : duplicates + (repeated ?? 0)));
  show("errors", count(errors));
  setTone("errors", errors > 0 ? "warn" : "");
  kinds.delete("duplicate_event");
  const [worst] = [...kinds].sort(([, a], [, b]) => b - a);
  show("error_kind", worst?.[1] > 0 ? `mostly ${String(worst[0]).replaceAll("_", " ")}` : "webhooks that failed");
}

function showSlots(metrics) {
  const slots = metrics?.groups("semaphore_slots", (l) => l.state) ?? new Map();
  const [used, free] = [slots.get("used"), slots.get("free")];
  const all = (used ?? 0) + (free ?? 0);
  show("slots", used === undefined ? NONE : `${count(used)} / ${count(all)}`);
  show("slots_waiting", count(slots.get("waiting")));
  const ratio = all > 0 ? (used ?? 0) / all : 0;
  fillMeter(document.querySelector('[data-meter="slots"]'), ratio, ratio >= 0.9 ? "bad" : ratio >= 0.6 ? "warn" : "");
}

function showModes(now) {
  const totals = new Map(MODES.map((mode) => [mode, 0]));
  for (const [key, n] of now.switches ?? []) {
    const to = key.split("\u0000")[1];
    totals.set(to, (totals.get(to) ?? 0) + n);
  }
  const known = now.switches !== null;
  const all = [...totals.values()].reduce((sum, n) => sum + n, 0);
  show("switches", known ? count(all) : NONE);
  const list = document.getElementById("modes");
  list.replaceChildren(...[...totals].map(([mode, n]) => {
    const line = element("li");
    const meter = element("span", "meter");
    meter.append(element("i"));
    line.dataset.mode = mode;
    fillMeter(meter, all > 0 ? n / all : 0);
    line.append(modeName(mode), meter, element("b", "", known ? count(n) : NONE));
    return line;
  }));
}

function modeName(mode) {
  const name = element("span", "mode", mode);
  name.dataset.mode = mode;
  return name;
}

/** What the counters of switches gained since the last poll, newest first. */
function showFeed(now) {
  const before = samples.at(-1)?.switches;
  if (samples.length > 0 && now.switches) {
    for (const [key, n] of now.switches) {
      const gained = n - (before?.get(key) ?? 0);
      if (gained > 0) feed.unshift({ at: now.at, key, gained });
    }
    feed.length = Math.min(feed.length, FEED_MAX);
  }
  if (feed.length === 0) return;
  document.getElementById("feed").replaceChildren(...feed.map(({ at, key, gained }) => {
    const [from, to, reason] = key.split("\u0000");
    const line = element("li");
    const what = element("span");
    what.append(modeName(to), ` from ${from}${gained > 1 ? ` ×${count(gained)}` : ""}`, element("span", "muted", ` ${reason}`));
    line.append(what, element("span", "muted", age((now.at - at) / 1000)));
    return line;
  }));
}

function showTree(tree, nowMs) {
  const root = tree?.ok ? tree.body?.root : null;
  if (!root) return show("actor_summary", "the tree could not be read");
  const { actors: all, well } = actors.update(root, nowMs);
  show("actor_summary", well === all ? `${count(all)} shown, all running` : `${count(all)} shown, ${count(all - well)} not running`);
}

function showLost(nowMs) {
  document.body.dataset.link = "lost";
  showBadge("link", "connection lost", "bad");
  showBadge("health", "unknown", "");
  showBadge("ready", "unknown", "");
  const since = lastAnswerAt === null ? "It has not answered since this page was opened." : `What is shown is from ${new Date(lastAnswerAt).toLocaleTimeString()}.`;
  showNotice(`The bridge does not answer. ${since} Asking again every second.`, "bad");
  chart.push(nowMs, null, null);
}

function showAll(answers) {
  const at = Date.now();
  if (!answers.health && !answers.ready && !answers.tree) return showLost(at);
  lastAnswerAt = at;
  document.body.dataset.link = "live";
  showBadge("link", "live", "good");
  showHealth(answers.health);
  const reasons = showReady(answers.ready);
  showNotice(reasons.length > 0 ? `Not ready: ${reasons.join("; ")}` : "", "warn");
  forgetAfterRestart(answers.health?.body?.uptime_seconds);
  const metrics = answers.text?.body ? new Metrics(answers.text.body) : null;
  const summary = answers.summary?.ok ? answers.summary.body : null;
  const now = takeSample(at, metrics, summary);
  showFlow(now);
  showCounters(now, metrics, summary);
  showModes(now);
  showFeed(now);
  showTree(answers.tree, bridgeClock(answers));
  samples = [...samples.filter((sample) => at - sample.at <= LATENCY_WINDOW_MS), now];
}

/** Counters start over with the process: differences across that would be nonsense. */
function forgetAfterRestart(uptime) {
  if (typeof uptime !== "number") return;
  if (lastUptime !== null && uptime < lastUptime) samples = [];
  lastUptime = uptime;
}

/** One poll after the other, never two at once; none while nobody looks. */
async function poll() {
  if (!document.hidden) showAll(await askAll());
  setTimeout(poll, POLL_MS);
}

poll();
