/** Data that bounds have a hard time with, for properties that compare answers with brute force (law 6). */
import type { Random } from '../../src/core/clock.js'

export const gaussian = (random: Random): number =>
  Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
export const logUniform = (random: Random, low: number, high: number): number =>
  Math.floor(Math.exp(Math.log(low) + random() * (Math.log(high + 1) - Math.log(low))))
export const pick = <T>(random: Random, values: readonly T[]): T => values[Math.floor(random() * values.length)]!

/** How often a property is tried, a multiple of what CI does. */
export const timesAsOften = Number(process.env.LAKEGATE_PROPERTY_RUNS ?? 1)

/** One way of filling float32[rows][dimension]. */
export type Fill = (vectors: Float32Array, dimension: number, random: Random) => void

export const fills: Readonly<Record<string, Fill>> = {
  gaussian: (vectors, _, random) => {
    for (let i = 0; i < vectors.length; i++) vectors[i] = gaussian(random)
  },
  clustered: (vectors, dimension, random) => {
    const centers = Float32Array.from({ length: 10 * dimension }, () => random() * 4 - 2)
    for (let i = 0; i < vectors.length; i += dimension) {
      const center = Math.floor(random() * 10) * dimension
      for (let j = 0; j < dimension; j++) vectors[i + j] = centers[center + j]! + 0.3 * gaussian(random)
    }
  },
  'few values, so many ties': (vectors, _, random) => {
    for (let i = 0; i < vectors.length; i++) vectors[i] = Math.floor(random() * 3) - 1
  },
  'few different rows': (vectors, dimension, random) => {
    const different = Float32Array.from({ length: 20 * dimension }, () => gaussian(random))
    for (let i = 0; i < vectors.length; i += dimension) {
      const row = Math.floor(random() * 20) * dimension
      vectors.set(different.subarray(row, row + dimension), i)
    }
  },
  'tiny spread on a huge offset': (vectors, _, random) => {
    for (let i = 0; i < vectors.length; i++) vectors[i] = 1000 + 0.01 * gaussian(random)
  },
  'a few steps of float32 on an offset': (vectors, _, random) => {
    for (let i = 0; i < vectors.length; i++) vectors[i] = 1000 + 2 ** -14 * Math.floor(random() * 8)
  },
  'nearly collinear': (vectors, dimension, random) => {
    const direction = Float32Array.from({ length: dimension }, () => gaussian(random))
    for (let i = 0; i < vectors.length; i += dimension) {
      const length = gaussian(random) * 10
      for (let j = 0; j < dimension; j++) vectors[i + j] = length * direction[j]! + 1e-5 * gaussian(random)
    }
  },
  'nearly one direction and length': (vectors, dimension, random) => {
    const direction = Float32Array.from({ length: dimension }, () => gaussian(random))
    for (let i = 0; i < vectors.length; i += dimension)
      for (let j = 0; j < dimension; j++) vectors[i + j] = direction[j]! * (1 + 1e-6 * gaussian(random))
  },
  'falling spectrum': (vectors, dimension, random) => {
    for (let i = 0; i < vectors.length; i += dimension)
      for (let j = 0; j < dimension; j++) vectors[i + j] = (3 * gaussian(random)) / (1 + j)
  },
  'places closer to each other than a code resolves': (vectors, dimension, random) => {
    const places = Float32Array.from(
      { length: 60 * dimension },
      (_, i) => (10 * gaussian(random)) / (1 + (i % dimension)),
    )
    for (let i = 0; i < vectors.length; i += dimension) {
      const place = Math.floor(random() * 60) * dimension
      for (let j = 0; j < dimension; j++) vectors[i + j] = places[place + j]! + 1e-3 * gaussian(random)
    }
  },
  'places that differ along one more direction': (vectors, dimension, random) => {
    const last = dimension > 32 ? 32 : Math.min(16, dimension - 1)
    // One large coordinate makes the steps of codes large, and with them what codes leave out.
    const places = Float32Array.from({ length: 64 * last }, (_, i) => {
      const spike = Math.floor(i / last) % last
      return gaussian(random) + (i % last === spike ? (random() < 0.5 ? -40 : 40) : 0)
    })
    for (let i = 0; i < vectors.length; i += dimension) {
      const place = Math.floor(random() * 64) * last
      vectors.set(places.subarray(place, place + last), i)
      vectors[i + last] = (random() < 0.5 ? -6.5 : 6.5) + 0.5 * gaussian(random)
    }
  },
  'one coordinate': (vectors, dimension, random) => {
    for (let i = 0; i < vectors.length; i += dimension)
      vectors[i + Math.floor(random() * dimension)] = gaussian(random) * 5
  },
  sparse: (vectors, _, random) => {
    for (let i = 0; i < vectors.length; i++) vectors[i] = random() < 0.05 ? gaussian(random) : 0
  },
  'norms over many magnitudes': (vectors, dimension, random) => {
    for (let i = 0; i < vectors.length; i += dimension) {
      const scale = 10 ** (random() * 36 - 18)
      for (let j = 0; j < dimension; j++) vectors[i + j] = gaussian(random) * scale
    }
  },
  'tiny numbers': (vectors, _, random) => {
    for (let i = 0; i < vectors.length; i++) vectors[i] = gaussian(random) * 1e-22
  },
  'huge numbers': (vectors, _, random) => {
    for (let i = 0; i < vectors.length; i++) vectors[i] = gaussian(random) * 5e37
  },
  'large numbers': (vectors, _, random) => {
    for (let i = 0; i < vectors.length; i++) vectors[i] = gaussian(random) * 1e13
  },
  'denormal numbers': (vectors, _, random) => {
    for (let i = 0; i < vectors.length; i++) vectors[i] = gaussian(random) * 1e-42
  },
  constant: (vectors) => vectors.fill(0.7),
  'a far outlier': (vectors, dimension, random) => {
    for (let i = 0; i < vectors.length; i++) vectors[i] = gaussian(random)
    for (let j = 0; j < dimension; j++) vectors[j] = 1e8 * gaussian(random)
  },
}

