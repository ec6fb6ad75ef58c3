// Two grids of the same noise. Side by side, a picture under the pointer is marked in both; wiped, the right grid lies
// over the left one and is cut at a divider.

const TINY = 48 // px: originals at most this wide are shown with their pixels

export default function (component) {
  const { data, parentElement } = component
  const root = parentElement.querySelector(".beside")
  if (!root || !data) return
  const signature = JSON.stringify(data)
  if (root.dataset.signature === signature) return
  root.dataset.signature = signature

  root.classList.toggle("wipe", data.wipe)
  root.style.setProperty("--columns", data.columns)
  const cut = root.style.getPropertyValue("--cut") || "50%"
  const sides = [0, 1].map((side) => grid(data, side))
  if (data.wipe) {
    const stage = document.createElement("div")
    stage.className = "stage"
    const line = document.createElement("span")
    line.className = "line"
    stage.append(sides[0].list, sides[1].list, line)
    const slider = document.createElement("input")
    Object.assign(slider, { type: "range", min: 0, max: 100, step: 0.5, value: parseFloat(cut) })
    slider.setAttribute("aria-label", `How much of ${data.names[0]} is shown`)
    const set = (value) => {
      slider.value = value
      root.style.setProperty("--cut", `${slider.value}%`)
      slider.setAttribute("aria-valuetext", `${Math.round(slider.value)} % ${data.names[0]}`)
    }
    slider.oninput = () => set(slider.value)
    const drag = (event) => {
      const box = stage.getBoundingClientRect()
      set((100 * (event.clientX - box.left)) / box.width)
    }
    stage.onpointerdown = (event) => { stage.setPointerCapture(event.pointerId); drag(event) }
    stage.onpointermove = (event) => { if (event.buttons) drag(event) }
    const head = document.createElement("div")
    head.className = "head"
    head.append(sides[0].name, slider, sides[1].name)
    root.replaceChildren(head, stage)
    set(parseFloat(cut))
  } else {
    root.replaceChildren(...sides.map(({ name, list }) => {
      const figure = document.createElement("figure")
      figure.append(name, list)
      return figure
    }))
    const mark = (event) => {
      const item = event.target.closest("li")
      root.querySelectorAll(".marked").forEach((node) => node.classList.remove("marked"))
      if (item) sides.forEach(({ list }) => list.children[item.dataset.at].classList.add("marked"))
    }
    root.onpointerover = mark
    root.onpointerleave = mark
  }
}

function grid(data, side) {
  const name = document.createElement("figcaption")
  name.textContent = data.names[side]
  name.title = data.names[side]
  const list = document.createElement("ul")
  list.className = side ? "right" : "left"
  list.setAttribute("aria-label", data.names[side])
  data.twins.forEach((twin, at) => {
    const item = document.createElement("li")
    item.dataset.at = at
    item.title = twin[2]
    const image = document.createElement("img")
    Object.assign(image, { loading: "lazy", decoding: "async", alt: twin[2], draggable: false })
    image.onload = () => image.classList.toggle("tiny", image.naturalWidth <= TINY)
    image.src = twin[side]
    item.append(image)
    list.append(item)
  })
  return { name, list }
}
