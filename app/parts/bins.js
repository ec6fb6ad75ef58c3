// Bars of the chosen over bars of all, each as a share of its own set. The nodes stay; only paths and words change.

const HELD = new WeakMap()

export default function (component) {
  if (component.data) attend(component.data, (data) => draw(component.parentElement, data))
}

function draw(parent, data) {
  const root = parent.querySelector(".bins")
  if (!root) return
  let held = HELD.get(root)
  if (!held) HELD.set(root, (held = build(root)))
  take(held, data)
}

function build(root) {
  root.innerHTML =
    "<figcaption><span class='title'></span><span class='keys'><span class='key all'>share of all</span><span class='key chosen'>of the chosen</span></span></figcaption>" +
    "<svg role='img' tabindex='0' preserveAspectRatio='none' viewBox='0 0 100 100'><rect class='here' y='0' height='100'/><path class='every'/><path class='some'/></svg>" +
    "<div class='axis' aria-hidden='true'></div><output class='says'></output>"
  const get = (name) => root.querySelector(name)
  const held = { root, svg: get("svg"), every: get(".every"), some: get(".some"), here: get(".here"), says: get(".says"), at: -1 }
  held.svg.onpointermove = (event) => {
    const box = held.svg.getBoundingClientRect()
    point(held, Math.floor(((event.clientX - box.left) / box.width) * held.data.all.length))
  }
  held.svg.onpointerleave = held.svg.onblur = () => point(held, -1)
  held.svg.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    if (!step) return
    event.preventDefault()
    point(held, held.at < 0 ? (step > 0 ? 0 : held.data.all.length - 1) : held.at + step)
  }
  return held
}

function take(held, data) {
  held.data = data
  const share = (counts) => counts.map((count) => count / Math.max(1, counts.reduce((sum, each) => sum + each, 0)))
  const [all, chosen] = [share(data.all), share(data.chosen)]
  const tallest = Math.max(...all, ...chosen) || 1
  const wide = 100 / all.length
  const path = (values, inset) => values
    .map((v, i) => (v ? `M${(i * wide + inset * wide).toFixed(2)},100v${((-97 * v) / tallest).toFixed(2)}h${(wide * (1 - 2 * inset)).toFixed(2)}V100z` : ""))
    .join("")
  held.every.setAttribute("d", path(all, 0.04))
  held.some.setAttribute("d", path(chosen, 0.26))
  held.svg.setAttribute("aria-label", data.alt)
  held.root.querySelector(".title").textContent = data.title
  const { edges } = data
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => edges[0] + part * (edges[edges.length - 1] - edges[0]))
  const axis = ticks.map((value) => Number(value.toPrecision(2))).join(" ")
  if (held.axis !== axis) {
    held.axis = axis
    held.root.querySelector(".axis").replaceChildren(
      ...axis.split(" ").map((text) => Object.assign(document.createElement("span"), { textContent: text })),
    )
  }
  point(held, held.at)
}

function point(held, at) {
  const { data } = held
  held.at = at < 0 || at >= data.all.length ? -1 : at
  held.here.setAttribute("width", held.at < 0 ? 0 : 100 / data.all.length)
  held.here.setAttribute("x", (Math.max(held.at, 0) * 100) / data.all.length)
  const [low, high] = [data.edges[held.at], data.edges[held.at + 1]]
  const text = held.at < 0 ? "" : `${low} to ${high}: ${data.chosen[held.at].toLocaleString("en")} chosen of ${data.all[held.at].toLocaleString("en")}`
  if (held.says.textContent !== text) held.says.textContent = text
}
