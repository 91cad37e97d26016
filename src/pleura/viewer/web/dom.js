// Access to the elements of the page.
export const $ = (id) => document.getElementById(id);

export function createElement(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties);
}

export function showMessage(text) {
  $("message").textContent = text;
  $("message").classList.remove("error");
}
export function showError(text) {
  $("message").textContent = text;
  $("message").classList.add("error");
}
