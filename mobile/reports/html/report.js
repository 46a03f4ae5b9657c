// Draws the charts of the page: each when it comes into view, in the colours of the reader's scheme, as wide as there
// is room. Without this script the tables still hold all figures.
"use strict";
(function () {
  const shared = JSON.parse(document.getElementById("chart-data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const touch = window.matchMedia("(pointer: coarse)");
  const config = { displayModeBar: false, scrollZoom: false, doubleClick: "reset", showTips: false };
  const LEGEND_ROW_PX = 20, LEGEND_LETTER_PX = 6.6, LEGEND_MARK_PX = 52, STEP = 0.25;
  const drawnAt = new Map(); // chart: the width that it was drawn for

  // A chart names colours by what they are for. Only what is under a key for colours is looked up.
  function painted(value, palette, key) {
    if (Array.isArray(value)) return value.map((one) => painted(one, palette, key));
    if (value !== null && typeof value === "object") {
      const made = {};
      for (const name of Object.keys(value)) made[name] = painted(value[name], palette, name);
      return made;
    }
    return typeof value === "string" && /color$/.test(key) && Object.hasOwn(palette, value) ? palette[value] : value;
  }

  // The legend stands under the axis, and the drawing gets higher by its rows.
  function withLegend(layout, data, width) {
    const names = data.filter((trace) => trace.showlegend !== false && layout.showlegend).map((trace) => trace.name);
    if (!names.length) return layout;
    const longest = Math.max(...names.map((name) => name.length));
    const columns = Math.max(1, Math.floor((width - 30) / (longest * LEGEND_LETTER_PX + LEGEND_MARK_PX)));
    const rows = Math.ceil(names.length / columns), more = rows * LEGEND_ROW_PX + 8;
    const inner = layout.height - layout.margin.t - layout.margin.b;
    layout.legend.y = -(layout.margin.b + 2) / inner;
    layout.margin.b += more;
    layout.height += more;
    return layout;
  }

  function draw(place) {
    const width = place.clientWidth;
    if (!width) return Promise.resolve();
    drawnAt.set(place, width);
    const palette = shared.palettes[dark.matches ? "dark" : "light"];
    const chart = painted(shared.charts[Number(place.id.slice("chart-".length))], palette, "");
    chart.layout.width = width;
    if (place.dataset.zoom && !touch.matches) chart.layout.dragmode = "zoom";
    const layout = withLegend(chart.layout, chart.data, width);
    return window.Plotly.react(place, chart.data, layout, config).then(() => { place.dataset.drawn = "yes"; });
  }

  const places = Array.from(document.querySelectorAll(".chart"));
  const redrawn = () => Promise.all(Array.from(drawnAt.keys(), draw));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting && !drawnAt.has(entry.target)) draw(entry.target);
    }
  }, { rootMargin: "300px" });
  const resized = new ResizeObserver((entries) => {
    for (const entry of entries) {
      const width = drawnAt.get(entry.target);
      if (width && entry.target.clientWidth && width !== entry.target.clientWidth) draw(entry.target);
    }
  });
  for (const place of places) {
    seen.observe(place);
    resized.observe(place);
  }
  dark.addEventListener("change", redrawn);
  window.addEventListener("beforeprint", () => places.forEach(draw));

  function move(place, what) {
    if (!drawnAt.has(place)) return;
    if (what === "all") {
      const whole = shared.charts[Number(place.id.slice("chart-".length))].layout.xaxis.range;
      window.Plotly.relayout(place, { "xaxis.range": whole.slice() });
      return;
    }
    const [low, high] = place.layout.xaxis.range, span = high - low;
    const steps = { in: [span * STEP, -span * STEP], out: [-span / 2, span / 2],
      earlier: [-span * STEP, -span * STEP], later: [span * STEP, span * STEP] };
    const [left, right] = steps[what];
    window.Plotly.relayout(place, { "xaxis.range": [low + left, high + right] });
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-do]");
    if (button) move(document.getElementById(button.parentElement.dataset.for), button.dataset.do);
  });
  const keys = { "+": "in", "=": "in", "-": "out", ArrowLeft: "earlier", ArrowRight: "later", Home: "all", 0: "all" };
  document.addEventListener("keydown", (event) => {
    const place = event.target;
    if (!place.dataset || !place.dataset.zoom || !keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    move(place, keys[event.key]);
  });
})();
