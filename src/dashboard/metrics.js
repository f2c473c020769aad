// Reads the Prometheus text format (0.0.4) into sums that a page can show.
//
// What a series lacks is null here and "–" on the page, never NaN or a zero nobody counted.

const LINE = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = { "\\n": "\n", '\\"': '"', "\\\\": "\\" };

function parseValue(text) {
  if (text === "+Inf") return Infinity;
  if (text === "-Inf") return -Infinity;
  return Number(text);
}

function parseLabels(text) {
  const labels = {};
  for (const [, name, value] of (text ?? "").matchAll(LABEL)) {
    labels[name] = value.replace(/\\[n"\\]/g, (escape) => ESCAPES[escape]);
  }
  return labels;
}

/** One scrape of `/metrics`. */
export class Metrics {
  #series = new Map();

  constructor(text) {
    for (const line of text.split("\n")) {
      const match = LINE.exec(line);
      if (!match) continue;
      const value = parseValue(match[3]);
      if (Number.isNaN(value)) continue;
      if (!this.#series.has(match[1])) this.#series.set(match[1], []);
      this.#series.get(match[1]).push({ labels: parseLabels(match[2]), value });
    }
  }

  /** All points of `name`, whatever prefix METRICS_NAMESPACE has put before it. */
  points(name) {
    const found = [];
    for (const [full, points] of this.#series) {
      if (full === name || full.endsWith(`_${name}`)) found.push(...points);
    }
    return found;
  }

  /** The sum over the points that `keep` accepts; null when there is no such series at all. */
  sum(name, keep = () => true) {
    const points = this.points(name);
    if (points.length === 0) return null;
    return points.filter(({ labels }) => keep(labels)).reduce((total, { value }) => total + value, 0);
  }

  /** Sums by the value that `key` makes of the labels, as a Map; empty without the series. */
  groups(name, key) {
    const groups = new Map();
    for (const { labels, value } of this.points(name)) {
      groups.set(key(labels), (groups.get(key(labels)) ?? 0) + value);
    }
    return groups;
  }

  /** A histogram over all its labels: `{count, sum, buckets: [[le, cumulative]]}`, or null. */
  histogram(name) {
    const count = this.sum(`${name}_count`);
    if (count === null) return null;
    const groups = this.groups(`${name}_bucket`, ({ le }) => parseValue(le ?? ""));
    const buckets = [...groups].filter(([le]) => !Number.isNaN(le)).sort(([a], [b]) => a - b);
    return { count, sum: this.sum(`${name}_sum`) ?? 0, buckets };
  }
}

/** What was observed between two states of one histogram; after a restart of the bridge, since that. */
export function observedSince(now, before) {
  if (!before || before.count > now.count) return now;
  const earlier = new Map(before.buckets);
  return {
    count: now.count - before.count,
    sum: now.sum - before.sum,
    buckets: now.buckets.map(([le, n]) => [le, n - (earlier.get(le) ?? 0)]),
  };
}

/** The mean, in the histogram's unit; null when nothing was observed. */
export function mean(histogram) {
  return histogram && histogram.count > 0 ? histogram.sum / histogram.count : null;
}

/** The quantile `q`, interpolated inside its bucket as PromQL does; null when nothing was observed. */
export function quantile(histogram, q) {
  if (!histogram || histogram.count <= 0 || histogram.buckets.length === 0) return null;
  const rank = q * histogram.count;
  let low = 0;
  let below = 0;
  for (const [le, cumulative] of histogram.buckets) {
    if (cumulative >= rank) {
      if (!Number.isFinite(le)) return low;
      const inside = cumulative - below;
      return inside > 0 ? low + ((le - low) * (rank - below)) / inside : le;
    }
    low = le;
    below = cumulative;
  }
  return low;
}
