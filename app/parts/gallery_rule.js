// What is selected after a gesture. A selection is { ids, base, anchor }: `base` is what was selected when the anchor was
// set, so that a range can grow and shrink again without losing what was selected before it.

const MOST_SELECTED = 2000 // ids that travel

// `how`: "toggle", "range" (from the anchor to `id`), "move" (the anchor alone), "all", "none".
function selectedAfter(selection, how, id, order) {
  const { ids, base, anchor } = selection
  if (how === "none") return { ids: [], base: [], anchor: id ?? anchor }
  if (how === "all") return { ids: union(ids, order), base: union(ids, order), anchor }
  if (how === "move") return { ids, base: ids, anchor: id }
  if (how === "toggle") {
    const left = ids.includes(id) ? ids.filter((other) => other !== id) : union(ids, [id])
    return { ids: left, base: left, anchor: id }
  }
  const from = order.indexOf(anchor), to = order.indexOf(id)
  if (to < 0) return selection
  const range = from < 0 ? [id] : order.slice(Math.min(from, to), Math.max(from, to) + 1)
  return { ids: union(base, range), base, anchor: from < 0 ? id : anchor }
}

function union(some, others) {
  return [...new Set([...some, ...others])].slice(0, MOST_SELECTED)
}

// Where a key leads from tile `at`, with each tile's place as [top, left]; -1 for keys that are not ours and for places
// that are not there. Up and down go to the nearest tile of the next row, for headings break the columns.
function target(key, at, places) {
  const last = places.length - 1
  if (key === "Home") return 0
  if (key === "End") return last
  if (key === "ArrowLeft") return at - 1
  if (key === "ArrowRight") return at < last ? at + 1 : -1
  const way = { ArrowUp: -1, ArrowDown: 1 }[key]
  if (!way) return -1
  const [top, left] = places[at]
  let best = -1
  places.forEach(([t, l], i) => {
    if ((t - top) * way <= 0) return
    const nearer = best < 0 ? -1 : (t - places[best][0]) * way
    if (nearer < 0 || (nearer === 0 && Math.abs(l - left) < Math.abs(places[best][1] - left))) best = i
  })
  return best
}
