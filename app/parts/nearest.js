// Pairs of pictures with a caption. Runs again when its data change; unchanged pairs keep their pictures.

const TINY = 48 // px: originals at most this wide are shown with their pixels

export default function (component) {
  const { data, parentElement } = component
  const root = parentElement.querySelector(".pairs")
  if (!root || !data) return

  root.setAttribute("aria-label", data.label)
  while (root.children.length > data.pairs.length) root.lastChild.remove()
  while (root.children.length < data.pairs.length) root.append(make())
  data.pairs.forEach(([sample, training, caption, title], i) => {
    const item = root.children[i]
    const images = item.querySelectorAll("img")
    ;[sample, training].forEach((src, j) => {
      if (images[j].getAttribute("src") !== src) images[j].src = src
    })
    item.title = title
    images[0].alt = title
    images[1].alt = ""
    item.querySelector("figcaption").textContent = caption
  })
}

function make() {
  const item = document.createElement("li")
  item.innerHTML = "<figure><span><img loading='lazy' decoding='async'><img loading='lazy' decoding='async'></span><figcaption></figcaption></figure>"
  item.querySelectorAll("img").forEach((image) => {
    image.onload = () => image.classList.toggle("tiny", image.naturalWidth <= TINY)
  })
  return item
}
