"use strict";
// The filter: words in the box and pressed outcomes leave only the tests that have them.
(() => {
  const box = document.getElementById("filter");
  const shown = document.getElementById("shown");
  const switches = [...document.querySelectorAll("button[data-outcome]")];
  const groups = [...document.querySelectorAll("details.binary")].map((details) => ({
    details,
    wasOpen: details.open,
    rows: [...details.querySelectorAll("tbody tr")].map((row) => ({
      row,
      outcome: row.dataset.outcome,
      text: textOf(row, details),
    })),
  }));
  const total = groups.reduce((sum, group) => sum + group.rows.length, 0);

  // All that a person may look for: names, reasons and issues, and where a test was seen.
  function textOf(row, details) {
    const places = [...row.querySelectorAll("[data-place]")].map((cell) => cell.title);
    const binary = details.querySelector("table").dataset.binary;
    return [binary, row.cells[0].textContent, ...places].join(" ").toLowerCase();
  }

  function apply() {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const pressed = new Set(
      switches.filter((one) => one.ariaPressed === "true").map((one) => one.dataset.outcome));
    const isActive = words.length > 0 || pressed.size > 0;
    let count = 0;
    for (const { details, wasOpen, rows } of groups) {
      let here = 0;
      for (const { row, outcome, text } of rows) {
        const fits = (pressed.size === 0 || pressed.has(outcome))
          && words.every((word) => text.includes(word));
        row.hidden = !fits;
        here += fits;
      }
      details.hidden = isActive && here === 0;
      details.open = isActive ? here > 0 : wasOpen;
      count += here;
    }
    shown.textContent = isActive ? `${count} of ${total} tests` : `${total} tests`;
  }

  for (const one of switches) {
    one.addEventListener("click", () => {
      one.ariaPressed = String(one.ariaPressed !== "true");
      apply();
      document.getElementById("tests").scrollIntoView({ block: "start" });
    });
  }
  let waiting = 0;
  box.addEventListener("input", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(apply);
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target instanceof HTMLInputElement;
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      box.focus();
    } else if (event.key === "Escape" && event.target === box) {
      box.value = "";
      apply();
    }
  });
  document.documentElement.classList.add("has-script");
  // A page that is shown again may keep what stood in the box.
  apply();
})();
