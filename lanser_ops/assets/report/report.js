"use strict";

const audio = JSON.parse(document.getElementById("audio").textContent);
const players = [...document.querySelectorAll("audio")];
for (const player of players) {
  player.src = `data:audio/mpeg;base64,${audio[player.dataset.key]}`;
  player.addEventListener("play", () => {
    for (const other of players) if (other !== player) other.pause();
  });
}

for (const section of document.querySelectorAll(".samples")) {
  const controls = section.querySelector(".controls");
  const list = section.querySelector(".cards");
  const cards = [...list.children].map((element) => ({
    element,
    text: element.querySelector("blockquote").textContent.toLocaleLowerCase(),
    kinds: element.dataset.kinds.split("|"),
  }));

  function update() {
    const words = controls.search.value.trim().toLocaleLowerCase();
    const { value: label } = controls.label;
    const { value: kind } = controls.kind;
    const [field, direction] = controls.sort.value.split(" ");
    cards.sort((a, b) => direction * (a.element.dataset[field] - b.element.dataset[field]));
    let shown = 0;
    for (const { element, text, kinds } of cards) {
      const matches =
        text.includes(words) && (!label || element.dataset.label === label) && (!kind || kinds.includes(kind));
      element.hidden = !matches;
      shown += matches;
      if (!matches) for (const player of element.querySelectorAll("audio")) player.pause();
    }
    list.append(...cards.map((card) => card.element));
    controls.querySelector("output").textContent = `${shown} of ${cards.length} shown`;
    section.querySelector(".none").hidden = shown > 0;
  }

  controls.addEventListener("input", update);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.hidden = false;
  update();
}
