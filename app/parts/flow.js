// Seven stages in a row. Runs again when its data change; the nodes stay and only their content is set.

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".flow")
  if (!root || !data) return

  while (root.children.length > data.stages.length) root.lastChild.remove()
  while (root.children.length < data.stages.length) root.append(make())
  data.stages.forEach((stage, i) => {
    const item = root.children[i]
    const button = item.firstElementChild
    item.dataset.state = stage.state
    button.dataset.at = i
    button.setAttribute("aria-label", [stage.title, stage.word, stage.value, stage.unit, stage.note].filter(Boolean).join(", "))
    const set = (selector, text) => {
      const node = item.querySelector(selector)
      if (node.textContent !== text) node.textContent = text
    }
    set(".number", String(i + 1))
    set(".title", stage.title)
    set(".icon", stage.icon)
    set(".value", stage.value)
    set(".unit", stage.unit)
    set(".note", stage.note)
    set(".sign", stage.sign)
    set(".word", stage.share == null ? stage.word : `${stage.word} ${Math.round(100 * stage.share)} %`)
    draw(item, stage)
    item.classList.toggle("pictured", Boolean(stage.picture))
    item.querySelector(".bar").style.width = stage.share == null ? "0" : `${100 * stage.share}%`
  })

  root.onclick = (event) => {
    const button = event.target.closest("button")
    if (button) setTriggerValue("opened", Number(button.dataset.at))
  }
}

const ACROSS = 4 // tiles in a row of a sprite

function draw(item, stage) {
  const image = item.querySelector("img")
  const mosaic = item.querySelector(".mosaic")
  if (item.dataset.picture === stage.picture) return
  item.dataset.picture = stage.picture
  item.classList.toggle("tiled", stage.tiles > 0)
  mosaic.replaceChildren()
  if (!stage.tiles) {
    if (stage.picture) image.src = stage.picture
    return
  }
  image.removeAttribute("src")
  const across = Math.min(ACROSS, stage.tiles)
  const rows = Math.ceil(stage.tiles / across)
  mosaic.style.setProperty("--across", across)
  for (let i = 0; i < stage.tiles; i++) {
    const tile = document.createElement("span")
    const x = across > 1 ? (i % across) / (across - 1) : 0
    const y = rows > 1 ? Math.floor(i / across) / (rows - 1) : 0
    tile.style.backgroundImage = `url("${stage.picture}")`
    tile.style.backgroundSize = `${100 * across}% ${100 * rows}%`
    tile.style.backgroundPosition = `${100 * x}% ${100 * y}%`
    mosaic.append(tile)
  }
}

function make() {
  const item = document.createElement("li")
  item.innerHTML =
    "<button type='button'>" +
    "<span class='picture'><img alt='' decoding='async'><span class='mosaic'></span><span class='icon' aria-hidden='true'></span><span class='bar'></span></span>" +
    "<span class='head'><span class='number'></span><span class='title'></span></span>" +
    "<span class='figure'><span class='value'></span> <span class='unit'></span></span>" +
    "<span class='note'></span>" +
    "<span class='state'><span class='sign' aria-hidden='true'></span><span class='word'></span></span>" +
    "</button>"
  const image = item.querySelector("img")
  image.onload = () => item.classList.toggle("tiny", image.naturalWidth <= 200)
  image.onerror = () => item.classList.remove("pictured")
  return item
}
