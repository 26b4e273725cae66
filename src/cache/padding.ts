/** Rows are padded with zeros to whole 16-lane steps of the kernel. */
export const padDimension = (dimension: number): number => Math.ceil(dimension / 16) * 16
