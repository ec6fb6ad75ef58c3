// One slider over the steps of several runs; each shows its newest picture up to there.

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".strips")
  if (!root || !data) return
  if (!root.firstElementChild) {
    root.innerHTML =
      "<div class='at'><label for='step'>Step</label><input id='step' type='range' min='0' step='1'>" +
      "<output></output></div><div class='row'></div>"
  }
  const [at, row] = root.children
  const slider = at.querySelector("input")
  const output = at.querySelector("output")
  const steps = [...new Set(data.runs.flatMap((run) => run.frames.map((frame) => frame.step)))].sort((a, b) => a - b)
  const last = steps.length - 1
  if (root.dataset.step === undefined && data.step !== null && data.step !== undefined) {
    root.dataset.step = data.step
    root.dataset.last = Infinity
  }
  const following = root.dataset.step === undefined || Number(root.dataset.step) >= Number(root.dataset.last)

  while (row.children.length > data.runs.length) row.lastElementChild.remove()
  while (row.children.length < data.runs.length) {
    const figure = document.createElement("figure")
    figure.innerHTML = "<figcaption><b></b><span></span></figcaption><img decoding='async'>"
    const image = figure.querySelector("img")
    image.onload = () => figure.classList.toggle("tiny", image.naturalWidth <= 64)
    row.append(figure)
  }

  const show = (index) => {
    const step = steps[index]
    if (step === undefined) return
    root.dataset.step = step
    slider.value = index
    output.textContent = step.toLocaleString("en")
    slider.setAttribute("aria-valuetext", `Step ${step}`)
    data.runs.forEach((run, i) => {
      const figure = row.children[i]
      const before = run.frames.filter((frame) => frame.step <= step)
      const frame = before[before.length - 1] || run.frames[0]
      figure.hidden = !frame
      if (!frame) return
      figure.classList.toggle("early", !before.length)
      const [title, said] = figure.querySelector("figcaption").children
      title.textContent = title.title = run.name
      said.textContent = before.length
        ? `Step ${frame.step.toLocaleString("en")}` : `First drawn at step ${frame.step.toLocaleString("en")}`
      const image = figure.querySelector("img")
      if (image.getAttribute("src") !== frame.src) image.src = frame.src
      image.alt = `${data.label}, ${run.name}, step ${frame.step}`
    })
  }
  slider.max = String(Math.max(last, 0))
  at.hidden = last < 1
  root.dataset.last = last < 0 ? 0 : steps[last]
  // The first step at or after the one that was looked at: more may have come, and runs may have gone.
  const kept = steps.findIndex((step) => step >= Number(root.dataset.step))
  show(following || kept < 0 ? last : kept)
  slider.oninput = () => show(Number(slider.value))
  slider.onchange = () => { if (data.tells) setTriggerValue("step", Number(root.dataset.step)) }
  for (const run of data.runs) for (const frame of run.frames) new Image().src = frame.src // so that moving is instant
}
