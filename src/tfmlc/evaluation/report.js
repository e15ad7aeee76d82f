// One gallery per dataset. An image is decoded when it is chosen; until then its data is only text.
for (const gallery of document.querySelectorAll(".gallery")) {
  const find = name => gallery.querySelector(name), all = name => [...gallery.querySelectorAll(name)];
  const index = JSON.parse(find(".index").textContent), filter = find(".filter").elements;
  const list = find(".list"), entries = all(".list label"), data = all("script.data");
  const slider = find(".slider"), range = slider.querySelector("input"), view = find(".view");
  let content = null, shown = -1;

  const text = (value, metric) => Number.isFinite(value) ? value.toFixed(metric.digits) : "–";
  const score = (number, model, metric) => index.images[number].scores[model]?.[metric.key] ?? NaN;

  function sort() {
    const metric = index.metrics.find(metric => metric.key === filter.metric.value);
    const value = entries.map((_, number) => score(number, filter.model.value, metric));
    const low = filter.low.valueAsNumber, high = filter.high.valueAsNumber;
    const sign = (filter.order.value === "best") === metric.higher ? -1 : 1;
    const byScore = (a, b) => isNaN(value[a]) - isNaN(value[b]) || sign * (value[a] - value[b]) || a - b;
    const numbers = [...entries.keys()].sort(filter.order.value === "name" ? (a, b) => a - b : byScore);
    for (const number of numbers) {
      const entry = entries[number];
      entry.hidden = !(isNaN(low) || value[number] >= low) || !(isNaN(high) || value[number] <= high);
      entry.querySelector(".score").textContent = text(value[number], metric);
      list.append(entry);
    }
    const visible = numbers.filter(number => !entries[number].hidden);
    find(".count").textContent = `${visible.length} of ${entries.length} images`;
    if (visible.length && !visible.includes(shown)) choose(visible[0]);
  }

  function choose(number) {
    entries[number].querySelector("input").checked = true;
    content = JSON.parse(data[number].textContent);
    shown = number;
    const name = index.images[number].name;
    find(".title").textContent = name;
    for (const row of all(".of-image tr"))
      index.metrics.forEach((metric, place) =>
        row.cells[place + 1].textContent = text(score(number, row.dataset.model, metric), metric));
    for (const crop of all(".crops img")) {
      crop.src = content.crops[crop.dataset.label];
      crop.alt = `${crop.dataset.label}, a part of ${name}`;
    }
    compare();
  }

  function compare() {
    const name = index.images[shown].name, sides = ["left", "right"].map(side => find(`.${side} :checked`).value);
    const images = [slider.querySelector(".before"), slider.querySelector(".after")];
    images.forEach((image, side) => {
      image.src = content.wide[sides[side]];
      image.alt = `${name}, ${sides[side]}`;
    });
    slider.querySelectorAll(".tag").forEach((tag, side) => tag.textContent = sides[side]);
    range.setAttribute("aria-label", `percentage of ${name} that shows ${sides[0]}, the rest shows ${sides[1]}`);
    slider.classList.toggle("difference", view.value !== "");
    slider.style.setProperty("--times", view.value || 1);
  }

  gallery.hidden = false;
  find(".filter").addEventListener("input", sort);
  find(".filter").addEventListener("submit", event => event.preventDefault());
  list.addEventListener("input", event => choose(Number(event.target.value)));
  find(".choices").addEventListener("input", compare);
  range.addEventListener("input", () => slider.style.setProperty("--at", range.value + "%"));
  sort();

  const zoomed = find(".zoomed"), zoom = zoomed.querySelector("input");
  const scale = value => { zoom.value = value; zoomed.style.setProperty("--zoom", value); };
  zoom.addEventListener("input", () => scale(zoom.value));
  for (const part of zoomed.querySelectorAll(".window")) {
    part.addEventListener("pointermove", event => {
      const box = part.getBoundingClientRect();
      zoomed.style.setProperty("--x", 100 * (event.clientX - box.left) / box.width + "%");
      zoomed.style.setProperty("--y", 100 * (event.clientY - box.top) / box.height + "%");
    });
    part.addEventListener("click", () => scale(zoom.value > 1 ? 1 : 4));
  }
}
