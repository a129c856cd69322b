// A graph of rules: shows what a rule needs and what needs it, moves by dragging, fits by a button.
// All listeners sit on the figure, as the drawing inside it is morphed while the flow goes on.
(() => {
  "use strict";
  const DRAG_PX = 4;

  function walk(edges, start, from, to) {
    const found = new Set([start]);
    const waiting = [start];
    while (waiting.length) {
      const node = waiting.pop();
      for (const edge of edges) {
        if (edge.dataset[from] === node && !found.has(edge.dataset[to])) {
          found.add(edge.dataset[to]);
          waiting.push(edge.dataset[to]);
        }
      }
    }
    return found;
  }

  function mark(figure, node) {
    const svg = figure.querySelector("svg.dag");
    if (!svg) return;
    svg.classList.toggle("lit", node !== null);
    for (const lit of svg.querySelectorAll(".on")) lit.classList.remove("on");
    if (node === null) return;
    const edges = [...svg.querySelectorAll("path.edge")];
    const before = walk(edges, node, "to", "from");
    const after = walk(edges, node, "from", "to");
    for (const other of svg.querySelectorAll("[data-node]")) {
      if (before.has(other.dataset.node) || after.has(other.dataset.node)) other.classList.add("on");
    }
    for (const edge of edges) {
      const inside = (set) => set.has(edge.dataset.from) && set.has(edge.dataset.to);
      if (inside(before) || inside(after)) edge.classList.add("on");
    }
  }

  function nodeOf(target) {
    const found = target instanceof Element ? target.closest("[data-node]") : null;
    return found ? found.dataset.node : null;
  }

  for (const figure of document.querySelectorAll("[data-graph]")) {
    let drag = null;
    const room = () => figure.querySelector(".room");
    figure.addEventListener("pointerover", (event) => mark(figure, nodeOf(event.target)));
    figure.addEventListener("pointerleave", () => mark(figure, null));
    figure.addEventListener("focusin", (event) => mark(figure, nodeOf(event.target)));
    figure.addEventListener("focusout", () => mark(figure, null));
    figure.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse" && event.button === 0 && room().contains(event.target)) {
        drag = { x: event.clientX, y: event.clientY, left: room().scrollLeft, top: room().scrollTop, far: false };
      }
    });
    window.addEventListener("pointermove", (event) => {
      if (!drag) return;
      const dx = event.clientX - drag.x;
      const dy = event.clientY - drag.y;
      drag.far = drag.far || Math.hypot(dx, dy) > DRAG_PX;
      if (drag.far) room().scrollTo(drag.left - dx, drag.top - dy);
    });
    window.addEventListener("pointerup", () => setTimeout(() => { drag = null; }));
    figure.addEventListener("dragstart", (event) => event.preventDefault());
    figure.addEventListener("click", (event) => { if (drag && drag.far) event.preventDefault(); }, true);
    const fit = figure.querySelector("[data-fit]");
    if (fit) fit.addEventListener("change", () => figure.classList.toggle("fit", fit.checked));
  }
})();
