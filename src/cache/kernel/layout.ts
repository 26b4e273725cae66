/*
 * Byte layouts that the kernel (AssemblyScript) and its callers (TypeScript) share. Both compilers read this one file, so
 * it holds plain numbers only. Offsets are in bytes; little-endian throughout.
 */

/** Limits the scratch area is sized for; the same as limits.dimensionMax and limits.kMax in src/core/limits.ts. */
export const dimensionMax = 8192
export const kMax = 10000
/** Centroids of a codebook. */
export const clustersMax = 4096
/** Principal directions of a codebook. */
export const directionsMax = 1024
/** Cells of a row. */
export const cellsMax = 128

/** Rows interleaved in one group of 1-bit codes. */
export const groupRows = 32
/** Rows a scan looks at between two looks at its threshold. */
export const chunkRows = 4096

/* Metric numbers in headers. */
export const metricL2 = 0
export const metricCosine = 1
export const metricDot = 2

/* Which bounds a scan may use. */
export const stageExact = 0
export const stageBits = 1
/** Prefixes first, where a block has them; else as stageExact. */
export const stagePrefix = 2
/** Cells first, where a block has them, and then prefixes; else as stagePrefix. */
export const stageCells = 3

/** Rows that share a record of 8-bit codes, and the bytes of all but the codes in one. */
export const recordRows = 4
export const recordTailBytes = 64
/* Offsets in the tail. */
export const recordScalesAt = 16
export const recordResidualsAt = 32
export const recordRowsAt = 48

/*
 * ---- Block: codes and what else a scan reads of every row; offsets in its header are relative to its start. ----
 * Its *originals*, f32[rows][padded] with zeros in the padding, in the order of rows, lie elsewhere in the arena or, behind
 * its codes, on disk.
 */
export const blockMagic = 0x4b42474c
export const blockFormat = 6
export const blockHeaderBytes = 256

export const blockMagicAt = 0
export const blockFormatAt = 4
export const blockRowsAt = 8
export const blockDimensionAt = 12
/** Dimension rounded up to a multiple of 16: the row stride of vectors and byte codes. */
export const blockPaddedAt = 16
export const blockMetricAt = 20
/** 1 when the block has room for codes. */
export const blockQuantizedAt = 24
/** 1 when norms, maxima and (in a quantized block) codes are in place. */
export const blockEncodedAt = 28
/** 1 when tie ranks are in place; changes once, from 0 to 1, after the ranks. */
export const blockRankedAt = 32
export const blockBytesAt = 36
/** u32[rows]: position of the row in the order of ids. */
export const blockRanksAt = 44
/** cosine: f32[rows], 1 / norm; NaN where the norm is zero or outside [1e-15, 1e15]. Otherwise 0. */
export const blockInverseNormsAt = 48
/** [rows / 32] groups: u8[padded / 4][16] sign nibbles, then f32[32] square, f32[32] factor, f32[32] error. */
export const blockBitsAt = 52
/**
 * [rows / 4] records of four rows: i8[4][padded] codes, then f32[4] each: square of the code, -2 * scale, residual bound,
 * and u32[4]: the rows. In one place, since a row that 1-bit codes let pass is seldom near the last one.
 */
export const blockRecordsAt = 56
/** f64: maxima over the rows; see docs/rounding.md. */
export const blockNormMaxAt = 80
export const blockCentredMaxAt = 88
export const blockSpreadMaxAt = 96
export const blockFactorErrorMaxAt = 104
/*
 * A clustered block keeps its codes (the arrays from blockBitsAt to blockRecordsAt) ordered by (cluster, distance from
 * the centroid): a code's place is its *position*. Everything else is in the order of rows. Without clusters they agree.
 */
/** Number of clusters, that of the codebook's centroids; 0 when rows are coded relative to the centre alone. */
export const blockClustersAt = 112
/** u32[clusters + 1]: first position of each cluster. */
export const blockStartsAt = 116
/** f32[clusters]: upper bound of the rows' distances from the centroid; -Infinity for a cluster of none. */
export const blockReachesAt = 120
/** f32[clusters]: how far from the true distance the cluster's radii may be. */
export const blockSlacksAt = 124
/** f32[rows], by position: distance from the centroid, ascending within a cluster. */
export const blockRadiiAt = 128
/** Number of leading principal directions that rows have a prefix code along, a multiple of 16; or 0. */
export const blockDirectionsAt = 136
/** By position: i8[rows][directions]. */
export const blockPrefixesAt = 140
/** [rows / 4] records of four rows, by position: f32[4] each: square of the code, -2 * scale, error, norm of the rest. */
export const blockPrefixFactorsAt = 144
export const prefixFactorBytes = 64
/* Offsets in a record. */
export const prefixScalesAt = 16
export const prefixErrorsAt = 32
export const prefixRestsAt = 48
/** Cells of a row, a multiple of 4; or 0. */
export const blockCellCountAt = 160
/** By position: [rows / 32] groups u8[cells][16], rows of a group in nibbles. */
export const blockCellsAt = 164
/** f64: the largest distance of a row from where its cells say it is. */
export const blockCellErrorMaxAt = 168

/** What `encode` leaves in its scratch area: maxima over the rows it saw, f64 each, in the order of their header fields. */
export const maximaCount = 5

