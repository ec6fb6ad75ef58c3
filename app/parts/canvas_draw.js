// Points by WebGL2. A frame begins with every k-th point, as many as the machine draws at once, and the others
// follow while nothing moves: a drag never waits for a million points, and a picture at rest has all of them.

const VERTEX = `#version 300 es
in vec2 place; in float tint; in float flag;
uniform vec2 scale; uniform vec2 shift; uniform float size; uniform float faint; uniform float alpha; uniform float dim; uniform float ratio;
uniform sampler2D palette;
flat out vec4 colour; flat out vec2 form;
void main() {
  int f = int(flag + 0.5);
  bool lit = (f & 1) == 1;
  bool marked = (f & 2) == 2;
  vec3 hue = texelFetch(palette, ivec2(int(tint + 0.5), 0), 0).rgb;
  float a = marked ? 1.0 : alpha;
  if (!lit) {
    hue = mix(hue, vec3(dot(hue, vec3(0.3, 0.6, 0.1))), 0.7);
    a *= dim;
  }
  float wide = (lit ? size : faint) + (marked ? 4.0 * ratio : 0.0);
  gl_Position = vec4(place * scale + shift, lit ? (marked ? -0.4 : 0.0) : (marked ? 0.2 : 0.4), 1.0);
  gl_PointSize = wide;
  colour = vec4(hue * a, a);
  form = vec2(marked ? 1.0 : 0.0, wide);
}`
const FRAGMENT = `#version 300 es
precision mediump float;
flat in vec4 colour; flat in vec2 form; out vec4 seen;
void main() {
  vec2 d = abs(gl_PointCoord * 2.0 - 1.0);
  float r = form.x > 0.5 ? d.x + d.y : length(d);
  if (r > 1.0) discard;
  seen = colour * (form.y < 3.0 ? 1.0 : 1.0 - smoothstep(1.0 - 2.0 / form.y, 1.0, r));
}`
const FIRST = 60_000 // points of a frame while something moves, to begin with
const MOST = 6 // times that many at once when nothing has moved for a while
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
      ["scale", "shift", "size", "faint", "alpha", "dim", "ratio"].map((name) => [name, gl.getUniformLocation(program, name)]),
    )
    this.buffers = [0, 1, 2].map((i) => { gl.enableVertexAttribArray(i); return gl.createBuffer() })
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture())
    for (const what of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, what, gl.NEAREST)
    gl.enable(gl.BLEND)
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA)
    gl.enable(gl.DEPTH_TEST)
    gl.depthFunc(gl.LEQUAL)
    for (const [name, value] of Object.entries(this.held)) this.give(name, value)
  }

  // Columns (place, tint, flag) and the palette, each when it changes.
  give(name, value) {
    this.held[name] = value
    const gl = this.gl
    if (!gl) return
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
    const { n } = this.how
    if (this.dirty) {
      this.dirty = false
      this.every = Math.min(STRIDE, Math.max(1, Math.ceil(n / this.budget)))
      this.next = 0
      this.group = 0.5
      gl.viewport(0, 0, this.canvas.width, this.canvas.height)
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT)
      const { at, how } = this
      gl.uniform2fv(at.scale, how.scale)
      gl.uniform2fv(at.shift, how.shift)
      for (const name of ["size", "faint", "alpha", "dim", "ratio"]) gl.uniform1f(at[name], how[name])
    }
    const early = (this.until ?? 0) - performance.now()
    if (this.next > 0 && early > 0) {
      setTimeout(() => this.wake(), Math.min(early, 30))
    } else if (this.next < this.every) {
      this.group = Math.min(2 * this.group, MOST) // the longer nothing moves, the more at once
      for (let i = 0; i < this.group && this.next < this.every; i++) this.part(this.next++)
      this.fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0)
      this.since = performance.now()
      gl.flush()
      this.wake()
    } else if (!this.full) {
      this.full = true
      this.onFull()
    }
  }

  // The points first, first + every, first + 2 · every, …
  part(first) {
    const gl = this.gl
    const every = this.every
    const count = Math.ceil((this.how.n - first) / every)
    const column = (i, size, type, normal, bytes) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[i])
      gl.vertexAttribPointer(i, size, type, normal, bytes * every, bytes * first)
    }
    column(0, 2, gl.UNSIGNED_SHORT, true, 4)
    column(1, 1, gl.UNSIGNED_BYTE, false, 1)
    column(2, 1, gl.UNSIGNED_BYTE, false, 1)
    if (count > 0) gl.drawArrays(gl.POINTS, 0, count)
  }

  close() {
    if (this.waiting) cancelAnimationFrame(this.waiting)
    this.gl?.getExtension("WEBGL_lose_context")?.loseContext() // browsers hold only so many
    this.gl = null
  }
}
