// What the map canvas computes of its points, without a screen: columns, colours, the nearest point, polygons.
// Read before canvas_draw.js and canvas.js, which see these functions.

const SPAN = 65535 // the highest coordinate on the wire
const UNKNOWN = 255 // the level of an image without a difficulty
const CELLS = 256 // of the grid that finds points, a side
const OWN = 9 // classes with a colour of their own, where there are more than ten

// A header with its columns as typed arrays: see d2c.explore.points.frame.
function unframe(buffer) {
  const length = new DataView(buffer).getUint32(0, true)
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)))
  const types = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array }
  let at = 4 + length
  for (const [name, type, count] of header.columns) {
    header[name] = new types[type](buffer, at, count)
    at += Math.ceil(header[name].byteLength / 8) * 8
  }
  return header
}

// Which classes have a colour of their own: all of up to ten, else those looked at first, then the largest.
function coloured(counts, only) {
  const labels = counts.map((_, label) => label)
  if (labels.length <= OWN + 1) return labels
  const asked = new Set(only)
  labels.sort((a, b) => asked.has(b) - asked.has(a) || counts[b] - counts[a] || a - b)
  return labels.slice(0, OWN)
}

const bit = (mask, i) => (mask ? (mask[i >> 3] >> (i & 7)) & 1 : 0)

// The place in the palette of every point: by class (OWN = other), by level, by whether it is chosen, or of two
// chosen sets by which holds it: 0 = neither, 1 = the first alone, 2 = the second alone, 3 = both.
function tints(points, by, { own = [], level = null, chosen = null, second = null }) {
  const n = points.points
  const found = new Uint8Array(n)
  if (by === "difficulty" && level) found.set(level)
  else if ((by === "chosen" && chosen) || by === "sets") {
    for (let i = 0; i < n; i++) found[i] = bit(chosen, i) | (bit(second, i) << 1)
  }
  else {
    const of = new Uint8Array(points.counts.length).fill(OWN)
    own.forEach((label, i) => { of[label] = i })
    for (let i = 0; i < n; i++) found[i] = of[points.label[i]]
  }
  return found
}

// One byte a point: 1 = looked at, 2 = marked as chosen, 4 = as chosen by the second set. Also how many are looked at
// and, with a mask, which.
function flags(n, mask, marks = null, second = null) {
  const found = new Uint8Array(n)
  const rows = mask ? new Uint32Array(n) : null
  let lit = 0
  for (let i = 0; i < n; i++) {
    const on = mask ? (mask[i >> 3] >> (i & 7)) & 1 : 1
    if (on && rows) rows[lit] = i
    lit += on
    found[i] = on | (bit(marks, i) << 1) | (bit(second, i) << 2)
  }
  return { found, lit, rows: rows?.slice(0, lit) ?? null }
}

// How many points are in neither of two sets, in the first alone, in the second alone, in both.
function tally(n, first, second) {
  const many = [0, 0, 0, 0]
  for (let i = 0; i < n; i++) many[bit(first, i) | (bit(second, i) << 1)]++
  return many
}

// Rows out of the gaps between them, in base64: see d2c.explore.gaps.
function ungap(text) {
  const bytes = atob(text)
  const rows = new Uint32Array(bytes.length)
  let row = -1
  let count = 0
  for (let i = 0; i < bytes.length; i++) {
    const gap = bytes.charCodeAt(i)
    row += gap
    if (gap < 255) rows[count++] = ++row
  }
  return rows.subarray(0, count)
}

// Places and tints of some rows alone.
function gathered(points, tint, rows) {
  const place = new Uint16Array(2 * rows.length)
  const tints = new Uint8Array(rows.length)
  for (let i = 0; i < rows.length; i++) {
    place[2 * i] = points.xy[2 * rows[i]]
    place[2 * i + 1] = points.xy[2 * rows[i] + 1]
    tints[i] = tint[rows[i]]
  }
  return { place, tint: tints, flag: new Uint8Array(rows.length).fill(1) }
}

