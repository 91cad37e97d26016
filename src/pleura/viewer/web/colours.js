// Colours of labels, from the variables of design.css, which repeat pleura/figures/palette.py.
export function rgb(name) {
  const value = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  return [1, 3, 5].map((i) => parseInt(value.slice(i, i + 2), 16));
}

// Return a colour map of NiiVue: label 0 is transparent, and then one label per colour.
export function labelColourMap(names, alphas) {
  const colours = [[0, 0, 0], ...names.map(rgb)];
  const [R, G, B] = [0, 1, 2].map((channel) => colours.map((colour) => colour[channel]));
  return { R, G, B, A: [0, ...alphas], labels: ["", ...names] };
}
