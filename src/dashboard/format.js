// Numbers and durations as people read them. What is unknown is NONE, never NaN.

export const NONE = "–";

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** A count: 12,345, and 1.23M from a million on. */
export function count(value) {
  if (!known(value)) return NONE;
  return Math.abs(value) >= 1e6 ? SHORT.format(value) : WHOLE.format(value);
}

/** A rate per second: one decimal below 10. */
export function rate(value) {
  if (!known(value)) return NONE;
  return value < 9.95 ? value.toFixed(1) : count(value);
}

/** A short duration given in seconds: 0.4 ms, 12 ms, 1.3 s. */
export function latency(seconds) {
  if (!known(seconds)) return NONE;
  const ms = seconds * 1000;
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${seconds.toFixed(1)} s`;
}

/** A long duration given in seconds, in its two largest units: 3 d 4 h, 12 min 5 s. */
export function duration(seconds) {
  if (!known(seconds)) return NONE;
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** How long ago something was, given in seconds, in its largest unit. */
export function age(seconds) {
  if (!known(seconds)) return NONE;
  const s = Math.max(0, Math.floor(seconds));
  if (s < 2) return "just now";
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  return s < 86400 ? `${Math.floor(s / 3600)} h ago` : `${Math.floor(s / 86400)} d ago`;
}
