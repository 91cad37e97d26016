// Accessible names that the theme leaves out or that differ from the visible text (WCAG 2.5.3, 4.1.2).
document.addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll(".search-button-field"))
    button.setAttribute("aria-label", button.textContent.replace(/\s+/g, " ").trim());
  for (const summary of document.querySelectorAll("summary:has(.toctree-toggle)"))
    summary.setAttribute("aria-label", "Subpages");
});
