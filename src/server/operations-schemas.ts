/** Schemas of sources and of running the server. */
import Type, { type TSchema } from 'typebox'
import { bodyErrors, noContent, nullable, ofContent, route, words } from './route-schema.js'

/** Others refer to it by name. */
export const sourceSummary = Type.Object(
  {
    name: Type.String(),
    kind: Type.String(),
    uri: nullable(Type.String()),
    prime: words('first_query', 'eager'),
    refresh_ms: nullable(Type.Integer()),
    error: nullable(Type.Object({ code: Type.String(), message: Type.String() })),
  },
  { $id: 'Source' },
)

export const sources = route({
  summary: 'Every source',
  tag: 'sources',
  ok: Type.Object({ sources: Type.Array(Type.Ref('Source#')) }),
  errors: [400],
})

export const addSource = route({
  summary: 'Add a source',
  tag: 'sources',
  body: Type.Object(
    {
      name: Type.String({ minLength: 1, maxLength: 255 }),
      kind: Type.Optional(Type.String({ minLength: 1, description: 'Detected from the uri when left out.' })),
      uri: Type.Optional(Type.String()),
    },
    {
      description:
        "Fields of [[source]] in the configuration: name, kind, uri, prime, refresh_ms, index and the kind's own options.",
    },
  ),
  status: 201,
  ok: Type.Ref('Source#'),
  errors: [...bodyErrors, 404, 409, 504],
})

export const removeSource = route({
  summary: 'Remove a source',
  tag: 'sources',
  params: Type.Object({ name: Type.String() }),
  status: 204,
  ok: noContent,
  errors: [...bodyErrors, 404, 409, 504],
})

export const text = (type: string, description: string): TSchema =>
  ofContent({ [type]: Type.String() }, description) as unknown as TSchema

export const metrics = route({
  summary: 'Metrics for Prometheus',
  tag: 'operations',
  ok: text('text/plain', 'Prometheus text format.'),
  errors: [400],
})

export const alive = route({
  summary: 'The process is up',
  tag: 'operations',
  ok: Type.Object({ status: Type.Literal('ok') }),
  errors: [400],
})

export const ready = route({
  summary: 'Every source has been listed once, or has said why not; priming is not waited for',
  tag: 'operations',
  ok: Type.Object({ status: Type.Literal('ready') }),
  errors: [400],
})

export const openapi = route({
  summary: 'This description',
  tag: 'operations',
  ok: Type.Object({}),
  errors: [400],
})

export const docs = route({
  summary: 'This description for people',
  tag: 'operations',
  ok: text('text/html', 'A page.'),
  errors: [400],
})

export const live = route({
  summary: 'Events over a WebSocket',
  tag: 'operations',
  description: 'After the upgrade the server sends text messages {"event_type", "timestamp", "data"}.',
  status: 101,
  ok: Type.Null({ description: 'Switching protocols.' }),
  errors: [400],
})
