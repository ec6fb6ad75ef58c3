// One class under the microscope: its difficulty from easy to hard with the picks as ticks. While a slider or a
// handle moves everything is computed here; when it is let go one message goes up, and the pictures follow.

const SCOPES = new WeakMap()
const BINS = 18
const HEIGHT = 168
const BASE = 18 // px below the curve for the ticks
const FIELDS = [["k", "Interval k"], ["offset", "Offset"], ["per_class", "Images per class"]]

export default function (component) {
  const root = component.parentElement.querySelector(".scope")
  if (!root || !component.data) return undefined
  let scope = SCOPES.get(root)
  if (!scope) SCOPES.set(root, (scope = build(root)))
  scope.send = (set) => component.setTriggerValue("set", set)
  attend(component.data, (data) => take(scope, data))
  return () => { scope.watcher.disconnect(); SCOPES.delete(root) }
}

function build(root) {
  root.innerHTML =
    "<div class='head'><strong class='name'></strong><span class='ghost-key' hidden>before</span><output class='says' aria-live='polite'></output></div>" +
    "<div class='curve'><svg role='img'><rect class='unused low'/><rect class='unused high'/><path class='line'/><path class='was'/><path class='ticks'/><path class='dots'/></svg>" +
    "<button type='button' class='handle offset' tabindex='-1' title='Drag: offset' aria-hidden='true'></button><button type='button' class='handle k' tabindex='-1' title='Drag: interval' aria-hidden='true'></button>" +
    "<span class='end easy'>easy</span><span class='end hard'>hard</span></div>" +
    "<svg class='bars' role='img' preserveAspectRatio='none' viewBox='0 0 100 100'><path class='every'/><path class='some'/></svg>" +
    `<div class='fields'>${FIELDS.map(([key, title]) => `<label data-key='${key}'><span>${title}</span><output></output><input type='range' step='1'></label>`).join("")}</div>`
  const get = (name) => root.querySelector(name)
  const scope = { root, svg: get(".curve svg"), curve: get(".curve"), inputs: {}, now: null, was: null }
  for (const [key] of FIELDS) {
    const input = get(`label[data-key=${key}] input`)
    scope.inputs[key] = input
    input.oninput = () => draft(scope, { [key]: Number(input.value) })
    input.onchange = () => settle(scope)
  }
  drag(scope, get(".handle.offset"), (rank) => ({ offset: clamp(Math.round(rank), scope.data.limits.offset) }))
  drag(scope, get(".handle.k"), (rank) => {
    const { start } = stepsOf(scope, scope.now)
    return { k: intervalTo(rank, Math.min(scope.now.per_class, scope.data.n), start, scope.data.limits.k[1]) }
  })
  scope.watcher = new ResizeObserver(() => { if (scope.data) { outline(scope); draw(scope) } })
  scope.watcher.observe(scope.curve)
  return scope
}

const clamp = (value, [low, high]) => Math.min(Math.max(value, low), high)
const stepsOf = ({ data }, { k, offset, per_class: m }) => intervalSteps(data.n, m, k, offset, data.window)
const ruleOf = ({ data }, { k, offset, per_class: m }) => intervalRanks(data.n, m, k, offset, data.window)
// What the page last said holds edits, too; what is asked of the rule since knows of none.
const told = ({ data }, set) => !data.live || (data.edited && same(set, data.set))
const ranksOf = (scope, set) => (told(scope, set) ? scope.data.ranks : ruleOf(scope, set))
const same = (a, b) => a && b && FIELDS.every(([key]) => a[key] === b[key])

function take(scope, data) {
  const sign = JSON.stringify([data.name, data.curve])
  const other = scope.data && scope.sign !== sign
  scope.sign = sign
  scope.data = data
  const asked = data.set
  if (other) scope.was = null
  else if (scope.kept && !same(scope.kept, asked)) scope.was = scope.kept
  scope.kept = asked
  if (!scope.moving) scope.now = { ...asked }
  scope.root.classList.toggle("still", !data.live)
  for (const [key, title] of FIELDS) {
    const input = scope.inputs[key]
    ;[input.min, input.max] = data.limits[key]
    input.setAttribute("aria-label", title)
  }
  scope.root.querySelector(".name").textContent = data.title
  const { values } = data.curve
  scope.low = values[0]
  scope.high = values[values.length - 1]
  scope.top = difficultyAt(data.curve, 0.985 * (data.n - 1)) // the few hardest may leave the picture
  scope.top = scope.low + 1.12 * (scope.top - scope.low) || scope.low + 1
  const every = Array.from({ length: data.n }, (_, rank) => rank)
  scope.every = binned(data.curve, every, scope.low, scope.top, BINS)
  if (other || !scope.width) outline(scope) // it asks how wide it is, for which the browser lays out the page
  draw(scope)
}

// A value while it moves; nothing goes up.
function draft(scope, change) {
  if (!scope.data.live) return
  scope.moving = true
  scope.now = { ...scope.now, ...change }
  window.dispatchEvent(new CustomEvent("d2c-drag", { detail: scope.now })) // the curves over k mark it too
  if (!scope.frame) scope.frame = requestAnimationFrame(() => { scope.frame = 0; draw(scope) })
}