// Points by the cell they lie in: `rows` from start[c] to start[c + 1] are those of cell c.
function grid(points) {
  const { xy, points: n } = points
  const start = new Uint32Array(CELLS * CELLS + 1)
  for (let i = 0; i < n; i++) start[(xy[2 * i + 1] >> 8) * CELLS + (xy[2 * i] >> 8) + 1]++
  for (let c = 0; c < CELLS * CELLS; c++) start[c + 1] += start[c]
  const next = start.slice()
  const rows = new Uint32Array(n)
  for (let i = 0; i < n; i++) rows[next[(xy[2 * i + 1] >> 8) * CELLS + (xy[2 * i] >> 8)]++] = i
  return { start, rows }
}

// The point nearest to (x, y) within (rx, ry), all in coordinates of the wire; −1 when there is none.
function nearest(points, index, x, y, rx, ry) {
  const cell = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor(value / 256)))
  let best = -1
  let least = 1
  for (let row = cell(y - ry); row <= cell(y + ry); row++) {
    const from = index.start[row * CELLS + cell(x - rx)]
    const to = index.start[row * CELLS + cell(x + rx) + 1]
    for (let j = from; j < to; j++) {
      const i = index.rows[j]
      const dx = (points.xy[2 * i] - x) / rx
      const dy = (points.xy[2 * i + 1] - y) / ry
      const far = dx * dx + dy * dy
      if (far <= least) { least = far; best = i }
    }
  }
  return best
}

// Where each of the classes is densest, in coordinates of the wire; null for a class without points.
function spots(points, labels, side = 24) {
  const of = new Int32Array(points.counts.length).fill(-1)
  labels.forEach((label, k) => { of[label] = k })
  const sums = new Float64Array(labels.length * side * side * 3)
  const cell = (value) => Math.min(side - 1, Math.floor((value * side) / SPAN))
  for (let i = 0; i < points.points; i++) {
    const k = of[points.label[i]]
    if (k < 0) continue
    const x = points.xy[2 * i]
    const y = points.xy[2 * i + 1]
    const at = 3 * ((k * side + cell(y)) * side + cell(x))
    sums[at]++
    sums[at + 1] += x
    sums[at + 2] += y
  }
  return labels.map((_, k) => {
    let best = -1
    for (let c = k * side * side; c < (k + 1) * side * side; c++) if (best < 0 || sums[3 * c] > sums[3 * best]) best = c
    const count = sums[3 * best]
    return count ? [sums[3 * best + 1] / count, sums[3 * best + 2] / count] : null
  })
}

// A polygon with at most `most` corners: the corner that spans the least area with its two neighbours goes first,
// and every one that spans less than `slack` (twice a triangle's, in square pixels) goes.
function simplify(corners, most, slack = 8) {
  const kept = corners.slice()
  const area = (a, b, c) => Math.abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]))
  while (kept.length > 3) {
    let least = Infinity
    let at = 0
    for (let i = 0; i < kept.length; i++) {
      const spanned = area(kept[(i + kept.length - 1) % kept.length], kept[i], kept[(i + 1) % kept.length])
      if (spanned < least) { least = spanned; at = i }
    }
    if (kept.length <= most && least >= slack) break
    kept.splice(at, 1)
  }
  return kept
}

// A palette of 256 colours [4 × 256 bytes] out of hex colours: as they are, or run through smoothly from `low`
// to `high` of their length.
function ramp(colours, smooth = false, low = 0, high = 1) {
  const rgb = colours.map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)))
  const found = new Uint8Array(1024).fill(255)
  for (let i = 0; i < 256; i++) {
    const place = smooth ? (low + (high - low) * (Math.min(i, 254) / 254)) * (rgb.length - 1) : Math.min(i, rgb.length - 1)
    const a = rgb[Math.floor(place)]
    const b = rgb[Math.min(Math.floor(place) + 1, rgb.length - 1)]
    const share = place - Math.floor(place)
    for (let c = 0; c < 3; c++) found[4 * i + c] = Math.round(a[c] + (b[c] - a[c]) * share)
  }
  return found
}
