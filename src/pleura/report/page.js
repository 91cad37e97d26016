// The page: header, summary, tables and gallery of the data in the element "data".
const data = JSON.parse(document.getElementById("data").textContent);
const MAX_ROWS = 200; // of the table, until the button below it is used
const $ = (id) => document.getElementById(id);
const icon = (name) => {
  const node = svgNode("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" });
  node.innerHTML = data.icons[name]; // shapes of figures/icons.json
  return node;
};
const addSection = (id, title, ...inside) => $(id).append(make("h2", { textContent: title }), ...inside);
const scrolling = (title, table) => {
  const box = make("div", { className: "scroll", tabIndex: 0, ariaLabel: title }, table);
  box.setAttribute("role", "region");
  return box;
};
const cell = (text, isNumber) => make("td", { className: isNumber ? "number" : "", textContent: text });
const heading = (text, isNumber = false) =>
  make("th", { scope: "col", className: isNumber ? "number" : "", textContent: text });
const withUnit = ({ label, unit }) => unit ? `${label} (${unit})` : label;
const formatted = (value, column) => value === null || value === undefined ? "–" : (Object.is(value, -0) ? 0 : value)
  .toLocaleString("en", { minimumFractionDigits: column.decimals, maximumFractionDigits: column.decimals });

document.title = data.title;
$("title").textContent = data.title;
$("lead").textContent = data.subtitle;
for (const [name, value] of data.details)
  $("facts").append(make("dt", { textContent: name }), make("dd", { textContent: value }));
for (const { label, value, note, level } of data.tiles)
  $("tiles").append(make("div", { className: `tile ${level}` }, make("span", { className: "small muted", textContent: label }),
    make("strong", { textContent: value }), make("span", { className: "small muted", textContent: note })));
if (data.notices.length)
  addSection("notices", data.notices_title, make("ul", { className: "stack" }, ...data.notices.map(({ text, level }) =>
    make("li", { className: `notice ${level}` }, icon(level || "info"), make("span", { textContent: text })))));
if (data.failures.length)
  addSection("failures", "Failed scans", make("ul", { className: "stack" }, ...data.failures.map(({ name, problem, hint }) =>
    make("li", { className: "notice error" }, icon("error"), make("span", {}, make("strong", { textContent: name }),
      make("br"), problem, ...(hint ? [make("br"), `Hint: ${hint}`] : []))))));
if (data.plots.length) addSection("plots", "Distributions", make("div", { className: "plots" }, ...data.plots.map(plotFigure)));

for (const table of data.statistics) {
  const rows = table.rows.map((texts, i) => {
    const row = make("tr", {}, ...texts.map((text, j) => cell(text, j > 0)));
    if (table.definitions[i]) row.cells[0].append(make("span", { className: "definition", textContent: table.definitions[i] }));
    return row;
  });
  const node = scrolling(table.title, make("table", {},
    make("thead", {}, make("tr", {}, ...table.columns.map((text, j) => heading(text, j > 0)))), make("tbody", {}, ...rows)));
  if (table.folded)
    $("statistics").append(make("details", { className: "table" }, make("summary", { textContent: table.title }), node));
  else addSection("statistics", table.title, node);
}

function card(one) {
  const { image, width, height, paths } = one.picture;
  const picture = make(one.link ? "a" : "div", { className: "picture" },
    make("img", { src: image, width, height, alt: `Slices of ${one.name}` }));
  if (one.link) Object.assign(picture, { href: one.link, title: "Open the full image" });
  if (paths.length)
    picture.append(svgNode("svg", { class: "contours", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
      ...paths.map(([kind, d]) => svgNode("path", { class: kind, d }))));
  const text = make("div", { className: "text" }, make("h3", { textContent: one.name }));
  if (one.source && one.source !== one.name) text.append(make("p", { className: "small muted", textContent: one.source }));
  for (const { title, message } of one.flags)
    text.append(make("p", { className: "small" }, make("span", { className: "badge warning" }, icon("warning"), title), message));
  const known = data.columns.filter(({ key }) => typeof one.values[key] === "number").slice(0, 4);
  if (known.length)
    text.append(make("dl", { className: "facts" }, ...known.flatMap((column) => [make("dt", { textContent: column.label }),
      make("dd", { textContent: [formatted(one.values[column.key], column), column.unit].filter(Boolean).join(" ") })])));
  const opening = viewerLink(one);
  if (opening) text.append(opening);
  const article = make("article", { className: "card case" }, picture, text);
  return article;
}

function viewerLink(one) {
  if (data.viewer)
    return make("a", { href: `${data.viewer}#scan=${encodeURIComponent(one.name)}`, className: "small" }, icon("open"), " Open in the viewer");
  if (!one.command) return null;
  const copy = make("button", { type: "button", className: "icon-button", ariaLabel: "Copy the command", title: "Copy the command" }, icon("copy"));
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(one.command);
    copy.replaceChildren(icon("check"));
  });
  return make("details", {}, make("summary", { textContent: "Open in the viewer" }),
    make("div", { className: "command" }, make("code", { textContent: one.command, tabIndex: 0 }), copy));
}

// The filter acts on the gallery and the table.
const kinds = new Map();
for (const one of data.cases)
  for (const { title } of one.flags) kinds.set(title, (kinds.get(title) ?? 0) + 1);
