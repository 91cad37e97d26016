// Access to the elements of the page.
import icons from "../../figures/icons.json";

export const $ = (id) => document.getElementById(id);

export function createElement(tag, properties = {}, ...children) {
  const { dataset, ...others } = properties;
  const element = Object.assign(document.createElement(tag), others);
  Object.assign(element.dataset, dataset);
  element.append(...children);
  return element;
}

export function createSvg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function createIcon(name) {
  const svg = createSvg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" });
  svg.innerHTML = icons[name]; // of this package
  return svg;
}

export function addIcons() {
  for (const element of document.querySelectorAll("[data-icon]")) element.prepend(createIcon(element.dataset.icon));
}

export function showMessage(text) {
  $("message").textContent = text;
  $("message").classList.remove("error");
}
export function showError(text) {
  $("message").textContent = text;
  $("message").classList.add("error");
}
