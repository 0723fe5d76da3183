// Every chart is there as SVG. Where scripts run, it becomes interactive when it comes into view.
const specs = JSON.parse(document.getElementById("specs").textContent);
const words = { labelColor: "currentColor", titleColor: "currentColor", labelFontSize: 10, titleFontSize: 11, titleFontWeight: "normal" };
const config = {
  background: null,
  font: "system-ui, -apple-system, 'Segoe UI', sans-serif",
  view: { stroke: null },
  title: { color: "currentColor", fontSize: 11, fontWeight: "normal" },
  axis: { ...words, domainColor: "currentColor", tickColor: "currentColor", gridColor: "currentColor", gridOpacity: 0.15 },
  legend: { ...words, symbolOpacity: 1 },
  header: { ...words, titleColor: "currentColor" },
};
const draw = async (panel) => {
  const place = panel.querySelector(".interactive");
  await vegaEmbed(place, { ...specs[panel.dataset.spec], config }, { actions: false, renderer: "svg", ast: false });
  place.querySelector("svg").setAttribute("aria-label", panel.querySelector(".still svg").getAttribute("aria-label"));
  panel.classList.add("live");
};
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      seen.unobserve(entry.target);
      draw(entry.target);
    }
  }
}, { rootMargin: "200px" });
document.querySelectorAll("[data-spec]").forEach((panel) => seen.observe(panel));
