// A keyed grid of buttons. Runs again whenever its data change: tiles are reused by id, those that left wait in a pool, so
// pictures that stay or come back are neither fetched nor decoded again. Selecting happens here; ids alone travel up.

const TINY = 48 // px: originals at most this wide are shown with their pixels
const POOL = 600 // tiles that wait to be shown again
const TIMING = "d2c gallery" // what the last run took, for who looks at the browser's timings
const REST = 150 // ms without another key before a selection is told
const MOVES = /^(Arrow|Home$|End$)/
const SIGNS = { pinned: "keep", excluded: "block" }
const KEYS = [
  ["← → ↑ ↓, Home, End", "move"],
  ["Enter, click", "look at it"],
  ["Shift + arrows, Shift-click", "select a range"],
  ["Space, Ctrl-click", "select it too, or not"],
  ["Ctrl + A", "select the page"],
  ["P", "pin, or unpin"],
  ["X", "exclude, or put back"],
  ["Esc", "let go of the selection"],
  ["Ctrl + Z, Ctrl + Shift + Z", "undo, redo"],
]

export default function (component) {
  if (component.data) attend(component.data, (data) => draw(component, data))
}

function draw({ parentElement, setTriggerValue }, data) {
  const root = parentElement.querySelector(".gallery")
  if (!root) return
  const me = (root.d2c ??= { pool: new Map(), selection: { ids: [], base: [], anchor: null }, sent: 0, timer: 0 })
  const many = data.selected !== null, began = performance.now()

  root.setAttribute("aria-label", data.label)
  root.setAttribute("aria-multiselectable", String(many))
  root.style.setProperty("--tile", `${data.size}px`)
  root.dataset.fit = data.fit
  // An answer to an earlier message does not undo what was selected since.
  if (many && data.heard >= me.sent && !me.timer) {
    const ids = data.selected
    me.selection = String(ids) === String(me.selection.ids) ? me.selection : { ...me.selection, ids, base: ids }
  }

  const lost = root.getRootNode().activeElement
  const place = lost && lost.parentNode === root ? me.nodes.indexOf(lost) : -1
  // Once the pool is full, the tile that waited longest becomes another image's: to make one anew takes longer.
  const wanted = new Set(data.tiles.map((tile) => tile[0]))
  const spare = me.pool.size < POOL ? [] : [...me.pool.values()].filter((node) => !wanted.has(node.d2c.id))
  const all = [] // tiles and the headings between them
  let last = ""
  const nodes = data.tiles.map((tile) => {
    const group = tile[6]
    if (group !== last) all.push(heading(group, me))
    last = group
    const node = me.pool.get(tile[0]) ?? again(spare.shift(), tile[0], me) ?? make(tile[0])
    me.pool.delete(tile[0])
    show(node, tile, tile[0] === data.picked)
    all.push(node)
    return node
  })
  const stay = new Set(all)
  for (const node of [...root.children]) {
    if (stay.has(node)) continue
    node.remove()
    if (node.d2c) me.pool.set(node.d2c.id, node)
  }
  let next = root.firstChild
  for (const node of all) {
    if (node === next) next = next.nextSibling
    else root.insertBefore(node, next)
  }
  nodes.forEach((node) => me.pool.set(node.d2c.id, node)) // those shown last are the last to go
  for (const [id, node] of me.pool) {
    if (me.pool.size <= Math.max(POOL, nodes.length)) break
    if (!stay.has(node)) me.pool.delete(id)
  }
  me.nodes = nodes
  const ids = nodes.map((node) => node.d2c.id)
  mark(nodes, me.selection, many)
  const entry = nodes[place] ?? nodes.find((node) => node.d2c.id === data.picked) ?? nodes[0]
  nodes.forEach((node) => { node.tabIndex = node === entry ? 0 : -1 })
  if (place >= 0 && !stay.has(lost)) (nodes[place] ?? nodes.at(-1))?.focus({ preventScroll: true })

  performance.clearMeasures(TIMING)
  performance.measure(TIMING, { start: began })

  const select = (how, id, now) => {
    me.selection = selectedAfter(me.selection, how, id, ids)
    mark(nodes, me.selection, many)
    clearTimeout(me.timer)
    if (how === "move") return
    me.timer = setTimeout(() => {
      me.timer = 0
      me.sent = Math.max(Date.now(), me.sent + 1)
      setTriggerValue("selected", { ids: me.selection.ids, at: me.sent })
    }, now ? 0 : REST)
  }
  const edit = (what, id) => {
    clearTimeout(me.timer)
    me.timer = 0
    me.sent = Math.max(Date.now(), me.sent + 1)
    const chosen = me.selection.ids
    setTriggerValue("edit", { what, ids: chosen.length ? chosen : [id], selected: chosen, at: me.sent })
  }
  const keys = parentElement.querySelector(".keys")

  root.onclick = (event) => {
    const node = event.target.closest("button")
    if (!node) return
    const id = node.d2c.id
    if (many && event.shiftKey) return select("range", id, true)
    if (many && (event.ctrlKey || event.metaKey)) return select("toggle", id, true)
    if (many) select("move", id)
    setTriggerValue("picked", id)
  }
  root.onmousedown = (event) => { if (event.shiftKey) event.preventDefault() } // no text is selected along
  root.onkeydown = (event) => {
    const node = event.target.closest("button"), at = nodes.indexOf(node)
    if (at < 0) return
    const bare = !event.ctrlKey && !event.metaKey && !event.altKey
    const done = many && act(event, node.d2c.id, bare)
    const to = done || !bare || !MOVES.test(event.key) ? -1 : target(event.key, at, nodes.map((each) => [each.offsetTop, each.offsetLeft]))
    if (to >= 0) {
      nodes[at].tabIndex = -1
      nodes[to].tabIndex = 0
      nodes[to].focus()
      if (many && event.shiftKey) {
        if (me.selection.anchor === null || !ids.includes(me.selection.anchor)) select("move", ids[at])
        select("range", ids[to])
      } else if (many) select("move", ids[to])
    }
    if (!done && to < 0) return
    event.preventDefault()
    event.stopPropagation()
  }
  function act(event, id, bare) {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key
    if (key === "?") keys.hidden = !keys.hidden
    else if (key === "Escape" && !keys.hidden) keys.hidden = true
    else if (key === "Escape" && me.selection.ids.length) select("none", id, true)
    else if (key === "a" && (event.ctrlKey || event.metaKey)) select("all", id)
    else if (key === " " && bare) select("toggle", id)
    else if (key === "p" && bare) edit("pin", id)
    else if (key === "x" && bare) edit("exclude", id)
    else return false
    return true
  }
  if (many && !keys.firstChild) fill(keys)
  goesOn(me, parentElement.querySelector(".on"), data.scrolls ? nodes.at(-1) : null)
}

