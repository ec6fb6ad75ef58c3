// Points by WebGL2. A frame begins with every k-th point, as many as the machine draws at once, and the others
// follow while nothing moves: a drag never waits for a million points, and a picture at rest has all of them. Of a large
// map at rest all points are also drawn faint on a sheet beneath: a lasso then lays it down and draws what is lit.

const VERTEX = `#version 300 es
in vec2 place; in float tint; in float flag;
uniform vec2 scale; uniform vec2 shift; uniform float size; uniform float faint; uniform float alpha; uniform float dim; uniform float ratio; uniform float sheet;
uniform sampler2D palette;
flat out vec4 colour; flat out vec2 form;
void main() {
  int f = int(flag + 0.5);
  bool lit = (f & 1) == 1 && sheet < 0.5;
  int mark = f >> 1; // 1 = of the first set, a diamond; 2 = of the second, a square; 3 = of both, a ring with a dot
  bool marked = mark > 0;
  vec4 paint = texelFetch(palette, ivec2(int(tint + 0.5), 0), 0);
  vec3 hue = paint.rgb;
  float a = (marked ? 1.0 : alpha) * paint.a;
  if (!lit) {
    hue = mix(hue, vec3(dot(hue, vec3(0.3, 0.6, 0.1))), 0.7);
    a *= dim;
  }
  float wide = (lit ? size : faint) + (marked ? (mark == 3 ? 7.0 : 4.0) * ratio : 0.0);
  gl_Position = vec4(place * scale + shift, lit ? (marked ? -0.4 : 0.0) : (marked ? 0.2 : 0.4), 1.0);
  gl_PointSize = wide;
  colour = vec4(hue * a, a);
  form = vec2(float(mark), wide);
}`
const FRAGMENT = `#version 300 es
precision mediump float;
flat in vec4 colour; flat in vec2 form; out vec4 seen;
void main() {
  vec2 d = abs(gl_PointCoord * 2.0 - 1.0);
  int mark = int(form.x + 0.5);
  float r = mark == 1 ? d.x + d.y : mark == 2 ? 1.2 * max(d.x, d.y) : length(d);
  if (r > 1.0) discard;
  float soft = 2.0 / form.y;
  float ink = form.y < 3.0 ? 1.0 : 1.0 - smoothstep(1.0 - soft, 1.0, r);
  if (mark == 3) ink *= 1.0 - smoothstep(0.4, 0.4 + soft, r) + smoothstep(0.8 - soft, 0.8, r);
  if (ink < 0.04) discard;
  seen = colour * min(ink, 1.0);
}`
const FIRST = 60_000 // points of a frame while something moves, to begin with
const MOST = 6 // times that many at once when nothing has moved for a while
const REST = 400 // ms of rest after which the sheet beneath is drawn
const STRIDE = 63 // at most every so-many-th: a vertex lies at most 255 bytes from the one before

class Drawer {
  constructor(canvas, onFull) {
    this.canvas = canvas
    this.onFull = onFull
    this.budget = FIRST
    this.held = {} // what was given, to give it again to a context that was lost
    canvas.addEventListener("webglcontextlost", (event) => { event.preventDefault(); this.gl = null })
    canvas.addEventListener("webglcontextrestored", () => { this.start(); this.ask() })
    this.start()
  }

  get works() { return Boolean(this.gl) }

