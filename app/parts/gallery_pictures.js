// Thumbnails for a gallery, many in one request: a request each costs the browser and the server more than the pictures
// do. Read before gallery.js. What was fetched is kept, the newest `KEPT` of them.

const THUMB = /^(\/d2c\/thumb)\/((?:subsets\/)?[^/]+)\/(\d+)\.webp\?v=(\w+)$/
const KEPT = 3000
const PICTURES = new Map() // address → data URL
const ASKED = new Map() // of one request: address → the images that wait for it

// Show the picture of an address in an <img>: now when it is known, else with the others of this moment.
function paint(image, src) {
  image.dataset.src = src
  const known = PICTURES.get(src)
  if (known || !THUMB.test(src)) {
    image.src = known ?? src
    return
  }
  if (!ASKED.size) queueMicrotask(ask)
  ASKED.set(src, [...(ASKED.get(src) ?? []), image])
}

async function ask() {
  const waiting = new Map(ASKED)
  ASKED.clear()
  const sets = new Map() // one request for each data set
  for (const src of waiting.keys()) {
    const [, , name, id, version] = src.match(THUMB)
    const key = `/d2c/thumbs/${name}.bin?v=${version}&ids=`
    sets.set(key, [...(sets.get(key) ?? []), { src, id }])
  }
  for (const [address, asked] of sets) {
    let found = []
    try {
      const answer = await fetch(address + asked.map(({ id }) => id).join(","))
      if (answer.ok) found = unpack(await answer.arrayBuffer())
    } catch { /* each is then asked for by itself, and says so when it is broken */ }
    asked.forEach(({ src }, i) => {
      const shown = found[i] ? `data:image/webp;base64,${found[i]}` : src
      if (found[i]) PICTURES.set(src, shown)
      for (const image of waiting.get(src)) if (image.dataset.src === src) image.src = shown // not another's by now
    })
  }
  for (const src of PICTURES.keys()) {
    if (PICTURES.size <= KEPT) break
    PICTURES.delete(src)
  }
}

// uint32 how many, uint32 the length of each, the files one after the other: in base64, "" for one that is not there.
function unpack(buffer) {
  const view = new DataView(buffer)
  const count = view.getUint32(0, true)
  let at = 4 + 4 * count
  return Array.from({ length: count }, (_, i) => {
    const length = view.getUint32(4 + 4 * i, true)
    const bytes = new Uint8Array(buffer, at, length)
    at += length
    let text = ""
    for (let j = 0; j < length; j += 8192) text += String.fromCharCode(...bytes.subarray(j, j + 8192))
    return btoa(text)
  })
}
