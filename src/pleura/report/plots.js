// Elements, and plots as SVG.
const make = (name, properties = {}, ...inside) => {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...inside);
  return node;
};
const svgNode = (name, attributes = {}, ...inside) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...inside);
  return node;
};

const SIZE = { width: 420, height: 274, left: 56, right: 24, top: 32, bottom: 54 };

function plotFigure(plot) {
  const { width, height, left, right, top, bottom } = SIZE;
  const [floor, end] = [height - bottom, width - right];
  const atX = (x) => left + (x - plot.x.low) / (plot.x.high - plot.x.low) * (end - left);
  const atY = (y) => floor - (y - plot.y.low) / (plot.y.high - plot.y.low) * (floor - top);
  const text = (x, y, anchor, content, attributes = {}) =>
    svgNode("text", { x, y, "text-anchor": anchor, ...attributes }, content);
  const svg = svgNode("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": description(plot) });
  for (const [value, label] of plot.y.ticks)
    svg.append(svgNode("line", { class: "grid", x1: left, x2: end, y1: atY(value), y2: atY(value) }),
      text(left - 8, atY(value) + 4, "end", label, { class: "tick" }));
  for (const bar of plot.bars)
    svg.append(svgNode("rect", { class: "bar", x: atX(bar.start) + 1, width: Math.max(atX(bar.stop) - atX(bar.start) - 2, 1),
      y: atY(bar.count), height: floor - atY(bar.count) }, svgNode("title", {}, `${bar.label}: ${bar.count}`)));
  plot.lines.forEach(([name, points], i) => svg.append(svgNode("polyline", { class: `line-${i}`,
    points: points.map(([x, y]) => `${atX(x).toFixed(1)},${atY(y).toFixed(1)}`).join(" ") }, svgNode("title", {}, name))));
  for (const [x, y, name] of plot.points)
    svg.append(svgNode("circle", { cx: atX(x), cy: atY(y), r: 3.5 }, svgNode("title", {}, name)));
  plot.levels.forEach(([name, y], i) => svg.append(svgNode("line",
    { class: `level level-${i}`, x1: left, x2: end, y1: atY(y), y2: atY(y) }, svgNode("title", {}, name))));
  svg.append(svgNode("line", { class: "axis", x1: left, x2: end, y1: floor, y2: floor }));
  for (const [value, label] of plot.x.ticks) {
    if (!plot.bars.length || plot.bars.length > plot.x.ticks.length)
      svg.append(svgNode("line", { class: "axis", x1: atX(value), x2: atX(value), y1: floor, y2: floor + 4 }));
    svg.append(text(atX(value), floor + 24, "middle", label, { class: "tick" }));
  }
  svg.append(text((left + end) / 2, height - 6, "middle", plot.x.label), text(4, 12, "start", plot.y.label));
  const figure = make("figure", {}, make("h3", { textContent: plot.title }));
  if (plot.note) figure.append(make("p", { className: "muted small", textContent: plot.note }));
  figure.append(svg);
  const legend = [...(plot.lines.length > 1 ? plot.lines.map(([name], i) => [name, `line-${i}`]) : []),
    ...plot.levels.slice(0, 2).map(([name], i) => [name, `level-${i}`])];
  if (legend.length)
    figure.append(make("div", { className: "legend" }, ...legend.map(([textContent, className]) => make("span", { className, textContent }))));
  return figure;
}

function description(plot) {
  const parts = [`${plot.title}: ${plot.y.label} by ${plot.x.label}`, plot.note];
  parts.push(plot.bars.filter((bar) => bar.count).map((bar) => `${bar.label}: ${bar.count}`).join("; "));
  if (plot.lines.length) parts.push(`lines: ${plot.lines.map(([name]) => name).join(", ")}`);
  if (plot.points.length) parts.push(`${plot.points.length} points`);
  return parts.filter(Boolean).join(". ");
}