  start() {
    const gl = this.canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true })
    this.gl = gl
    this.fence = null
    this.sheet = this.beneath = null
    if (!gl) return
    const program = gl.createProgram()
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind)
      gl.shaderSource(shader, source)
      gl.compileShader(shader)
      gl.attachShader(program, shader)
    }
    ;["place", "tint", "flag"].forEach((name, i) => gl.bindAttribLocation(program, i, name))
    gl.linkProgram(program)
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) { this.gl = null; return }
    gl.useProgram(program)
    this.at = Object.fromEntries(
      ["scale", "shift", "size", "faint", "alpha", "dim", "ratio", "sheet"].map((name) => [name, gl.getUniformLocation(program, name)]),
    )
    this.buffers = [0, 1, 2].map((i) => { gl.enableVertexAttribArray(i); return gl.createBuffer() })
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer())
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture())
    for (const what of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, what, gl.NEAREST)
    gl.enable(gl.BLEND)
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA)
    gl.enable(gl.DEPTH_TEST)
    gl.depthFunc(gl.LEQUAL)
    for (const [name, value] of Object.entries(this.held)) this.give(name, value, this.rows)
  }

  // Columns (place, tint, flag) and the palette, each when it changes. Of flags also which rows are lit (null = all),
  // and whether they are all that changed: no mark did.
  give(name, value, rows = null, same = false) {
    this.held[name] = value
    if (name === "flag") this.rows = rows
    if (!same && this.beneath) this.beneath = "stale"
    const gl = this.gl
    if (!gl) return
    if (name === "flag" && rows) gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, rows, gl.STATIC_DRAW)
    if (name === "palette") {
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, value)
      return
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[["place", "tint", "flag"].indexOf(name)])
    gl.bufferData(gl.ARRAY_BUFFER, value, gl.STATIC_DRAW)
  }

  // Draw anew: `how` holds n and the uniforms: size and alpha of points looked at, faint (a size) and dim of the rest.
  ask(how = this.how) {
    this.how = how
    const view = how && JSON.stringify([how.n, how.scale, how.shift, how.faint, how.dim, how.ratio, this.canvas.width, this.canvas.height])
    if (view !== this.view && this.beneath) this.beneath = "stale"
    this.view = view
    this.dirty = true
    this.full = false
    this.wake()
  }

  // Leave it at the first points of a frame for so many ms, because others are still at work for it.
  hold(ms) { this.until = performance.now() + ms }

  wake() {
    if (!this.waiting) this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.step() })
  }

  step() {
    const gl = this.gl
    if (!gl || !this.how || !this.held.place) return
    if (this.fence) {
      if (gl.getSyncParameter(this.fence, gl.SYNC_STATUS) !== gl.SIGNALED) { this.wake(); return }
      gl.deleteSync(this.fence)
      this.fence = null
      const took = (performance.now() - this.since) / this.group
      if (took < 20) this.budget = Math.min(this.budget * 2, 4_000_000)
      else if (took > 60) this.budget = Math.max(this.budget / 2, FIRST / 3)
    }
    if (this.dirty) this.begin()
    const early = (this.until ?? 0) - performance.now()
    if (this.next > 0 && early > 0) {
      setTimeout(() => this.wake(), Math.min(early, 30))
    } else if (this.next < this.every) {
      this.group = Math.min(2 * this.group, this.beneath === "drawing" ? 1 : MOST) // the longer nothing moves, the more
      for (let i = 0; i < this.group && this.next < this.every; i++) this.part(this.next++)
      this.fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0)
      this.since = performance.now()
      gl.flush()
      this.wake()
    } else if (this.beneath === "drawing") {
      this.beneath = "there"
      gl.bindFramebuffer(gl.FRAMEBUFFER, null)
    } else if (!this.full) {
      this.full = true
      this.onFull()
      clearTimeout(this.rest)
      if (this.beneath !== "there" && this.how.n > FIRST) this.rest = setTimeout(() => this.spread(), REST)
    }
  }

  // A picture: from nothing, or of what is lit alone on the sheet that is there.
  begin() {
    const { gl, at, how, canvas } = this
    this.dirty = false
    if (this.beneath !== "there") this.beneath = null
    this.lit = this.beneath ? this.rows : null
    const stride = Math.min(STRIDE, Math.max(1, Math.ceil(how.n / this.budget)))
    this.every = this.lit ? Math.ceil(this.lit.length / this.budget) : stride
    this.next = 0
    this.group = 0.5
    gl.bindFramebuffer(gl.FRAMEBUFFER, null)
    gl.viewport(0, 0, canvas.width, canvas.height)
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT)
    if (this.lit) {
      const all = [0, 0, canvas.width, canvas.height]
      gl.bindFramebuffer(gl.READ_FRAMEBUFFER, this.sheet.frame)
      gl.blitFramebuffer(...all, ...all, gl.COLOR_BUFFER_BIT, gl.NEAREST)
      gl.bindFramebuffer(gl.READ_FRAMEBUFFER, null)
    }
    gl.uniform2fv(at.scale, how.scale)
    gl.uniform2fv(at.shift, how.shift)
    for (const name of ["size", "faint", "alpha", "dim", "ratio"]) gl.uniform1f(at[name], how[name])
    gl.uniform1f(at.sheet, 0)
  }

  // Draw all points faint on the sheet beneath, while nothing else is asked for.
  spread() {
    const { gl, canvas, how } = this
    if (!gl || this.dirty || !this.full || this.beneath === "there") return
    if (this.sheet?.width !== canvas.width || this.sheet?.height !== canvas.height) this.sheet = this.cut(canvas)
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.sheet.frame)
    if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) {
      gl.bindFramebuffer(gl.FRAMEBUFFER, null) // every picture from nothing, then
      return
    }
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT)
    gl.uniform1f(this.at.sheet, 1)
    this.beneath = "drawing"
    this.lit = null
    this.every = Math.min(STRIDE, Math.max(1, Math.ceil(how.n / this.budget)))
    this.next = 0
    this.group = 0.5
    this.wake()
  }

  cut({ width, height }) {
    const { gl, sheet } = this
    if (sheet) { gl.deleteFramebuffer(sheet.frame); sheet.parts.forEach((part) => gl.deleteRenderbuffer(part)) }
    const frame = gl.createFramebuffer()
    gl.bindFramebuffer(gl.FRAMEBUFFER, frame)
    const kinds = [[gl.COLOR_ATTACHMENT0, gl.RGBA8], [gl.DEPTH_ATTACHMENT, gl.DEPTH_COMPONENT16]]
    const parts = kinds.map(([place, format]) => {
      const part = gl.createRenderbuffer()
      gl.bindRenderbuffer(gl.RENDERBUFFER, part)
      gl.renderbufferStorage(gl.RENDERBUFFER, format, width, height)
      gl.framebufferRenderbuffer(gl.FRAMEBUFFER, place, gl.RENDERBUFFER, part)
      return part
    })
    return { width, height, frame, parts }
  }

  // The points first, first + every, first + 2 · every, …; of those that are lit alone, as many in a row.
  part(first) {
    const gl = this.gl
    const every = this.lit ? 1 : this.every
    const begin = this.lit ? 0 : first
    const count = Math.ceil((this.how.n - begin) / every)
    const column = (i, size, type, normal, bytes) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[i])
      gl.vertexAttribPointer(i, size, type, normal, bytes * every, bytes * begin)
    }
    column(0, 2, gl.UNSIGNED_SHORT, true, 4)
    column(1, 1, gl.UNSIGNED_BYTE, false, 1)
    column(2, 1, gl.UNSIGNED_BYTE, false, 1)
    if (this.lit) {
      const from = Math.floor((first * this.lit.length) / this.every)
      const to = Math.floor(((first + 1) * this.lit.length) / this.every)
      gl.drawElements(gl.POINTS, to - from, gl.UNSIGNED_INT, 4 * from)
    } else if (count > 0) gl.drawArrays(gl.POINTS, 0, count)
  }

  close() {
    clearTimeout(this.rest)
    if (this.waiting) cancelAnimationFrame(this.waiting)
    this.gl?.getExtension("WEBGL_lose_context")?.loseContext() // browsers hold only so many
    this.gl = null
  }
}