/* ---- Codebook copy in an arena. ---- */
export const codebookHeaderBytes = 128
export const codebookPaddedAt = 0
export const codebookMetricAt = 4
/** Rounds of signs, Hadamard and (unless padded is a power of two) mixing. */
export const codebookRoundsAt = 8
/** Largest power of two that is at most padded. */
export const codebookHadamardAt = 12
/** Number of centroids, a multiple of 4; or 0. */
export const codebookCentroidsAt = 16
/** i16[centroids][padded] and f32[centroids]: a centroid, rotated, is its scale times its integers. Offsets from the codebook's start. */
export const codebookIntegersAt = 20
/** f32[centroids]: norms, rounded up. */
export const codebookNormsAt = 24
/** The table that rows are assigned with. */
export const codebookTableAt = 28
/** f64: the largest of the norms. */
export const codebookNormMaxAt = 32
/** Number of principal directions, a multiple of 16; or 0. */
export const codebookDirectionsAt = 40
/** f32[directions][padded], not rotated. */
export const codebookBasisAt = 44
/** f64: at least the spectral norm of their Gram matrix minus the identity. */
export const codebookSkewAt = 48
export const codebookScalesAt = 56
/** f64[centroids]: squared norms. */
export const codebookSquaresAt = 60
/** f64: the largest norm of a centroid's integers. */
export const codebookIntegerNormMaxAt = 64
/** Number of leading directions that rows have prefix codes along. */
export const codebookPrefixAt = 72
/** Number of cells a row; f32[cells][20]: -Infinity, 15 ascending edges, Infinity. */
export const codebookCellCountAt = 76
export const codebookCellEdgesAt = 80
export const cellEdgesStride = 80
/** f32[padded] follows the header, then u32[rounds][padded] sign bits (0 or 0x80000000). */
export const codebookCenterAt = 128

/**
 * Centroids are integers of up to this magnitude, and scales have 12 significant bits, so that their product is a float32 as
 * it stands. The norm of a query's integers times theirs stays below 2^31 (docs/rounding.md, "Clusters").
 */
export const centroidIntegerMax = 2047

/* ---- Scratch area: one a slot and arena. ---- */
/** f32[dimensionMax]: the query as given, zeros in the padding; the caller writes it. */
export const scratchQueryAt = 0
/** f32[dimensionMax]: the query of unit length (cosine), or the centroid of rows being encoded. */
export const scratchUnitAt = 32768
/** f32[dimensionMax]: the centred and rotated query, or row being encoded. */
export const scratchRotatedAt = 65536
/** i16[dimensionMax]: the rotated query in 16-bit integers. */
export const scratchIntegersAt = 98304
/** u8[1028][16]: sums of signed coordinates for every nibble, and zeros behind those of any vector. */
export const scratchTableAt = 114688
/** (f32 estimate, u32 row)[chunkRows] */
export const scratchCandidatesAt = 131136
/** 128 bytes to pass lanes through memory, and the maxima of `encode`. */
export const scratchLanesAt = 163904
/**
 * (f64 distance, u32 order, u32 row)[k]: a heap while scanning, ascending afterwards. Behind them, when originals are on
 * disk, survivors: (f64 lower bound, u32 position, u32 row)[hitsRoom - k].
 */
export const scratchHitsAt = 164160
export const hitBytes = 16
export const hitsRoom = 16384
/** f32[clustersMax] each: distance of the query from a centroid (dot: their product), and what is least of any row's. */
export const scratchDistancesAt = 426304
export const scratchFloorsAt = 442688
/** (f32 key, u32 cluster)[clustersMax]: clusters still to be visited. */
export const scratchVisitsAt = 459072
/** f32[directionsMax]: a vector along the principal directions; and in 16-bit integers, the query. */
export const scratchPrincipalAt = 491840
export const scratchPrefixIntegersAt = 495936
/** f32[cellsMax]: what of a vector its cells tell. */
export const scratchCellPointAt = 497984
/** f64[kMax]: the smallest upper bounds (ceiling.ts). */
export const scratchCeilingAt = 498496
/** Table sums of groups that were scanned in part, u16[sumsKept][32] in the order of lanes, and u32[sumsKept]: 1 + whose they are. */
export const scratchSumsAt = 578496
export const scratchSumOwnersAt = 644032
export const sumsKept = 1024
/** scratchSumOwnersAt + 4 * sumsKept. */
export const scratchBytes = 648128

/** Where scratch areas begin in an arena: below are the module's own statics, from 1024 on. */
export const arenaScratchAt = 2048

/*
 * ---- Centroid table: 64 bytes of header; offsets in it are relative to the table's start. ----
 * Centroids are ordered by group, so that a group is a range of them. A table without groups is searched as one.
 */
export const tableHeaderBytes = 64
/** Number of centroids, a multiple of 4. */
export const tableCountAt = 0
export const tablePaddedAt = 4
/** Number of groups, a multiple of 4 and at most tableGroupsMax; or 0. */
export const tableGroupsAt = 8
/** f64: norm of the longest centroid or group centre, rounded up. */
export const tableNormMaxAt = 16
/** f32[count][padded] */
export const tableVectorsAt = 24
/** f32[count]: half the squared norm. */
export const tableHalvesAt = 28
/** f32[groups][padded], f32[groups]: the same of the groups' centres. */
export const tableGroupVectorsAt = 32
export const tableGroupHalvesAt = 36
/** u32[groups + 1]: first centroid of each group. */
export const tableGroupStartsAt = 40
/** f32[count][groups]: squared distance of a centroid from the nearest one of a group, rounded down. */
export const tableSeparationsAt = 44

export const tableGroupsMax = 128

/** Where `assign` keeps what it knows of a batch of rows: from here to the scratch area's end. */
export const scratchBatchAt = 114688
/** Bytes a row takes there, and the largest batch. */
export const batchRowBytes = 24
export const batchRowsMax = 1024
