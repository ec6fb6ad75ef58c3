// The map: points, gestures, legend. Runs again whenever its data or the theme change; what a map holds stays with
// its element, so that only what changed is fetched, and nothing is sent to the card twice.

const MAPS = new WeakMap()
const CORNERS = 48 // of a polygon that goes up
const EDGE = 14 // px above and below that the name of a class may need
const ASIDE = 44 // px on the left that the tools cover
const REACH = 14 // px from the pointer to a point
const KEYS = [
  ["drag, arrows", "move the map"], ["wheel, + and −", "zoom; 0 shows all"], ["Shift-drag, l", "draw round points"],
  ["b", "draw a box"], ["p", "back to moving"], ["click, Enter", "look at an image"],
  ["Esc, double click", "let go of the selection, then of the zoom"], ["?", "show or hide this"],
]
const TOOLS = [["pan", "pan_tool", "Move (p)"], ["lasso", "lasso_select", "Lasso (l)"], ["box", "select", "Box (b)"]]
const STEPS = [["in", "add", "Zoom in (+)"], ["out", "remove", "Zoom out (−)"], ["all", "fit_screen", "Show all (0)"], ["keys", "help", "Keys (?)"]]

export default function (component) {
  const root = component.parentElement.querySelector(".atlas")
  if (!root || !component.data) return undefined
  let map = MAPS.get(root)
  if (!map) MAPS.set(root, (map = open(root)))
  map.tell = (did) => component.setTriggerValue("did", did)
  attend(component.data, (data) => update(map, data))
  return () => { map.drawer.close(); map.over?.close(); map.watcher.disconnect(); MAPS.delete(root) }
}

function open(root) {
  const button = ([name, icon, title]) =>
    `<button type='button' data-do='${name}' title='${title}' aria-label='${title}'><span class='icon' aria-hidden='true'>${icon}</span></button>`
  root.innerHTML =
    "<div class='plane' tabindex='0' role='application'><canvas></canvas><canvas class='lit'></canvas>" +
    "<svg class='over' aria-hidden='true'><path class='done'/><path class='drawing'/><circle class='ring picked' r='9'/><circle class='ring near' r='7'/></svg>" +
    "<div class='names' aria-hidden='true'></div>" +
    `<div class='tools' role='toolbar' aria-label='Map tools'>${TOOLS.map(button).join("")}<hr>${STEPS.map(button).join("")}</div>` +
    "<div class='tip' hidden><img alt=''><div></div></div>" +
    `<div class='keys' hidden><h4>Keys and gestures</h4><table>${KEYS.map(([k, d]) => `<tr><th scope='row'>${k}</th><td>${d}</td></tr>`).join("")}</table></div>` +
    "<p class='said' role='status'>Loading the map …</p></div><div class='legend'></div>"
  const get = (name) => root.querySelector(name)
  const map = {
    root, plane: get(".plane"), canvas: get("canvas"), done: get(".done"), drawing: get(".drawing"), picked: get(".picked"),
    near: get(".near"), names: get(".names"), tip: get(".tip"), keys: get(".keys"), said: get(".said"), legend: get(".legend"),
    tool: "pan", columns: {}, data: null, points: null, path: null, search: "",
  }
  map.drawer = new Drawer(map.canvas, () => {
    root.dataset.drawn = map.shown ?? ""
    if (map.asked && map.answered) root.dataset.took = Math.round(performance.now() - map.asked) // for benchmarks
    if (map.answered) map.asked = map.answered = null
  })
  map.watcher = new ResizeObserver(() => { if (map.points) { resize(map); show(map) } })
  map.watcher.observe(map.plane)
  listen(map)
  pickTool(map, "pan")
  return map
}

