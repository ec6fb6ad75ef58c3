// A table of pictures: a row a class, a column a model, the same noise in the same place of each.

const TINY = 48 // px: originals at most this wide are shown with their pixels

export default function (component) {
  const { data, parentElement } = component
  const root = parentElement.querySelector(".matched")
  if (!root || !data) return
  const signature = JSON.stringify(data)
  if (root.dataset.signature === signature) return
  root.dataset.signature = signature

  root.style.setProperty("--wide", data.models.length * (data.lines[0]?.pictures[0]?.length ?? 1)) // pictures in a row
  const table = document.createElement("table")
  const head = table.createTHead().insertRow()
  head.append(cell("th", ""))
  for (const name of data.models) head.append(Object.assign(cell("th", name), { scope: "col", title: name }))
  const body = table.createTBody()
  for (const line of data.lines) {
    const row = body.insertRow()
    row.append(Object.assign(cell("th", line.name), { scope: "row" }))
    line.pictures.forEach((pictures, model) => {
      const place = cell("td", "")
      const strip = document.createElement("div")
      pictures.forEach((src, at) => {
        const image = document.createElement("img")
        const alt = `${line.name}, noise ${at + 1}, ${data.models[model]}`
        Object.assign(image, { loading: "lazy", decoding: "async", alt, title: alt })
        image.dataset.at = at
        image.onload = () => image.classList.toggle("tiny", image.naturalWidth <= TINY)
        image.src = src
        strip.append(image)
      })
      place.append(strip)
      row.append(place)
    })
  }
  root.replaceChildren(table)
  const mark = (event) => {
    root.querySelectorAll(".marked").forEach((node) => node.classList.remove("marked"))
    const image = event.type === "pointerover" && event.target.closest("img")
    if (!image) return
    image.closest("tr").querySelectorAll(`[data-at="${image.dataset.at}"]`).forEach((node) => node.classList.add("marked"))
  }
  root.onpointerover = mark
  root.onpointerleave = mark
}

function cell(tag, text) {
  const node = document.createElement(tag)
  node.textContent = text
  return node
}
