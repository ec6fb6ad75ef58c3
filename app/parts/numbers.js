// A table of numbers with intervals. The last column draws each row on a scale of its own: a bar from low to high with
// a mark on the value, filled for the subject, a line for real images, a diamond for the copy machine.

const WIDTH = 168, LANE = 11, EDGE = 7
const NS = "http://www.w3.org/2000/svg"

export default function (component) {
  const { data, parentElement } = component
  const table = parentElement.querySelector("table")
  if (!table || !data) return
  const signature = JSON.stringify(data)
  if (table.dataset.signature === signature) return
  table.dataset.signature = signature

  table.querySelector("caption").textContent = data.label
  const head = element("tr")
  head.append(element("th", "", ""))
  data.heads.forEach(([name, below], i) => {
    const cell = element("th", "number", "")
    cell.scope = "col"
    const line = element("span", "head")
    line.append(legend(i, data.colours), document.createTextNode(name))
    cell.append(line, element("small", "", below))
    head.append(cell)
  })
  const scale = element("th", "scale", "Side by side")
  scale.scope = "col"
  head.append(scale)
  table.querySelector("thead").replaceChildren(head)
  table.querySelector("tbody").replaceChildren(...data.rows.map((row) => line(row, data)))
}

function line(row, data) {
  const tr = element("tr")
  const name = element("th", "", "")
  name.scope = "row"
  name.title = row.note
  const title = element("span", "name", row.name)
  title.append(element("span", "better", row.better === "low" ? "↓ lower is better" : "↑ higher is better"))
  name.append(title, element("small", "", row.meaning))
  tr.append(name)
  row.cells.forEach((cell, i) => {
    const td = element("td", i ? "number" : "number subject")
    td.append(element("span", "", cell.text), element("small", "", cell.below))
    tr.append(td)
  })
  const drawn = element("td", "scale")
  drawn.append(strip(row.cells, data))
  tr.append(drawn)
  return tr
}

function strip(cells, data) {
  const known = cells.flatMap((cell) => cell.at ?? [])
  const height = LANE * cells.length + 4
  const svg = shape("svg", { width: WIDTH, height, viewBox: `0 0 ${WIDTH} ${height}`, "aria-hidden": "true" })
  if (!known.length) return svg
  const least = Math.min(...known), span = Math.max(...known) - least || 1
  const x = (value) => EDGE + ((value - least) / span) * (WIDTH - 2 * EDGE)
  cells.forEach((cell, i) => {
    if (!cell.at) return
    const [low, value, high] = cell.at
    const y = 2 + LANE * (i + 0.5)
    const bar = { x1: x(low), x2: Math.max(x(high), x(low) + 1), y1: y, y2: y }
    svg.append(shape("line", { x1: 0, x2: WIDTH, y1: y, y2: y, class: "track" }))
    svg.append(shape("line", { ...bar, stroke: data.colours[i], "stroke-width": 3, opacity: 0.45 }))
    svg.append(mark(i, x(value), y, data.colours[i]))
  })
  return svg
}

function mark(i, x, y, colour) {
  if (i === 0) return shape("circle", { cx: x, cy: y, r: 4.2, fill: colour })
  if (i === 1) return shape("rect", { x: x - 1.5, y: y - 5, width: 3, height: 10, fill: colour })
  return shape("rect", { x: x - 3.2, y: y - 3.2, width: 6.4, height: 6.4, fill: colour, transform: `rotate(45 ${x} ${y})` })
}

function legend(i, colours) {
  const svg = shape("svg", { width: 12, height: 12, viewBox: "0 0 12 12", "aria-hidden": "true" })
  svg.append(mark(i, 6, 6, colours[i]))
  return svg
}

function element(tag, name = "", text) {
  const made = document.createElement(tag)
  if (name) made.className = name
  if (text !== undefined) made.textContent = text
  return made
}

function shape(tag, attributes) {
  const made = document.createElementNS(NS, tag)
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value))
  return made
}