async function update(map, data) {
  const before = map.data
  map.data = data
  map.plane.style.height = `${data.height}px`
  map.root.classList.toggle("bare", data.legend === false)
  map.plane.setAttribute("aria-label", `${data.label}. Press ? for the keys.`)
  if (!map.drawer.works && !map.points) {
    map.said.textContent = "This browser has no WebGL2: a part of the map is drawn instead."
    if (!before) map.tell({ plain: true })
    return
  }
  const wanted = { points: data.points, level: data.level, chosen: data.chosen, second: data.second, mask: data.mask }
  const fetched = Object.entries(wanted).map(([name, address]) => column(map, name, address))
  const turn = (map.turn = (map.turn ?? 0) + 1)
  map.root.toggleAttribute("data-waiting", true)
  try {
    await Promise.all(fetched)
  } catch (problem) {
    if (turn === map.turn) map.said.textContent = "The map could not be loaded: load the page again."
    return
  }
  if (turn !== map.turn) return // newer data came meanwhile
  map.root.toggleAttribute("data-waiting", false)
  map.said.textContent = ""
  take(map)
}

// A file of the map by its address, fetched once for as long as it is wanted.
async function column(map, name, address) {
  const held = map.columns[name]
  if (held?.address === address) return held.ready
  const ready = !address ? Promise.resolve(null) : fetch(address).then(async (answer) => {
    if (!answer.ok) throw new Error(String(answer.status))
    const buffer = await answer.arrayBuffer()
    return name === "points" || name === "level" ? unframe(buffer) : new Uint8Array(buffer)
  })
  const entry = (map.columns[name] = { address, ready })
  ready.then((value) => { entry.value = value }, () => { if (map.columns[name] === entry) delete map.columns[name] })
  return ready
}

// Bring what is drawn to the data; each step only when what it depends on is new.
function take(map) {
  const { data, drawer, columns } = map
  const [level, chosen, second, mask] = ["level", "chosen", "second", "mask"].map((name) => columns[name]?.value ?? null)
  if (map.points !== columns.points.value) {
    map.points = columns.points.value
    map.index = null
    map.signs = {}
    drawer.give("place", map.points.xy)
    resize(map)
    fit(map)
  }
  const { points } = map
  const fresh = (what, ...signs) => {
    const sign = JSON.stringify(signs)
    const changed = map.signs[what] !== sign
    map.signs[what] = sign
    return changed
  }
  const moved = data.lit && map.shown !== data.lit[0] && map.dark !== undefined // a slider did: the theme is as it was
  const dark = (map.dark = moved ? map.dark : darkness(map.root))
  const own = coloured(points.counts, data.only)
  const marks = markings(map)
  const tinted = fresh("tint", data.colour, own, data.level, marks.sign)
  if (tinted) {
    map.tint = tints(points, data.colour, { own, level: level?.level, chosen: marks.first ?? chosen, second: marks.second })
    drawer.give("tint", map.tint)
    map.own = own
    map.spots = data.colour === "class" ? spots(points, own) : []
  }
  if (fresh("names", data.colour, own, data.only)) name(map)
  const painted = fresh("palette", data.colour, dark)
  if (painted) {
    const sets = setColours(data, dark)
    const colours = { class: data.classes, chosen: sets.slice(0, 2), sets }[data.colour]
    const palette = colours ? ramp(colours) : ramp(data.scale, true, dark ? 0.2 : 0, dark ? 1 : 0.92)
    if (!colours) palette.set([138, 151, 164, 255], 4 * UNKNOWN)
    if (data.colour === "chosen" || data.colour === "sets") palette[3] = 140 // the others step back
    drawer.give("palette", (map.palette = palette))
  }
  const flagged = fresh("flag", Boolean(data.lit), data.mask, marks.sign)
  if (flagged) {
    const none = data.lit ? new Uint8Array(Math.ceil(points.points / 8)) : null
    const { found, lit, rows } = flags(points.points, none ?? mask, marks.first, marks.second)
    drawer.give("flag", found, rows, !fresh("marks", marks.sign))
    map.root.dataset.lit = lit
    map.shown = data.mask ?? "all"
    map.answered = performance.now()
    if (map.asked) map.root.dataset.answered = Math.round(map.answered - map.asked)
  }
  if (data.lit) alight(map, tinted || painted)
  if (fresh("legend", data.colour, own, data.only, data.level, data.chosen, data.second, data.among, dark)) legend(map, level)
  map.path = null
  map.drawing.setAttribute("d", "")
  drawer.hold(0)
  show(map, tinted || painted || flagged)
}