// It rests: one message, when it says something new.
function settle(scope) {
  scope.moving = false
  if (!same(scope.now, scope.kept)) scope.send({ ...scope.now })
  else window.dispatchEvent(new CustomEvent("d2c-rest")) // nothing follows: what the page says holds again
}

function drag(scope, handle, to) {
  handle.onpointerdown = (event) => {
    if (!scope.data.live || event.button !== 0) return
    handle.setPointerCapture(event.pointerId)
    handle.onpointermove = (moved) => {
      const box = scope.curve.getBoundingClientRect()
      draft(scope, to(((moved.clientX - box.left) / box.width) * (scope.data.n - 1)))
    }
    handle.onpointerup = handle.onpointercancel = () => {
      handle.onpointermove = handle.onpointerup = handle.onpointercancel = null
      settle(scope)
    }
  }
}

const across = (scope, rank) => (scope.data.n > 1 ? rank / (scope.data.n - 1) : 0.5) * scope.width
const up = (scope, value) =>
  6 + (HEIGHT - BASE - 12) * (1 - Math.min(1, (value - scope.low) / (scope.top - scope.low)))

function outline(scope) {
  scope.width = scope.curve.clientWidth
  const { at, values } = scope.data.curve
  const points = at.map((rank, i) => `${across(scope, rank).toFixed(1)},${up(scope, values[i]).toFixed(1)}`)
  scope.root.querySelector(".line").setAttribute("d", points.length ? `M${points.join("L")}` : "")
}

function draw(scope) {
  const { root, data, now } = scope
  const get = (name) => root.querySelector(name)
  const ranks = ranksOf(scope, now)
  const before = data.live ? (scope.moving ? scope.kept : scope.was) : null
  const old = before && !same(before, now) ? ranksOf(scope, before) : []
  const floor = HEIGHT - BASE
  const tick = (rank, from, to) => `M${across(scope, rank).toFixed(1)},${from}V${to}`
  get(".ticks").setAttribute("d", ranks.map((rank) => tick(rank, floor, floor + 10)).join(""))
  get(".was").setAttribute("d", old.map((rank) => tick(rank, floor + 11, floor + 16)).join(""))
  get(".dots").setAttribute("d", ranks.map((rank) => `M${across(scope, rank).toFixed(1)},${up(scope, difficultyAt(data.curve, rank)).toFixed(1)}h0`).join(""))
  get(".ghost-key").hidden = !old.length
  const ends = (some) => [some[0] ?? 0, some.at(-1) ?? 0] // ranks ascend; where all are excluded there is none
  const [first, last] = ends(ranks)
  const [from, to] = ends(data.live ? ruleOf(scope, now) : ranks) // the handles move the rule, whatever is pinned
  const shade = (name, from, to) => {
    get(name).setAttribute("x", from)
    get(name).setAttribute("width", Math.max(0, to - from))
    get(name).setAttribute("height", floor)
  }
  shade(".low", 0, ranks.length ? across(scope, first) : scope.width)
  shade(".high", ranks.length ? across(scope, last) : scope.width, scope.width)
  get(".handle.offset").style.left = `${across(scope, from)}px`
  get(".handle.k").style.left = `${across(scope, to)}px`
  get(".handle.k").hidden = from === to
  bars(scope, ranks)
  const { step } = stepsOf(scope, now)
  const lowered = data.live && ranks.length > 1 && step !== now.k ? ` (k lowered to ${step})` : ""
  const unused = Math.round((100 * (data.n - 1 - last)) / data.n)
  const number = (n) => n.toLocaleString("en")
  const whole = told(scope, now)
  const all = whole ? data.total : total(data.sizes, now.per_class)
  const where = ranks.length ? `, ranks ${number(first)} to ${number(last)}${lowered}; the hardest ${unused} % unused` : ""
  const said = `${number(ranks.length)} of ${number(data.n)}${where}; ${number(all)} in all classes${data.edited && !whole ? ", edits aside" : ""}`
  get(".says").textContent = said
  scope.svg.setAttribute("aria-label", `Difficulty by rank of ${data.title}. Chosen: ${said}`)
  root.dataset.ranks = ranks.join(",")
  for (const [key] of FIELDS) {
    const input = scope.inputs[key]
    if (Number(input.value) !== now[key]) input.value = now[key]
    input.previousElementSibling.textContent = number(now[key])
  }
}

// Shares of the chosen over shares of all, so that the two shapes compare.
function bars(scope, ranks) {
  const some = binned(scope.data.curve, ranks, scope.low, scope.top, BINS)
  const share = (counts) => counts.map((c) => c / Math.max(1, counts.reduce((a, b) => a + b, 0)))
  const [all, chosen] = [share(scope.every), share(some)]
  const tallest = Math.max(...all, ...chosen) || 1
  const wide = 100 / BINS
  const path = (values, inset) => values
    .map((v, i) => `M${(i * wide + inset).toFixed(2)},100v${((-94 * v) / tallest).toFixed(2)}h${(wide - 2 * inset).toFixed(2)}v${((94 * v) / tallest).toFixed(2)}z`)
    .join("")
  scope.root.querySelector(".every").setAttribute("d", path(all, 0.15))
  scope.root.querySelector(".some").setAttribute("d", path(chosen, 1))
  scope.root.querySelector(".bars").setAttribute("aria-label", "Difficulty of the chosen images over all of the class, as shares")
}
