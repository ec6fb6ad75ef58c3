// Lines of text that follow a slider: a badge, words, a warning. Only text that is new is written.

export default function (component) {
  if (component.data) attend(component.data, (data) => say(component.parentElement, data))
}

// While the microscope is dragged the lines are of the choice before: they step back until they are told anew.
if (!window.d2cSaid) {
  window.d2cSaid = true // once a page, however often this is read
  for (const [what, is] of [["d2c-drag", true], ["d2c-rest", false]]) {
    window.addEventListener(what, () => document.querySelectorAll(".d2c-said").forEach((node) => node.classList.toggle("stale", is)))
  }
}

function say(parent, data) {
  const root = parent.querySelector(".d2c-said")
  if (!root) return
  root.classList.remove("stale")
  while (root.children.length > data.lines.length) root.lastChild.remove()
  data.lines.forEach((line, i) => {
    const node = root.children[i] ?? root.appendChild(blank())
    const [badge, icon, text] = node.children
    const put = (where, what) => { if (where.textContent !== what) where.textContent = what }
    put(badge.lastChild, line.badge ?? "")
    badge.hidden = !line.badge
    put(icon, line.icon ?? "")
    icon.hidden = !line.icon
    put(text, line.text)
    text.classList.toggle("warned", Boolean(line.icon))
    node.title = line.help ?? ""
  })
}

function blank() {
  const node = document.createElement("p")
  node.innerHTML =
    "<span class='badge'><span class='icon' aria-hidden='true'>check_circle</span><span></span></span><span class='icon' aria-hidden='true'></span><span class='text'></span>"
  return node
}
