// One picture of a series at a time. Follows the newest frame until the slider is moved away from the end.

export default function (component) {
  const { data, parentElement } = component
  const root = parentElement.querySelector(".film")
  if (!root || !data) return
  if (!root.firstElementChild) {
    root.innerHTML =
      "<img decoding='async'>" +
      "<figcaption><input type='range' min='0' step='1' aria-label='Frame'><output></output></figcaption>"
  }
  const image = root.querySelector("img")
  const slider = root.querySelector("input")
  const output = root.querySelector("output")
  const frames = data.frames
  const last = frames.length - 1
  const following = root.dataset.at === undefined || Number(root.dataset.at) >= Number(slider.max)

  const show = (at) => {
    if (!frames[at]) return
    root.dataset.at = at
    slider.value = at
    if (image.getAttribute("src") !== frames[at].src) image.src = frames[at].src
    image.alt = `${data.label}, ${frames[at].caption}`
    output.textContent = frames[at].caption
    slider.setAttribute("aria-valuetext", frames[at].caption)
  }
  root.style.setProperty("--width", `${data.width}px`)
  slider.max = String(Math.max(last, 0))
  slider.hidden = last < 1
  show(following ? last : Math.min(Number(root.dataset.at), last))
  image.onload = () => root.classList.toggle("tiny", image.naturalWidth <= 64)
  slider.oninput = () => show(Number(slider.value))
  frames.forEach((frame) => { new Image().src = frame.src }) // so that moving the slider is instant
}
