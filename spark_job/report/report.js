(() => {
  const map = document.getElementById("map"), tip = document.getElementById("tip");
  if (map) {
    const drawn = [...map.querySelectorAll("[data-group]")];
    const entries = [...document.querySelectorAll(".legend button")];
    let kept = null;
    const light = group => {
      map.classList.toggle("lighting", group !== null);
      for (const shape of drawn) shape.classList.toggle("lit", shape.dataset.group === group);
    };
    for (const entry of entries) {
      const group = entry.dataset.group;
      for (const kind of ["pointerenter", "focus"]) entry.addEventListener(kind, () => light(group));
      for (const kind of ["pointerleave", "blur"]) entry.addEventListener(kind, () => light(kept));
      entry.addEventListener("click", () => {
        kept = kept === group ? null : group;
        for (const other of entries) other.setAttribute("aria-pressed", other.dataset.group === kept);
        light(kept);
      });
    }
    document.getElementById("hint").hidden = false;
    const filter = document.getElementById("filter");
    if (filter) {
      filter.hidden = false;
      filter.addEventListener("input", () => {
        const wanted = filter.value.trim().toLowerCase();
        for (const entry of entries) entry.parentElement.hidden = !entry.title.toLowerCase().includes(wanted);
      });
    }
    // Show the text of the titles in our own tooltip, because the browser's tooltips are slow.
    const names = new WeakMap();
    for (const title of map.querySelectorAll("title")) { names.set(title.parentElement, title.textContent); title.remove(); }
    map.addEventListener("pointermove", event => {
      const mark = event.target.closest("use, .zoom"), name = mark && names.get(mark);
      tip.hidden = !name;
      if (!name) return;
      tip.firstChild.textContent = mark.closest("[data-label]").dataset.label;
      tip.lastChild.textContent = name;
      const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
      const below = event.clientY + 18 + tip.offsetHeight < innerHeight;
      tip.style.left = `${Math.max(left, 8)}px`;
      tip.style.top = `${below ? event.clientY + 18 : event.clientY - tip.offsetHeight - 12}px`;
    });
    map.addEventListener("pointerleave", () => { tip.hidden = true; });
  }
  for (const button of document.querySelectorAll(".copy")) {
    if (!navigator.clipboard) break;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.closest(".snippet").querySelector("code").textContent.trim());
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
})();
