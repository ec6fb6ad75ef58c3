// The address holds the recipe beside what the page's fields say, and a button copies the whole of it.

const CHAIN = "<svg viewBox='0 0 24 24' aria-hidden='true'><path d='M10 13a5 5 0 0 0 7.5.5l3-3a5 5 0 0 0-7-7l-1.7 1.7M14 11a5 5 0 0 0-7.5-.5l-3 3a5 5 0 0 0 7 7l1.7-1.7'/></svg>"
const TICK = "<svg viewBox='0 0 24 24' aria-hidden='true'><path d='M4 12.5l5 5L20 6.5'/></svg>"

export default function (component) {
  const root = component.parentElement.querySelector(".link")
  if (!root || !component.data) return undefined
  if (!root.firstChild) build(root)
  attend(component.data, (data) => take(root, data))
  return undefined
}

function take(root, data) {
  root.own = data.own
  address(root.own)
  root.querySelector("button").title = `Copies the address of this view${root.own.recipe ? ` and recipe (${root.own.recipe})` : ""}`
  root.querySelector("input").hidden = true
}

// Replaced, not pushed: Back leaves the page, not the last move of a slider.
function address(own) {
  const url = new URL(window.location.href)
  for (const [name, value] of Object.entries(own)) value ? url.searchParams.set(name, value) : url.searchParams.delete(name)
  if (url.href !== window.location.href) window.history.replaceState(window.history.state, "", url)
  return url.href
}

function build(root) {
  root.innerHTML = `<button type='button'>${CHAIN}<span>Copy link</span></button><input type='text' readonly hidden aria-label='The link, to copy by hand'><span class='said' role='status'></span>`
  const button = root.querySelector("button")
  const field = root.querySelector("input")
  let later = 0
  const say = (picture, text) => {
    button.innerHTML = `${picture}<span>${text}</span>`
    root.querySelector(".said").textContent = text
  }
  button.onclick = async () => {
    const href = address(root.own)
    root.dataset.link = href
    try {
      await navigator.clipboard.writeText(href)
      field.hidden = true
      say(TICK, "Copied")
      clearTimeout(later)
      later = setTimeout(() => say(CHAIN, "Copy link"), 2000)
    } catch { // no permission, or a page that is not served safely
      field.value = href
      field.hidden = false
      field.select()
      say(CHAIN, "Copy this")
    }
  }
}
