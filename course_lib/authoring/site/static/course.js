// What the theme and myst-nb leave without a fitting name, or out of the keyboard's reach.
function nameThings() {
  for (const summary of document.querySelectorAll(".bd-sidenav summary")) {
    summary.setAttribute("aria-label", `Pages below ${summary.closest("li").querySelector("a").textContent}`);
  }
  for (const named of document.querySelectorAll(".search-button-field, details.hide > summary")) {
    named.removeAttribute("aria-label"); // the text inside says it
  }
  for (const part of document.querySelectorAll("dl:not(:has(> dt)), dl:not(:has(> dt)) > dd")) {
    part.setAttribute("role", "none"); // a signature over several lines is no list of definitions
  }
}

// Whatever scrolls sideways can be reached and scrolled by keyboard.
function reachWideThings() {
  for (const wide of document.querySelectorAll(".cell_output .output, mjx-container, pre, .concept-map")) {
    if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
  }
}

window.addEventListener("load", async () => {
  nameThings();
  for (const map of document.querySelectorAll(".concept-map")) {
    map.scrollLeft = (map.scrollWidth - map.clientWidth) / 2; // the first chapter stands in the middle
  }
  await window.MathJax?.startup?.promise;
  reachWideThings();
  window.addEventListener("resize", reachWideThings);
});
