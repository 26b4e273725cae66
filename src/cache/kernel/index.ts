/** The kernel's exports: what src/cache/kernel.ts calls. Every bound used here is derived in docs/rounding.md. */
export { arrange, place } from './arrange'
export { encode } from './encode'
export { prepare } from './query'
export { scan, lostDistance, rowsLooked } from './scan'
export { assign } from './assign'
export { frameRows, rotateRows } from './frame'
export { accumulate, groupCentroids, measureTable, moveToMeans, seedCentroids, separateGroups } from './kmeans'
export { combineRows, measureBasis, orthonormalize, projectRows, sumColumnSquares } from './basis'
