// What one does with the map: mouse, keys, tools, the tip beside a point. Read before canvas.js.

const STILL = 4 // px a pointer may move in a click
const WAIT = 70 // ms before a point shows its picture

function listen(map) {
  const { plane } = map
  const at = (event) => {
    const box = plane.getBoundingClientRect()
    return [event.clientX - box.left, event.clientY - box.top]
  }
  const ours = (event) => map.points && !event.target.closest(".tools, .keys")
  plane.onpointerdown = (event) => {
    if (!ours(event) || event.button !== 0) return
    plane.setPointerCapture(event.pointerId)
    const tool = event.shiftKey ? "lasso" : map.tool
    map.press = { tool, from: at(event), last: at(event), moved: false }
    map.path = tool === "pan" ? null : [at(event)]
    unhover(map)
  }
  plane.onpointermove = (event) => {
    if (!map.points) return
    const here = at(event)
    const { press } = map
    if (!press) {
      if (ours(event)) hover(map, here)
      else unhover(map)
      return
    }
    press.moved ||= Math.hypot(here[0] - press.from[0], here[1] - press.from[1]) > STILL
    if (press.tool === "pan") {
      if (press.moved) move(map, here[0] - press.last[0], here[1] - press.last[1])
    } else if (press.tool === "box") map.path = boxed(press.from, here)
    else if (Math.hypot(here[0] - press.last[0], here[1] - press.last[1]) > 2) map.path.push(here)
    else return
    press.last = here
    if (map.path) map.drawing.setAttribute("d", outline(map.path))
  }
  plane.onpointerup = (event) => {
    const { press } = map
    map.press = null
    if (!press) return
    if (!press.moved) {
      abandon(map)
      if (event.detail < 2) pick(map, nearestAt(map, press.from))
    } else if (press.tool !== "pan") select(map)
  }
  plane.onpointercancel = () => { map.press = null; abandon(map) }
  plane.onpointerleave = () => unhover(map)
  plane.ondblclick = (event) => { if (ours(event)) peel(map) }
  plane.onwheel = (event) => {
    if (!map.points) return
    event.preventDefault()
    zoomAt(map, Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), at(event))
  }
  plane.onkeydown = (event) => { if (map.points && !event.ctrlKey && !event.metaKey && !event.altKey) key(map, event) }
  map.root.querySelector(".tools").onclick = (event) => {
    const { do: what } = event.target.closest("button")?.dataset ?? {}
    if (what && map.points) act(map, what)
  }
}

const boxed = ([x0, y0], [x1, y1]) => [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]

function act(map, what) {
  if (what === "in") zoomAt(map, 1.5)
  else if (what === "out") zoomAt(map, 1 / 1.5)
  else if (what === "all") { fit(map); show(map) }
  else if (what === "keys") map.keys.hidden = !map.keys.hidden
  else pickTool(map, what)
}

function key(map, event) {
  const step = 60
  const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }
  const does = { "+": "in", "=": "in", "-": "out", 0: "all", "?": "keys", l: "lasso", b: "box", p: "pan" }
  const { key: pressed } = event
  if (moves[pressed]) move(map, ...moves[pressed])
  else if (does[pressed]) act(map, does[pressed])
  else if (pressed === "Escape") peel(map)
  else if (pressed === "Enter" && event.target === map.plane) pick(map, nearestAt(map, map.size.map((side) => side / 2)))
  else return
  event.preventDefault()
  event.stopPropagation()
}

function pickTool(map, tool) {
  map.tool = tool
  map.plane.dataset.tool = tool
  map.root.querySelectorAll(".tools button").forEach((node) => {
    if (TOOLS.some(([name]) => name === node.dataset.do)) node.setAttribute("aria-pressed", String(node.dataset.do === tool))
  })
}

// One state at a time: what is being drawn, the sheet of keys, the selection, the zoom.
function peel(map) {
  if (map.press && map.path) { map.press = null; abandon(map) }
  else if (!map.keys.hidden) map.keys.hidden = true
  else if (map.data.shapes.length) map.tell({ shapes: [] })
  else if (map.tool !== "pan") pickTool(map, "pan")
  else { fit(map); show(map) }
}

