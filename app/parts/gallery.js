// A keyed grid of buttons. Runs again whenever its data change: tiles are reused by id, so pictures that
// stay are neither fetched nor drawn again.

const TINY = 48 // px: originals at most this wide are shown with their pixels

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".gallery")
  if (!root || !data) return

  root.setAttribute("aria-label", data.label)
  root.style.setProperty("--tile", `${data.size}px`)
  root.dataset.fit = data.fit

  const old = new Map([...root.children].map((node) => [node.dataset.id ?? node.dataset.group, node]))
  const wanted = new Set(data.tiles.map(([id]) => String(id)))
  const spare = [...old.values()].filter((node) => node.dataset.id && !wanted.has(node.dataset.id))
  const all = [] // tiles and the headings between them
  let last = ""
  const nodes = data.tiles.map(([id, src, caption, title, chosen, dimmed, group]) => {
    if (group !== last) all.push(heading(group, old))
    last = group
    const node = old.get(String(id)) ?? again(spare.shift(), id, old) ?? make(id)
    old.delete(String(id))
    const image = node.querySelector("img")
    if (image.dataset.src !== src) {
      node.classList.add("waiting") // what it still shows is another's picture
      paint(image, src)
    }
    node.querySelector(".caption").textContent = caption
    node.classList.toggle("chosen", chosen)
    node.classList.toggle("dimmed", dimmed)
    node.classList.toggle("picked", id === data.picked)
    node.setAttribute("aria-selected", String(id === data.picked))
    node.title = title
    node.setAttribute("aria-label", [title || caption, chosen && "chosen", dimmed && "not chosen"].filter(Boolean).join(", "))
    node.tabIndex = -1
    all.push(node)
    return node
  })
  old.forEach((node) => node.remove())
  all.forEach((node, i) => { if (root.children[i] !== node) root.insertBefore(node, root.children[i] ?? null) })
  const entry = nodes.find((node) => node.classList.contains("picked")) ?? nodes[0]
  if (entry) entry.tabIndex = 0

  root.onclick = (event) => {
    const node = event.target.closest("button")
    if (node) setTriggerValue("picked", Number(node.dataset.id))
  }
  root.onkeydown = (event) => {
    const at = nodes.indexOf(event.target.closest("button"))
    const to = at < 0 ? -1 : target(event.key, at, nodes)
    if (to < 0) return
    event.preventDefault()
    nodes[at].tabIndex = -1
    nodes[to].tabIndex = 0
    nodes[to].focus()
  }
}

function heading(group, old) {
  const key = `group ${group}`
  const node = old.get(key) ?? document.createElement("h4")
  old.delete(key)
  node.dataset.group = key
  node.textContent = group
  return node
}

// A tile that is no longer wanted, for another image: to make one anew takes longer.
function again(node, id, old) {
  if (!node) return undefined
  old.delete(node.dataset.id)
  node.dataset.id = id
  return node
}

function make(id) {
  const node = document.createElement("button")
  node.type = "button"
  node.dataset.id = id
  node.setAttribute("role", "option")
  node.innerHTML =
    "<span class='frame'><img alt='' loading='lazy' decoding='async'><span class='tick' aria-hidden='true'>check</span></span>" +
    "<span class='caption'></span>"
  const image = node.querySelector("img")
  image.onload = () => {
    node.classList.remove("broken", "waiting")
    node.classList.toggle("tiny", image.naturalWidth <= TINY)
  }
  image.onerror = () => { node.classList.add("broken"); node.classList.remove("waiting") }
  return node
}

// Where a key leads from tile `at`; -1 for keys that are not ours.
function target(key, at, nodes) {
  const first = nodes[0].offsetTop
  const columns = Math.max(nodes.findIndex((node) => node.offsetTop > first), 0) || nodes.length
  const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key]
  if (key === "Home") return 0
  if (key === "End") return nodes.length - 1
  if (move === undefined) return -1
  const to = at + move
  return to >= 0 && to < nodes.length ? to : -1
}
