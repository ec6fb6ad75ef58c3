// The legend of the map. Read before canvas.js, after canvas_points.js, whose functions it sees.

const ROWS = 40 // of the legend while one searches

// Of classes one can search, isolate (click) and add (shift-click).

function legend(map, level) {
  const { data, legend: box } = map
  const title = document.createElement("h4")
  title.textContent = { class: "Class", difficulty: "Difficulty", chosen: "Chosen", sets: "A and B" }[data.colour]
  if (data.colour === "class") classes(map, title)
  else if (data.colour === "difficulty") box.replaceChildren(title, scale(map, level))
  else chosenSets(map, title)
}

// What is chosen, or of two chosen sets what either has: counts, and a click that looks at these alone.
function chosenSets(map, title) {
  const { data, legend: box, columns, points } = map
  const two = data.colour === "sets"
  const [neither, first, second, both] = tally(points.points, columns.chosen?.value, two ? columns.second?.value : null)
  const [grey, blue, orange, strong] = setColours(data, darkness(map.root))
  const rows = two
    ? [["first", blue, "Only A", first, "only_first"], ["second", orange, "Only B", second, "only_second"],
      ["both", strong, "Both", both, "both"], ["", grey, "Neither", neither, "neither"]]
    : [["first", blue, "Chosen", first, "chosen"], ["", grey, "Not chosen", neither, "rest"]]
  const list = document.createElement("div")
  list.className = "rows"
  list.replaceChildren(...rows.map(([kind, hue, text, count, among]) => {
    const node = document.createElement("button")
    const row = mark(kind, hue, text, count)
    node.append(...row.childNodes)
    node.className = row.className
    node.type = "button"
    node.style.cssText = row.style.cssText
    node.title = `${text}: click for these alone, again for all`
    node.setAttribute("aria-pressed", String(data.among === among))
    node.classList.toggle("off", data.among !== "all" && data.among !== among)
    node.onclick = () => map.tell({ among: data.among === among ? "all" : among })
    return node
  }))
  const names = !two ? [] : data.sets.map((name, i) => {
    const line = Object.assign(document.createElement("p"), { textContent: `${"AB"[i]}: ${name}`, title: name })
    line.className = "set"
    return line
  })
  box.replaceChildren(title, list, ...names)
}

function mark(kind, hue, text, count) {
  const node = document.createElement("span")
  node.className = `row ${kind}`
  node.style.setProperty("--hue", hue)
  node.innerHTML = "<i></i><span class='what'></span><span class='many'></span>"
  node.querySelector(".what").textContent = text
  node.querySelector(".many").textContent = count?.toLocaleString("en") ?? ""
  return node
}

function scale(map, level) {
  const node = document.createElement("div")
  node.className = "scale"
  const stops = [254, 190, 127, 64, 0]
  const colour = (at) => `rgb(${map.palette.slice(4 * at, 4 * at + 3).join(",")})`
  node.style.setProperty("--ramp", `linear-gradient(${stops.map(colour).join(",")})`)
  node.style.setProperty("--across", `linear-gradient(to left, ${stops.map(colour).join(",")})`)
  const value = (at) => level?.values[at].toPrecision(3)
  node.innerHTML = "<i></i><ol></ol>"
  node.querySelector("ol").replaceChildren(...stops.map((at) =>
    Object.assign(document.createElement("li"), { textContent: `${value(at)}${at === 254 ? " hard" : at === 0 ? " easy" : ""}` })))
  return node
}

function classes(map, title) {
  const { points, data, legend: box, own } = map
  const many = points.names.length > OWN + 1
  const list = document.createElement("div")
  list.className = "rows"
  const fill = () => {
    const sought = map.search.trim().toLowerCase()
    const labels = sought ? points.names.flatMap((n, l) => (n.toLowerCase().includes(sought) ? [l] : [])) : own
    const rows = labels.slice(0, ROWS).map((label) => {
      const place = own.indexOf(label)
      const row = mark("", data.classes[place < 0 ? OWN : place], points.names[label], points.counts[label])
      const node = document.createElement("button")
      node.append(...row.childNodes)
      node.className = "row"
      node.type = "button"
      node.style.cssText = row.style.cssText
      node.dataset.label = label
      node.title = `${points.names[label]}: click for this class alone, shift-click to add or remove it`
      const on = !data.only.length || data.only.includes(label)
      node.setAttribute("aria-pressed", String(data.only.includes(label)))
      node.classList.toggle("off", !on)
      return node
    })
    if (!sought && many) {
      const rest = points.points - own.reduce((sum, label) => sum + points.counts[label], 0)
      rows.push(mark("other", data.classes[OWN], `${points.names.length - own.length} others`, rest))
    }
    if (labels.length > ROWS) rows.push(mark("other", "transparent", `and ${labels.length - ROWS} more`))
    if (!labels.length) rows.push(mark("other", "transparent", "no such class"))
    list.replaceChildren(...rows)
  }
  const search = Object.assign(document.createElement("input"), { type: "search", placeholder: "Find a class", value: map.search })
  search.setAttribute("aria-label", "Find a class")
  search.onkeydown = (event) => event.stopPropagation() // letters are not the page's keys here
  search.oninput = () => { map.search = search.value; fill() }
  list.onclick = (event) => {
    const node = event.target.closest("button")
    if (!node) return
    const label = Number(node.dataset.label)
    const alone = data.only.length === 1 && data.only[0] === label
    const toggled = data.only.includes(label) ? data.only.filter((l) => l !== label) : [...data.only, label]
    map.tell({ only: event.shiftKey ? toggled : alone ? [] : [label] })
  }
  fill()
  box.replaceChildren(title, ...(many ? [search] : []), list)
}
