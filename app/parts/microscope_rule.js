// The interval rule as d2c/select/interval.py has it, and what follows from its picks. Read before microscope.js.

// Ranks that a class of n gives: every k-th from the offset, with offset and interval lowered where it is too small;
// with a window none beyond so many ranks from the first.
function intervalRanks(n, m, k, offset, window = 0) {
  const { start, step, count } = intervalSteps(n, m, k, offset, window)
  return Array.from({ length: count }, (_, j) => start + j * step)
}

function intervalSteps(n, m, k, offset, window = 0) {
  if (n < m) return { start: 0, step: 1, count: n }
  const start = Math.min(offset, n - m)
  const end = window ? Math.min(n, start + Math.max(window, m)) : n
  return { start, step: m === 1 ? k : Math.min(k, Math.floor((end - 1 - start) / (m - 1))), count: m }
}

// Images chosen in all classes, of [size, how many classes of it].
function total(sizes, m) {
  return sizes.reduce((sum, [size, classes]) => sum + classes * Math.min(size, m), 0)
}

// Difficulty at a rank, of a curve known at `at` (ascending ranks) as `values`.
function difficultyAt(curve, rank) {
  const { at, values } = curve
  let low = 0
  let high = at.length - 1
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (at[middle] <= rank) low = middle
    else high = middle
  }
  if (rank <= at[low] || low === high) return values[low]
  const share = Math.min(1, (rank - at[low]) / (at[high] - at[low]))
  return values[low] + share * (values[high] - values[low])
}

// How many of some ranks lie in each of `bins` equal bins from low to high.
function binned(curve, ranks, low, high, bins) {
  const counts = new Array(bins).fill(0)
  for (const rank of ranks) {
    const share = (difficultyAt(curve, rank) - low) / (high - low || 1)
    counts[Math.min(bins - 1, Math.max(0, Math.floor(share * bins)))]++
  }
  return counts
}

// The interval whose last pick comes nearest to a rank.
function intervalTo(rank, m, start, most) {
  return m < 2 ? 1 : Math.min(most, Math.max(1, Math.round((rank - start) / (m - 1))))
}
