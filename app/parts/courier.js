// Read before each part of a page that follows a slider. Such a part is a component like any other; while a slider moves,
// one message brings what is new of all of them, and Streamlit draws none anew: that costs it some ms a part.

const PARTS = (window.d2cParts ??= new Map()) // by name: what draws a part, what it was mounted with, what came since

// Draw what a component was given, or what came for it since; `follows` is its name and when its data were made.
function attend(data, draw) {
  if (!data.follows) return draw(data)
  const [name, made] = data.follows
  const part = PARTS.get(name) ?? { made: 0 }
  PARTS.set(name, Object.assign(part, { data, draw }))
  return draw(part.made > made ? { ...data, ...part.news } : data)
}

// What is new of each part, in the order in which it is drawn.
function deliver(news, made) {
  for (const [name, fields] of Object.entries(news)) {
    const part = PARTS.get(name) ?? { made: 0 }
    if (part.made >= made) continue
    PARTS.set(name, Object.assign(part, { made, news: fields }))
    if (part.draw && part.data.follows[1] < made) part.draw({ ...part.data, ...fields })
  }
}
