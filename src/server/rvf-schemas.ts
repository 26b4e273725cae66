/** Schemas of RVF's writes and state. */
import Type from 'typebox'
import { bodyErrors, closed, nullable, route, rowId, vector, whole } from './route-schema.js'

const rvfEntry = Type.Object({ field_id: whole(0, 65_535), value: Type.Union([Type.String(), Type.Number()]) })

export const ingest = route({
  summary: 'Write rows to the writable collection (RVF)',
  tag: 'rvf',
  body: closed({
    vectors: Type.Array(vector),
    ids: Type.Array(rowId),
    metadata: Type.Optional(
      nullable(
        Type.Array(Type.Union([rvfEntry, Type.Array(rvfEntry), Type.Object({}), Type.Null()]), {
          description: "One entry a vector: RVF's {field_id, value}, several of them, or an object of columns.",
        }),
      ),
    ),
  }),
  ok: Type.Object({ accepted: Type.Integer(), rejected: Type.Integer(), epoch: Type.Integer() }),
  errors: [...bodyErrors, 409],
})

export const deleteRows = route({
  summary: 'Delete rows of the writable collection (RVF)',
  tag: 'rvf',
  body: closed({ ids: Type.Array(rowId, { minItems: 1 }) }),
  ok: Type.Object({ deleted: Type.Integer(), epoch: Type.Integer() }),
  errors: [...bodyErrors, 409],
})

export const status = route({
  summary: 'State of the writable collection (RVF)',
  tag: 'rvf',
  ok: Type.Object({
    total_vectors: Type.Integer(),
    total_segments: Type.Integer(),
    file_size: Type.Integer(),
    current_epoch: Type.Integer(),
    profile_id: Type.Integer(),
    dead_space_ratio: Type.Number(),
    read_only: Type.Boolean(),
  }),
  errors: [400],
})

export const health = route({
  summary: 'Health (RVF)',
  tag: 'rvf',
  ok: Type.Object({ status: Type.Literal('ok') }),
  errors: [400],
})
