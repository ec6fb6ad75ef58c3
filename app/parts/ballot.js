// Two pictures and three answers. Keys work wherever the focus is, but in a field that takes keys itself.

const TINY = 64 // px: originals at most this wide are shown with their pixels
const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie" }
const BUTTONS = [["left", "←", "Left"], ["tie", "↓", "No difference"], ["right", "→", "Right"]]
const TAKES = "input, textarea, select, [contenteditable], [role=slider], [role=listbox], [role=combobox], [role=tablist], [role=radiogroup], [role=dialog], canvas"

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".ballot")
  if (!root || !data) return
  if (!root.firstElementChild) {
    root.append(...build())
    // Keys are for answering from now on, and no longer for the switch that led here.
    const at = root.ownerDocument.activeElement
    if (!at?.matches("input:not([type=radio]), textarea")) root.focus({ preventScroll: true })
  }
  const said = root.querySelector("p")
  if (said.textContent !== data.question) said.textContent = data.question
  if (root.dataset.of !== data.of) {
    root.dataset.of = data.of
    delete root.dataset.sent
    root.querySelectorAll("img").forEach((image, side) => { image.src = side ? data.right : data.left })
    root.querySelectorAll("button").forEach((button) => button.classList.remove("said"))
  }
  const say = (answer) => {
    if (root.dataset.sent) return // once a question
    root.dataset.sent = answer
    root.querySelectorAll(`[data-say="${answer}"]`).forEach((node) => node.classList.add("said"))
    setTriggerValue("answer", { of: root.dataset.of, said: answer })
  }
  root.onclick = (event) => {
    const node = event.target.closest("[data-say]")
    if (node) say(node.dataset.say)
  }
  const page = root.ownerDocument
  if (root.d2cKeys) page.removeEventListener("keydown", root.d2cKeys)
  root.d2cKeys = (event) => {
    if (!root.isConnected) return page.removeEventListener("keydown", root.d2cKeys)
    const answer = KEYS[event.key]
    const at = event.composedPath()[0]
    if (!answer || event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return
    if (at instanceof Element && at.closest(TAKES)) return
    event.preventDefault()
    say(answer)
  }
  page.addEventListener("keydown", root.d2cKeys)
  return () => page.removeEventListener("keydown", root.d2cKeys)
}

function build() {
  const question = document.createElement("p")
  question.setAttribute("aria-live", "polite")
  const pictures = document.createElement("div")
  pictures.className = "pictures"
  for (const side of ["left", "right"]) {
    const frame = document.createElement("button")
    frame.type = "button"
    frame.dataset.say = side
    frame.tabIndex = -1 // the buttons below do the same
    const image = document.createElement("img")
    Object.assign(image, { alt: `The ${side} picture`, draggable: false })
    image.onload = () => image.classList.toggle("tiny", image.naturalWidth <= TINY)
    frame.append(image)
    pictures.append(frame)
  }
  const answers = document.createElement("div")
  answers.className = "answers"
  for (const [answer, key, label] of BUTTONS) {
    const button = document.createElement("button")
    button.type = "button"
    button.dataset.say = answer
    const sign = document.createElement("kbd")
    sign.textContent = key
    button.append(sign, label)
    button.setAttribute("aria-keyshortcuts", Object.keys(KEYS).find((name) => KEYS[name] === answer))
    answers.append(button)
  }
  return [question, pictures, answers]
}