/** Copies some rows over others and sets some to zero (of either sign). */
export function addTwinsAndZeros(vectors: Float32Array, dimension: number, random: Random): void {
  const rows = vectors.length / dimension
  if (rows === 0) return
  const copies = Math.floor(rows * pick(random, [0, 0.1, 0.5]))
  for (let i = 0; i < copies; i++) {
    const from = Math.floor(random() * Math.min(rows, 20)) * dimension
    vectors.copyWithin(Math.floor(random() * rows) * dimension, from, from + dimension)
  }
  const zeros = Math.floor(rows * pick(random, [0, 0, 0.02]))
  for (let i = 0; i < zeros; i++) {
    const at = Math.floor(random() * rows) * dimension
    vectors.fill(random() < 0.5 ? 0 : -0, at, at + dimension)
  }
}

/** A row, something near one, or another vector of the same kind; finite. */
export function drawQuery(vectors: Float32Array, dimension: number, random: Random, fill: Fill): Float32Array {
  const rows = vectors.length / dimension
  const query = new Float32Array(dimension)
  const kind =
    rows === 0
      ? 'fresh'
      : pick(random, ['fresh', 'row', 'near a row', 'very near a row', 'between rows', 'scaled', 'tiny', 'zero'])
  const row = Math.floor(random() * rows) * dimension
  if (kind === 'fresh') fill(query, dimension, random)
  else if (kind !== 'zero') query.set(vectors.subarray(row, row + dimension))
  const off = kind === 'near a row' ? 0.05 : 1e-6
  if (kind.endsWith('near a row')) for (let j = 0; j < dimension; j++) query[j]! *= 1 + off * gaussian(random)
  if (kind === 'between rows') {
    const other = Math.floor(random() * rows) * dimension
    for (let j = 0; j < dimension; j++) query[j] = query[j]! / 2 + vectors[other + j]! / 2
  }
  if (kind === 'scaled') for (let j = 0; j < dimension; j++) query[j]! *= 30
  if (kind === 'tiny') for (let j = 0; j < dimension; j++) query[j]! *= 1e-30
  return query.map((value) => (Number.isFinite(value) ? value : 0))
}
