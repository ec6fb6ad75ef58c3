// Read into the page by app_speed.py: when, after a key press, each thing that follows k is new in the DOM.
(() => {
  const roots = (from = document) =>
    [from, ...[...from.querySelectorAll("*")].flatMap((node) => (node.shadowRoot ? roots(node.shadowRoot) : []))]
  const known = new Map() // where a part's own root is: to look for it costs more than to read it
  const under = (key, selector) => {
    const held = known.get(key + selector)
    if (held?.isConnected) return held
    const host = document.querySelector(`.st-key-${key}`)
    for (const root of host ? roots(host) : []) {
      const node = root.querySelector(selector)
      if (node) {
        known.set(key + selector, node)
        return node
      }
    }
    return null
  }
  const SIGNS = {
    histogram: () => under("chosen_bins", ".some")?.getAttribute("d") ?? under("chosen_bins", ".barlayer")?.innerHTML,
    counts: () => ["counts", "rule"].map((key) => document.querySelector(`.st-key-${key}`)?.textContent).join(),
    map: () => under("choice_map", ".atlas")?.dataset.mask,
    gallery: () => [...(under("chosen", ".gallery")?.querySelectorAll("button") ?? [])].map((node) => node.dataset.id).join(),
    empty: () => document.querySelector(".st-key-empty")?.textContent,
  }
  const measure = (names) => new Promise((resolve) => {
    const before = Object.fromEntries(names.map((name) => [name, SIGNS[name]()]))
    const took = {}
    let began = null
    const look = () => {
      if (began === null) return
      for (const name of names) if (!(name in took) && SIGNS[name]() !== before[name]) took[name] = performance.now() - began
      if (names.some((name) => !(name in took))) return
      watchers.forEach((watcher) => watcher.disconnect())
      clearTimeout(late)
      resolve(took)
    }
    const late = setTimeout(() => {
      watchers.forEach((watcher) => watcher.disconnect())
      resolve({ ...took, missing: names.filter((name) => !(name in took)).map((name) => [name, before[name], SIGNS[name]()]) })
    }, 20000)
    const watchers = roots().map((root) => {
      const watcher = new MutationObserver(look)
      watcher.observe(root, { subtree: true, childList: true, attributes: true, characterData: true })
      return watcher
    })
    document.addEventListener("keydown", () => { began = performance.now() }, { capture: true, once: true })
  })
  const seen = (node) => {
    const box = node.getBoundingClientRect()
    return box.bottom > 0 && box.top < innerHeight && box.height > 0
  }
  const pictures = () => {
    const found = [...(under("chosen", ".gallery")?.querySelectorAll("img") ?? [])].filter(seen)
    return found.length > 0 && found.every((img) => img.complete && img.naturalWidth > 0)
  }
  window.probe = { under, arm: (names) => { window.probed = measure(names) }, pictures, SIGNS }
})()