// Points that are lit lie on a canvas of their own: the many below are drawn once, the few with every move of a slider.
function alight(map, coloured) {
  const [name, gaps] = map.data.lit
  map.over ??= new Drawer(map.root.querySelector(".lit"), () => {})
  if (map.shown === name && !coloured) return
  const rows = ungap(gaps)
  for (const [what, value] of Object.entries(gathered(map.points, map.tint, rows))) map.over.give(what, value)
  map.over.give("palette", map.palette)
  map.shown = name
  map.root.dataset.lit = rows.length
  map.root.dataset.mask = name
}

// Which points are marked as chosen while colour shows it, and a sign of it.
function markings({ data, columns }) {
  const first = data.colour === "chosen" || data.colour === "sets" ? columns.chosen?.value ?? null : null
  const second = data.colour === "sets" ? columns.second?.value ?? null : null
  return { first, second, sign: [first && data.chosen, second && data.second].join(" ") }
}

// In neither set, in the first, in the second, in both: grey, blue, orange, and the one that contrasts most.
const setColours = (data, dark) => ["#8A97A4", data.classes[0], data.classes[1], dark ? "#FFFFFF" : "#101820"]

function darkness(root) {
  const [r, g, b] = (getComputedStyle(root).backgroundColor.match(/[\d.]+/g) ?? [255, 255, 255]).map(Number)
  return 0.3 * r + 0.6 * g + 0.1 * b < 110
}

// ---- where things are: the middle of the view in the map's own units, and pixels a unit ----

function resize(map) {
  const { clientWidth: width, clientHeight: height } = map.plane
  const ratio = Math.min(window.devicePixelRatio || 1, 2)
  map.size = [width, height]
  map.ratio = ratio
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))]
  for (const canvas of map.root.querySelectorAll("canvas")) {
    if (canvas.width !== w) canvas.width = w
    if (canvas.height !== h) canvas.height = h
  }
  const { x, y } = map.points
  map.least = Math.min((width - ASIDE) / (x[1] - x[0]), (height - 2 * EDGE) / (y[1] - y[0])) * 0.92
  if (map.zoom === undefined || map.fitted) fit(map)
}

function fit(map) {
  const { x, y } = map.points
  map.zoom = map.least
  map.middle = [(x[0] + x[1] - ASIDE / map.zoom) / 2, (y[0] + y[1]) / 2]
  map.fitted = true
}

const toData = (map, [px, py]) => [
  map.middle[0] + (px - map.size[0] / 2) / map.zoom, map.middle[1] - (py - map.size[1] / 2) / map.zoom,
]
const toScreen = (map, [x, y]) => [
  (x - map.middle[0]) * map.zoom + map.size[0] / 2, map.size[1] / 2 - (y - map.middle[1]) * map.zoom,
]
const fromWire = ({ points }, x, y) => [
  points.x[0] + (x / SPAN) * (points.x[1] - points.x[0]), points.y[0] + (y / SPAN) * (points.y[1] - points.y[0]),
]
const placeOf = (map, row) => fromWire(map, map.points.xy[2 * row], map.points.xy[2 * row + 1])

function zoomAt(map, factor, at = [map.size[0] / 2, map.size[1] / 2]) {
  const held = toData(map, at)
  map.zoom = Math.min(Math.max(map.zoom * factor, map.least * 0.6), map.least * 600)
  map.fitted = false
  const moved = toData(map, at)
  map.middle = map.middle.map((m, i) => m + held[i] - moved[i])
  show(map)
}

function move(map, dx, dy) {
  const { x, y } = map.points
  const within = (value, [low, high]) => Math.min(Math.max(value, low), high)
  map.middle = [within(map.middle[0] - dx / map.zoom, x), within(map.middle[1] + dy / map.zoom, y)]
  map.fitted = false
  show(map)
}

