// Two lines over the last two minutes, as SVG that stretches with its box.

const SVG = "http://www.w3.org/2000/svg";
const SPAN_MS = 120_000;
const WIDTH = 1000;
const HEIGHT = 100;

function shape(name, className, attributes = {}) {
  const made = document.createElementNS(SVG, name);
  made.setAttribute("class", className);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** The next of 1, 2, 5, 10, 20 … that is not below `value`, so that the scale seldom jumps. */
function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((step) => step * power).find((limit) => limit >= value);
}

/** A path through the points; a point without a value breaks it. */
function line(points, x, y) {
  let path = "";
  let pen = "M";
  for (const { at, value } of points) {
    if (value === null) {
      pen = "M";
      continue;
    }
    path += `${pen}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = "L";
  }
  return path;
}

/** The chart in `box`; `push` once per poll. */
export class RateChart {
  #points = [];
  #area = shape("path", "area");
  #in = shape("path", "in");
  #out = shape("path", "out");

  constructor(box) {
    const svg = shape("svg", "", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    for (const y of [0, HEIGHT / 2]) svg.append(shape("line", "grid", { x1: 0, x2: WIDTH, y1: y, y2: y }));
    svg.append(this.#area, this.#in, this.#out);
    box.prepend(svg);
  }

  /** Adds a moment with its two rates (null: unknown), drops what is too old, returns the scale's top. */
  push(at, taken, published) {
    this.#points.push({ at, taken, published });
    this.#points = this.#points.filter((point) => at - point.at <= SPAN_MS + 2000);
    const top = niceCeiling(Math.max(...this.#points.flatMap((p) => [p.taken ?? 0, p.published ?? 0])));
    const x = (when) => WIDTH - ((at - when) / SPAN_MS) * WIDTH;
    const y = (value) => HEIGHT - (value / top) * HEIGHT;
    const intake = this.#points.map((p) => ({ at: p.at, value: p.taken }));
    this.#in.setAttribute("d", line(intake, x, y));
    this.#out.setAttribute("d", line(this.#points.map((p) => ({ at: p.at, value: p.published })), x, y));
    this.#area.setAttribute("d", areaUnder(intake, x, y));
    return top;
  }
}

/** Closes each unbroken run of points down to the axis. */
function areaUnder(points, x, y) {
  const runs = [[]];
  for (const point of points) {
    if (point.value === null) runs.push([]);
    else runs[runs.length - 1].push(point);
  }
  return runs
    .filter((run) => run.length > 1)
    .map((run) => `${line(run, x, y)}L${x(run[run.length - 1].at).toFixed(1)} ${HEIGHT}L${x(run[0].at).toFixed(1)} ${HEIGHT}Z`)
    .join("");
}
