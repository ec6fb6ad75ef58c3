// Links that download. Built anew when their data change.

export default function (component) {
  const { data, parentElement } = component
  const root = parentElement.querySelector(".downloads")
  if (!root || !data) return
  root.replaceChildren(...data.files.map((file) => {
    const link = document.createElement("a")
    link.href = file.href
    link.title = file.title
    link.download = ""
    link.innerHTML = "<span aria-hidden='true'>download</span>"
    link.append(file.label)
    return link
  }))
}