function nearestAt(map, [px, py]) {
  map.index ??= grid(map.points)
  const { x, y } = map.points
  const [dx, dy] = toData(map, [px, py])
  const unit = [SPAN / (x[1] - x[0]), SPAN / (y[1] - y[0])]
  const reach = REACH / map.zoom
  return nearest(map.points, map.index, (dx - x[0]) * unit[0], (dy - y[0]) * unit[1], reach * unit[0], reach * unit[1])
}

function show(map, whole = true) {
  const { points, data, middle, zoom } = map
  const [width, height] = map.size
  const n = points.points
  const span = [points.x[1] - points.x[0], points.y[1] - points.y[0]]
  const scale = [(2 * zoom * span[0]) / width, (2 * zoom * span[1]) / height]
  const shift = [(2 * zoom * (points.x[0] - middle[0])) / width, (2 * zoom * (points.y[0] - middle[1])) / height]
  const near = zoom / map.least
  const wide = (many) => (many < 3000 ? 6 : many < 12_000 ? 4.5 : many < 60_000 ? 3 : many < 300_000 ? 2 : 1.4)
  const size = (many) => Math.min(wide(many) * near ** 0.4, 11) * map.ratio
  const lit = Number(map.root.dataset.lit)
  const alpha = Math.min(0.95, (lit < 12_000 ? 0.9 : lit < 300_000 ? 0.75 : 0.5) * near ** 0.3)
  const dim = n < 12_000 ? 0.22 : n < 300_000 ? 0.14 : 0.07 // many faint points on one spot are not faint
  const how = { n, scale, shift, size: size(lit), faint: size(n), alpha, dim, ratio: map.ratio }
  if (whole) {
    delete map.root.dataset.drawn
    map.drawer.ask(data.lit ? { ...how, faint: 0.65 * how.faint } : how)
  } else if (map.drawer.full) map.root.dataset.drawn = map.shown
  map.over?.ask({ ...how, n: data.lit ? lit : 0, size: 1.3 * how.size })
  map.done.setAttribute("d", data.shapes.map((shape) => outline(shape.map((corner) => toScreen(map, corner)))).join(""))
  place(map, map.picked, data.picked)
  place(map, map.near, map.hovered ?? -1)
  const taken = []
  map.names.childNodes.forEach((node) => {
    const [left, spot] = toScreen(map, node.spot)
    node.wide ??= node.offsetWidth / 2 || 40
    const free = (y) => !taken.some(([x, other, wide]) => Math.abs(x - left) < wide + node.wide + 2 && Math.abs(other - y) < 19)
    const top = [-14, 14, -34].map((off) => spot + off).find(free) // above its place, else below, else higher
    node.style.transform = `translate(${left}px, ${top ?? spot}px) translate(-50%, -50%)`
    const hidden = top === undefined || left < 0 || spot < 0 || left > width || spot > height
    node.classList.toggle("off", hidden)
    if (!hidden) taken.push([left, top, node.wide])
  })
}

function place(map, ring, row) {
  ring.style.display = row >= 0 && row < map.points.points ? "" : "none"
  if (row < 0 || row >= map.points.points) return
  const [x, y] = toScreen(map, placeOf(map, row))
  ring.setAttribute("cx", x)
  ring.setAttribute("cy", y)
}

const outline = (corners, closed = true) =>
  corners.length ? `M${corners.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L")}${closed ? "Z" : ""}` : ""

// The names of the coloured classes, each where its class is densest.
function name(map) {
  map.names.replaceChildren(...map.own.flatMap((label, i) => {
    if (!map.spots[i] || (map.data.only.length && !map.data.only.includes(label))) return []
    const node = document.createElement("span")
    node.textContent = map.points.names[label]
    node.spot = fromWire(map, ...map.spots[i])
    node.style.setProperty("--hue", map.data.classes[i])
    return [node]
  }))
}