let [query, kind, order, rowLimit] = ["", null, { column: null, ascending: true }, MAX_ROWS];
const isShown = (one) => (kind === null || one.flags.some(({ title }) => title === kind)) &&
  `${one.name} ${one.source} ${one.flags.map(({ title, message }) => `${title} ${message}`).join(" ")}`.toLowerCase().includes(query);

const cards = data.cases.filter((one) => one.picture).map((one) => [one, card(one)]);
const gallery = make("div", { className: `gallery${data.large_images ? " large" : ""}` }, ...cards.map(([, node]) => node));
const count = make("span", { className: "small count", role: "status" });

function addFilter() {
  const search = make("input", { type: "search", placeholder: "Filter by name or flag", ariaLabel: "Filter by name or flag" });
  search.addEventListener("input", () => { query = search.value.toLowerCase(); update(); });
  const box = make("div", { className: "filter" },
    make("div", { className: "row" }, make("div", { className: "search" }, icon("search"), search), count));
  if (kinds.size > 1 || [...kinds.values()].some((n) => n < data.cases.length)) {
    const buttons = [[null, `All (${data.cases.length})`],
      ...[...kinds].sort((a, b) => b[1] - a[1]).map(([title, n]) => [title, `${title} (${n})`])].map(([title, text]) => {
      const button = make("button", { type: "button", textContent: text, ariaPressed: String(title === kind) });
      button.addEventListener("click", () => {
        kind = title;
        for (const other of buttons) other.ariaPressed = String(other === button);
        update();
      });
      return button;
    });
    box.append(make("fieldset", {}, make("legend", { textContent: "Flags" }), ...buttons));
  }
  addSection("filter", "Filter", box);
}

function contourSwitches() {
  const box = make("div", { className: "row" });
  for (const [name, colours] of [["reference", ["reference"]], ["prediction", ["right", "left", "difference", "validation", "prediction", "training"]]]) {
    if (!data.cases.some((one) => one.picture?.paths.some(([each]) => colours.includes(each)))) continue;
    const input = make("input", { type: "checkbox", checked: true, id: `toggle-${name}` });
    input.addEventListener("change", () => gallery.classList.toggle(`hide-${name}`, !input.checked));
    const shown = colours.filter((colour) => data.cases.some((one) => one.picture?.paths.some(([each]) => each === colour)));
    const keys = shown.map((colour) => {
      const key = make("span", { className: "key" });
      key.style.setProperty("--colour", `var(--${colour})`);
      return key;
    });
    box.append(make("label", { className: "row" }, input, ...keys, `Contour of the ${name}`));
  }
  return box;
}

const columns = [{ key: "name", label: "Name" }, ...data.columns, ...(kinds.size ? [{ key: "flags", label: "Flags" }] : [])];
const isText = ({ key }) => key === "name" || key === "flags";
const sortValue = (one, { key }) => key === "name" ? one.name : key === "flags" ? one.flags.length : one.values[key];
const body = make("tbody");
const more = make("button", { type: "button" });
more.addEventListener("click", () => { rowLimit = Infinity; update(); });
const heads = columns.map((column) => {
  const button = make("button", { type: "button", title: column.definition ?? "" }, withUnit(column), icon("sort"));
  button.addEventListener("click", () => {
    order = { column, ascending: order.column === column ? !order.ascending : true };
    update();
  });
  return make("th", { scope: "col", className: `sortable ${isText(column) ? "" : "number"}` }, button);
});

function compare(a, b) {
  const [x, y] = [a, b].map((one) => sortValue(one, order.column));
  const isUnknown = (value) => value === null || value === undefined;
  if (isUnknown(x) || isUnknown(y)) return isUnknown(x) - isUnknown(y); // unknown values are last
  const difference = typeof x === "number" ? x - y : x.localeCompare(y, "en", { numeric: true });
  return order.ascending ? difference : -difference;
}

function tableCell(one, column) {
  if (column.key === "flags")
    return make("td", { className: "flags" }, ...one.flags.map(({ title, message }) =>
      make("span", { className: "badge warning", textContent: title, title: message })));
  return column.key === "name" ? cell(one.name) : cell(formatted(one.values[column.key], column), true);
}

function update() {
  const shown = data.cases.filter(isShown);
  for (const [one, node] of cards) node.hidden = !isShown(one);
  if (order.column !== null) shown.sort(compare);
  heads.forEach((head, i) => {
    const isSorted = columns[i] === order.column;
    if (isSorted) head.setAttribute("aria-sort", order.ascending ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
    head.querySelector(".icon").replaceWith(icon(!isSorted ? "sort" : order.ascending ? "chevron-up" : "chevron-down"));
  });
  body.replaceChildren(...shown.slice(0, rowLimit).map((one) => make("tr", {}, ...columns.map((column) => tableCell(one, column)))));
  more.hidden = shown.length <= rowLimit;
  more.textContent = `Show all ${shown.length.toLocaleString("en")} rows`;
  count.textContent = `${shown.length.toLocaleString("en")} of ${data.cases.length.toLocaleString("en")} shown`;
}

if (data.cases.length) {
  if (data.cases.length > 1) addFilter();
  if (cards.length) addSection("gallery", data.gallery_title, contourSwitches(), gallery);
  addSection("cases", data.table_title,
    scrolling(data.table_title, make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body)), more);
  update();
}
if (data.methods.length)
  addSection("methods", "Methods", make("div", { className: "methods" }, ...data.methods.map((text) => make("p", { textContent: text }))));