// Says that there is more below until the last tile's lower half is seen.
function goesOn(me, sign, last) {
  if (me.last === last) return
  me.last = last
  me.ends?.disconnect()
  sign.hidden = !last
  if (!last) return
  me.ends = new IntersectionObserver(([...seen]) => { sign.hidden = seen.at(-1).intersectionRatio > 0.5 }, { threshold: 0.5 })
  me.ends.observe(last)
}

function heading(group, me) {
  me.headings ??= new Map()
  if (me.headings.size > 200) me.headings.clear()
  const node = me.headings.get(group) ?? document.createElement("h4")
  me.headings.set(group, node)
  if (!node.textContent) node.textContent = group
  return node
}

function again(node, id, me) {
  if (!node) return undefined
  me.pool.delete(node.d2c.id)
  node.d2c.id = id
  node.dataset.id = id
  return node
}

let blank = null

function make(id) {
  if (!blank) {
    blank = document.createElement("button")
    blank.type = "button"
    blank.setAttribute("role", "option")
    blank.innerHTML =
      "<span class='frame'><img loading='lazy' decoding='async' alt='' draggable='false'><span class='tick' aria-hidden='true'>check</span>" +
      "<span class='sign' aria-hidden='true'></span><span class='box' aria-hidden='true'>check_box</span></span>" +
      "<span class='below'><span class='caption'></span><span class='note'></span></span>"
  }
  const node = blank.cloneNode(true)
  node.dataset.id = id
  const [frame, below] = node.children
  node.d2c = { id, image: frame.children[0], sign: frame.children[2], caption: below.children[0], note: below.children[1], was: "" }
  const { image } = node.d2c
  image.onload = () => {
    node.classList.remove("broken", "waiting")
    node.classList.toggle("tiny", image.naturalWidth <= TINY)
  }
  image.onerror = () => { node.classList.add("broken"); node.classList.remove("waiting") }
  return node
}

// What a tile shows; nothing is touched where nothing changed.
function show(node, tile, picked) {
  const [, src, caption, title, chosen, dimmed, , pinned, excluded, note] = tile
  const is = `${picked}\n${tile.join("\n")}`
  const parts = node.d2c
  if (parts.was === is) return
  parts.was = is
  if (parts.src !== src) {
    node.classList.add("waiting") // what it still shows is another's picture
    parts.src = src
    paint(parts.image, src)
  }
  parts.caption.textContent = caption
  parts.note.textContent = note
  parts.sign.textContent = pinned ? SIGNS.pinned : excluded ? SIGNS.excluded : ""
  const classes = { chosen, dimmed: dimmed || excluded, pinned, excluded, picked }
  for (const name in classes) node.classList.toggle(name, classes[name])
  node.title = title
  const marks = [title || caption, chosen && "chosen", dimmed && "not chosen", pinned && "pinned", excluded && "excluded"]
  node.setAttribute("aria-label", marks.filter(Boolean).join(", "))
  node.setAttribute("aria-current", String(picked))
  node.setAttribute("aria-selected", String(picked)) // of a gallery in which many can be selected, see mark
}

function mark(nodes, selection, many) {
  if (!many) return
  const ids = new Set(selection.ids)
  for (const node of nodes) {
    const is = ids.has(node.d2c.id)
    node.classList.toggle("selected", is)
    node.setAttribute("aria-selected", String(is))
  }
}

function fill(keys) {
  const list = document.createElement("dl")
  for (const [key, does] of KEYS) {
    const [dt, dd] = ["dt", "dd"].map((name) => document.createElement(name))
    dt.textContent = key
    dd.textContent = does
    list.append(dt, dd)
  }
  keys.append(list)
}