function abandon(map) {
  map.path = null
  map.drawing.setAttribute("d", "")
}

function pick(map, row) {
  if (row >= 0) map.tell({ row })
}

function select(map) {
  const corners = simplify(map.path, CORNERS)
  if (corners.length < 3) { abandon(map); return }
  map.drawing.setAttribute("d", outline(corners)) // stays until the answer is there
  map.asked = performance.now()
  map.answered = null
  const shape = corners.map((corner) => toData(map, corner))
  foretell(map, shape)
  map.tell({ shapes: [shape] })
}

// Dim what a polygon leaves out at once, to a pixel of 1,024; the server's mask, which is exact, follows.
function foretell(map, shape) {
  const { points, data, columns } = map
  if (data.lit) return // what is lit is not known here
  if (data.shapes.length && /[?&](only|low|high|among|hits|alike)=/.test(data.mask ?? "")) return // the mask also holds the old one
  const side = 1024
  const sheet = Object.assign(document.createElement("canvas"), { width: side, height: side })
  const pen = sheet.getContext("2d", { willReadFrequently: true })
  pen.beginPath()
  for (const [x, y] of shape) {
    pen.lineTo(
      (side * (x - points.x[0])) / (points.x[1] - points.x[0]), (side * (y - points.y[0])) / (points.y[1] - points.y[0]),
    )
  }
  pen.fill("evenodd")
  const ink = new Uint32Array(pen.getImageData(0, 0, side, side).data.buffer)
  const mask = data.shapes.length ? null : columns.mask?.value
  const held = new Uint8Array(Math.ceil(points.points / 8))
  for (let i = 0; i < points.points; i++) {
    const on = ink[(points.xy[2 * i + 1] >> 6) * side + (points.xy[2 * i] >> 6)] !== 0
    if (on && (!mask || (mask[i >> 3] >> (i & 7)) & 1)) held[i >> 3] |= 1 << (i & 7)
  }
  const marks = markings(map)
  const { found, rows } = flags(points.points, held, marks.first, marks.second)
  map.drawer.give("flag", found, rows, true)
  map.signs.flag = ""
  map.drawer.hold(1000)
  show(map)
}

function hover(map, here) {
  const row = nearestAt(map, here)
  if (row === (map.hovered ?? -1)) return
  unhover(map)
  map.hovered = row
  place(map, map.near, row)
  if (row >= 0) map.timer = setTimeout(() => tell(map, row), WAIT)
}

function unhover(map) {
  clearTimeout(map.timer)
  map.hovered = -1
  map.near.style.display = "none"
  map.tip.hidden = true
}

// The tip beside a point: its picture, class, and how hard it is.
function tell(map, row) {
  const { tip, points, data } = map
  const id = points.id ? points.id[row] : row
  const lines = [points.names[points.label[row]], `image ${id}`]
  const level = map.columns.level?.value
  if (level) {
    const at = level.level[row]
    lines.push(at === UNKNOWN ? "not scored" : `difficulty ≈ ${Number(level.values[at].toPrecision(2))}, harder than ${Math.round((at / 255) * 100)} %`)
  }
  const { chosen, second } = map.columns
  if (second?.value) lines.push(["in neither set", "in A only", "in B only", "in A and B"][bit(chosen?.value, row) | (bit(second.value, row) << 1)])
  else if (chosen?.value) lines.push(bit(chosen.value, row) ? "chosen" : "not chosen")
  const picture = tip.querySelector("img")
  picture.onload = () => tip.classList.toggle("tiny", picture.naturalWidth <= 48)
  picture.src = data.thumb.replace("{id}", id)
  tip.querySelector("div").replaceChildren(...lines.map((line) => Object.assign(document.createElement("span"), { textContent: line })))
  tip.hidden = false
  const [x, y] = toScreen(map, placeOf(map, row))
  const { offsetWidth: width, offsetHeight: height } = tip
  tip.style.left = `${x + 16 + width > map.size[0] ? Math.max(4, x - 16 - width) : x + 16}px`
  tip.style.top = `${Math.min(Math.max(4, y - height / 2), map.size[1] - height - 4)}px`
}
