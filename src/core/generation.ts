declare const brand: unique symbol
type Brand<T, Name extends string> = T & { readonly [brand]: Name }

/** A source's version of a collection: opaque, compared only for equality. */
export type Generation = Brand<string, 'Generation'>
export const generation = (text: string): Generation => text as Generation

/** Identity of bytes that never change: two parts with the same key hold the same rows. */
export type PartKey = Brand<string, 'PartKey'>
export const partKey = (text: string): PartKey => text as PartKey

/** Name of a configured source, e.g. `packages`. */
export type BackendId = Brand<string, 'BackendId'>
export const backendId = (text: string): BackendId => text as BackendId

/** Whether a source may be called so: its name appears in URLs, in metrics, and before the slash of "backend/collection". */
export const isBackendName = (name: string): boolean =>
  name.length <= 255 && /^[^/*\p{Cc}\p{Cs}]+$/u.test(name) && !/^\.+$/.test(name)

/** What is queried, named as callers write it: `backend/collection`. */
export interface CollectionRef {
  readonly backend: BackendId
  readonly collection: string
}

export const formatCollection = (ref: CollectionRef): string => `${ref.backend}/${ref.collection}`

/** Rows of a part that are deleted in a generation. */
export interface DeleteMask {
  /** Names the set: equal identity means equal ordinals. */
  readonly identity: string
  /** Source ordinals, ascending, without repeats. */
  readonly ordinals: Uint32Array
}
