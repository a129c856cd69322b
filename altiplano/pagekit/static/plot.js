// Hands columns of numbers to uPlot.  <figure data-plot="/address" data-series="name:colour:unit ...">
(() => {
  "use strict";
  const EVERY_MS = 5000;
  const HEIGHT = 190;
  const SPAN_S_MIN = 300;

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  }

  function options(figure, width) {
    const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "12px " + getComputedStyle(document.body).fontFamily };
    const lines = figure.dataset.series.split(";").map((text) => {
      const [label, ink, unit] = text.split(":");
      return {
        label, stroke: colour(ink), width: 2, scale: unit, points: { show: false },
        fill: unit === "%" ? colour(ink) + "1f" : undefined,
        value: (_, v) => v === null || v === undefined ? "–" : unit === "%" ? v.toFixed(0) + " %" : String(v),
      };
    });
    const clock = (_, times) => times.map((t) => new Date(t * 1000).toTimeString().slice(0, 5));
    const axes = [{ ...axis, space: 70, size: 30, values: clock, incrs: [60, 120, 300, 600] }, { ...axis, scale: "%", size: 46, values: (_, vs) => vs.map((v) => v + " %") }];
    if (lines.some((line) => line.scale === "n")) axes.push({ ...axis, scale: "n", side: 1, size: 46, grid: { show: false } });
    return {
      width, height: HEIGHT, series: [{ label: "Time", value: (_, t) => t === null || t === undefined ? "–" : new Date(t * 1000).toTimeString().slice(0, 8) }, ...lines], axes,
      scales: { x: { time: true, range: (_, low, high) => [Math.min(low, high - SPAN_S_MIN), high] }, "%": { range: [0, 100] }, n: { range: (_, low, high) => [0, Math.max(10, Math.ceil(high * 1.2))] } },
      cursor: { points: { size: 6 }, drag: { x: false, y: false } },
      legend: { live: true },
    };
  }

  async function draw(figure) {
    let plot = null;
    let columns = null;
    const room = figure.querySelector(".room");
    const empty = figure.querySelector(".empty");

    // Without a pointer on the plot its legend tells the newest values; uPlot clears it when it draws, a little later.
    function latest() {
      setTimeout(newest, 30);
    }

    function newest() {
      if (!plot) return;
      if (plot.cursor.idx === null || plot.cursor.idx === undefined || plot.cursor.left < 0) plot.setLegend({ idx: columns[0].length - 1 });
    }

    function make() {
      if (plot) plot.destroy();
      plot = null;
      if (columns && columns[0].length > 1) {
        plot = new uPlot(options(figure, room.clientWidth), columns, room);
        latest();
      }
      empty.hidden = plot !== null;
      figure.dataset.points = columns ? columns[0].length : 0;
    }

    async function load() {
      if (document.hidden) return;
      try {
        const answer = await fetch(figure.dataset.plot, { cache: "no-store" });
        if (!answer.ok) return;
        columns = await answer.json();
      } catch {
        return; // The banner of live.js speaks for all.
      }
      if (plot) {
        plot.setData(columns);
        latest();
        figure.dataset.points = columns[0].length;
      } else {
        make();
      }
    }

    new ResizeObserver(() => { if (plot && room.clientWidth) plot.setSize({ width: room.clientWidth, height: HEIGHT }); }).observe(room);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", make);
    await load();
    setInterval(load, EVERY_MS);
  }

  for (const figure of document.querySelectorAll("[data-plot]")) draw(figure);
})();
