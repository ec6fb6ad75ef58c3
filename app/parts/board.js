// A table whose headings sort. Drawn anew when its data change; the heading or row in focus keeps the focus.

const WAYS = { low: ["↓", "lower is better"], high: ["↑", "higher is better"] }
const NEAR = /^near (.+)$/

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".board")
  if (!root || !data) return
  const signature = JSON.stringify(data)
  if (root.dataset.signature === signature) return
  root.dataset.signature = signature
  const focused = root.getRootNode().activeElement?.dataset?.focus
  const left = root.scrollLeft

  const table = make("table", "", { ariaLabel: data.label })
  const head = make("tr"), body = make("tbody"), above = make("thead")
  head.append(heading({ key: "label", title: "Cell", better: "", help: "" }, data.sort, setTriggerValue))
  for (const column of data.columns) head.append(heading(column, data.sort, setTriggerValue))
  above.append(head)
  for (const row of data.rows) body.append(line(row, data, setTriggerValue))
  table.append(above, body)
  root.replaceChildren(table)
  root.scrollLeft = left
  if (focused) root.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true })
}

function make(tag, text = "", more = {}) {
  const node = document.createElement(tag)
  if (text) node.textContent = text
  return Object.assign(node, more)
}

function heading(column, sort, tell) {
  const here = sort?.key === column.key
  const cell = make("th", "", { scope: "col" })
  cell.setAttribute("aria-sort", here ? (sort.down ? "descending" : "ascending") : "none")
  const button = make("button", "", { type: "button", title: column.help })
  button.dataset.focus = `sort ${column.key}`
  button.append(make("span", column.title, { className: "title" }))
  if (column.key !== "label") {
    const near = NEAR.exec(column.better)
    const [sign, said] = near ? ["→", `best near ${near[1]}`] : WAYS[column.better] ?? ["", "for reference"]
    button.append(make("span", `${sign} ${said}`.trim(), { className: "way" }))
  }
  button.append(make("span", here ? (sort.down ? "arrow_drop_down" : "arrow_drop_up") : "unfold_more", { className: "sort", ariaHidden: "true" }))
  // First the better end: the smallest where lower is better.
  button.onclick = () => tell("sort", { key: column.key, down: here ? !sort.down : column.better === "high" })
  cell.append(button)
  return cell
}

function line(row, data, tell) {
  const node = make("tr", "", { className: `${row.mark ? "control" : ""} ${row.id === data.picked ? "picked" : ""}`.trim() })
  node.dataset.id = row.id
  const first = make("th", "", { scope: "row" })
  const button = make("button", "", { type: "button", title: "Show its runs" })
  button.dataset.focus = `row ${row.id}`
  button.setAttribute("aria-pressed", String(row.id === data.picked))
  button.append(make("span", row.label, { className: "name" }))
  if (row.mark) button.append(make("span", row.mark, { className: "mark" }))
  if (row.note) button.append(make("span", row.note, { className: "note" }))
  button.onclick = () => tell("picked", row.id)
  first.append(button)
  node.append(first)
  row.values.forEach((value, i) => node.append(number(value, data.columns[i])))
  return node
}

function number(value, column) {
  const cell = make("td")
  const top = make("span", "", { className: "value" })
  if (value.rank) {
    const rank = make("span", `${value.rank}`, { className: value.rank === 1 ? "rank first" : "rank", title: `Rank ${value.rank} by ${column.title}` })
    rank.setAttribute("aria-label", `rank ${value.rank}`)
    top.append(rank)
  }
  top.append(make("b", value.text))
  cell.append(top)
  if (value.interval) cell.append(make("span", value.interval, { className: "interval" }))
  if (value.at !== null) {
    const track = make("span", "", { className: "track", ariaHidden: "true" })
    if (value.low !== null) {
      const range = make("i")
      range.style.left = `${100 * value.low}%`
      range.style.width = `${100 * (value.high - value.low)}%`
      track.append(range)
    }
    const dot = make("s")
    dot.style.left = `${100 * value.at}%`
    track.append(dot)
    cell.append(track)
  }
  return cell
}
