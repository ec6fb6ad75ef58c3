// Small curves over the interval k. The mark of k moves here, while a slider elsewhere on the page is dragged too;
// a click, or Enter after the arrow keys, sends one k up.

const PANELS = new WeakMap()
const HEIGHT = 76
const LEFT = 44 // px for the ends of the values
const RIGHT = 5
const DRAG = "d2c-drag" // what the microscope tells the page while it is dragged

export default function (component) {
  const root = component.parentElement.querySelector(".intervals")
  if (!root || !component.data) return undefined
  let panel = PANELS.get(root)
  if (!panel) PANELS.set(root, (panel = build(root)))
  panel.send = (k) => component.setTriggerValue("set", k)
  take(panel, component.data)
  return () => {
    panel.watcher.disconnect()
    window.removeEventListener(DRAG, panel.follow)
    PANELS.delete(root)
  }
}

function build(root) {
  root.innerHTML =
    "<div class='head'><output class='k' aria-live='polite'></output><span class='key now'>now</span><span class='key best'></span><span class='key hand'>click, or arrow keys and Enter, to take a k</span></div>" +
    "<div class='charts' tabindex='0' role='slider' aria-label='Interval k by its curves'></div>"
  const panel = { root, charts: root.querySelector(".charts"), at: null }
  panel.charts.onpointermove = (event) => {
    const chart = event.target.closest(".plot")
    look(panel, chart ? placeAt(panel, chart, event.clientX) : null)
  }
  panel.charts.onpointerleave = () => look(panel, null)
  panel.charts.onclick = (event) => {
    const chart = event.target.closest(".plot")
    if (chart) settle(panel, placeAt(panel, chart, event.clientX))
  }
  panel.charts.onblur = () => look(panel, null)
  panel.charts.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key]
    const last = panel.data.k.length - 1
    const from = panel.at ?? nearest(panel.data.k, panel.now)
    if (step) look(panel, Math.min(last, Math.max(0, from + step)))
    else if (event.key === "Home") look(panel, 0)
    else if (event.key === "End") look(panel, last)
    else if (event.key === "Escape" && panel.at !== null) look(panel, null)
    else if (event.key === "Enter" && panel.at !== null) settle(panel, panel.at)
    else return
    event.preventDefault()
    event.stopPropagation()
  }
  panel.follow = (event) => {
    if (!panel.data || !event.detail) return
    panel.now = event.detail.k
    draw(panel)
  }
  window.addEventListener(DRAG, panel.follow)
  panel.watcher = new ResizeObserver(() => { if (panel.data) { outline(panel); draw(panel) } })
  panel.watcher.observe(panel.charts)
  return panel
}

// Data only changes when a budget or a map does; otherwise the marks move and nothing else.
function take(panel, data) {
  const { now, auto, ...shape } = data
  const signature = JSON.stringify(shape)
  const other = panel.signature !== signature
  panel.data = data
  panel.now = now
  if (other) {
    panel.signature = signature
    panel.at = null
    figures(panel)
    outline(panel)
  }
  const best = panel.root.querySelector(".key.best")
  best.textContent = auto ? `the best by the rule, k = ${number(data.best)}: taken` : `the best by the rule, k = ${number(data.best)}`
  draw(panel)
}

function figures(panel) {
  const all = panel.data.charts.map((chart) => ({ ...chart, k: panel.data.k }))
  if (panel.data.judged) all.push({ ...panel.data.judged, points: true })
  panel.all = all
  panel.charts.classList.toggle("six", all.length > 5)
  panel.charts.replaceChildren(...all.map((chart) => {
    const figure = document.createElement("figure")
    figure.innerHTML =
      "<figcaption><b></b><output></output><small></small></figcaption><div class='plot'>" +
      "<svg role='img'><path class='floor'/><path class='rule'/><path class='line'/><path class='points'/><path class='hover'/><path class='mark'/><path class='diamond'/><circle class='dot' r='4'/></svg>" +
      "<span class='end top'></span><span class='end low'></span></div><div class='axis'><span></span><span></span></div>"
    figure.querySelector("b").textContent = figure.querySelector("b").title = chart.title
    figure.querySelector("small").textContent = figure.querySelector("small").title = chart.hint
    const [first, last] = figure.querySelectorAll(".axis span")
    first.textContent = `k = ${number(panel.data.k[0])}`
    last.textContent = number(panel.data.k[panel.data.k.length - 1])
    return figure
  }))
}

const number = (n) => n.toLocaleString("en")
const nearest = (ks, k) => ks.reduce((best, one, i) => (Math.abs(one - k) < Math.abs(ks[best] - k) ? i : best), 0)
const written = (unit, v) =>
  unit === "percent" ? `${(100 * v).toFixed(1)} %` : Math.abs(v) >= 1000 ? number(Math.round(v)) : String(Number(v.toPrecision(3)))

// 0 … 1 along the axis, by k or by its logarithm.
function along(panel, k) {
  const { k: ks, log } = panel.data
  const low = ks[0], high = ks[ks.length - 1]
  if (high === low) return 0.5
  const held = Math.min(Math.max(k, low), high)
  return log ? Math.log(held / low) / Math.log(high / low) : (held - low) / (high - low)
}

function placeAt(panel, chart, x) {
  const box = chart.getBoundingClientRect()
  const share = (x - box.left - LEFT) / (box.width - LEFT - RIGHT)
  const places = panel.data.k.map((k) => along(panel, k))
  return places.reduce((best, place, i) => (Math.abs(place - share) < Math.abs(places[best] - share) ? i : best), 0)
}

function outline(panel) {
  panel.charts.querySelectorAll("figure").forEach((figure, i) => {
    const chart = panel.all[i]
    const wide = figure.querySelector(".plot").clientWidth
    const low = Math.min(...chart.values), high = Math.max(...chart.values)
    chart.wide = wide
    chart.x = (k) => LEFT + along(panel, k) * (wide - LEFT - RIGHT)
    chart.y = (v) => (high > low ? 8 + (HEIGHT - 20) * (1 - (v - low) / (high - low)) : HEIGHT / 2)
    const points = chart.k.map((k, j) => `${chart.x(k).toFixed(1)},${chart.y(chart.values[j]).toFixed(1)}`)
    figure.querySelector(".floor").setAttribute("d", `M${LEFT},${HEIGHT - 4.5}H${wide}`)
    figure.querySelector(".line").setAttribute("d", points.length > 1 ? `M${points.join("L")}` : "")
    figure.querySelector(".points").setAttribute("d", chart.points ? points.map((p) => `M${p}h0`).join("") : "")
    figure.querySelector(".end.top").textContent = high > low ? written(chart.unit, high) : ""
    figure.querySelector(".end.low").textContent = high > low ? written(chart.unit, low) : ""
  })
}

function look(panel, at) {
  panel.at = at
  draw(panel)
}

function settle(panel, at) {
  panel.at = null
  panel.now = panel.data.k[at]
  draw(panel)
  if (panel.now !== panel.data.now || panel.data.auto) panel.send(panel.now)
}

function draw(panel) {
  const { root, data, now, at } = panel
  const k = at === null ? now : data.k[at]
  const beyond = at === null && now > data.k[data.k.length - 1] ? " (acts like the last)" : ""
  root.querySelector("output.k").textContent = `k = ${number(k)}${at === null ? beyond : k === data.best ? ", the best" : ""}`
  root.dataset.k = k
  const said = []
  panel.charts.querySelectorAll("figure").forEach((figure, i) => {
    const chart = panel.all[i]
    const value = (of) => {
      const place = nearest(chart.k, of)
      return chart.points && chart.k[place] !== of ? null : chart.values[place]
    }
    const get = (name) => figure.querySelector(name)
    const shown = value(k)
    get("output").textContent = shown === null ? "–" : written(chart.unit, shown)
    const rule = value(data.best)
    get(".rule").setAttribute("d", `M${chart.x(data.best).toFixed(1)},4V${HEIGHT - 5}`)
    const [bx, by] = [chart.x(data.best), rule === null ? 0 : chart.y(rule)]
    get(".diamond").setAttribute("d", rule === null ? "" : `M${bx},${by - 5}l5,5l-5,5l-5,-5z`)
    get(".mark").setAttribute("d", `M${chart.x(now).toFixed(1)},4V${HEIGHT - 5}`)
    const mine = value(now)
    get(".dot").style.display = mine === null ? "none" : ""
    if (mine !== null) {
      get(".dot").setAttribute("cx", chart.x(now))
      get(".dot").setAttribute("cy", chart.y(mine))
    }
    get(".hover").setAttribute("d", at === null ? "" : `M${chart.x(k).toFixed(1)},4V${HEIGHT - 5}`)
    const text = shown === null ? `${chart.title} not trained at this k` : `${chart.title} ${written(chart.unit, shown)}`
    get("svg").setAttribute("aria-label", `${chart.title} over k; at k = ${k}: ${text}`)
    said.push(text)
  })
  const box = panel.charts
  box.setAttribute("aria-valuemin", data.k[0])
  box.setAttribute("aria-valuemax", data.k[data.k.length - 1])
  box.setAttribute("aria-valuenow", k)
  box.setAttribute("aria-valuetext", `k = ${k}: ${said.join(", ")}`)
}
