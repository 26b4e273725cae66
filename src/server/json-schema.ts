/** Writes JSON Schema, as OpenAPI 3.1 has it. Nothing is checked with these: the parsers beside the routes decide. */

const optional = Symbol('optional')

export interface Schema {
  readonly description?: string
  readonly [keyword: string]: unknown
  readonly [optional]?: true
}

type Properties = Readonly<Record<string, Schema>>
type Keywords = Readonly<Record<string, unknown>>

export const Type = {
  String: (keywords: Keywords = {}): Schema => ({ type: 'string', ...keywords }),
  Number: (keywords: Keywords = {}): Schema => ({ type: 'number', ...keywords }),
  Integer: (keywords: Keywords = {}): Schema => ({ type: 'integer', ...keywords }),
  Boolean: (keywords: Keywords = {}): Schema => ({ type: 'boolean', ...keywords }),
  Null: (keywords: Keywords = {}): Schema => ({ type: 'null', ...keywords }),
  Unknown: (): Schema => ({}),
  Literal: (value: string | boolean): Schema => ({ type: typeof value, const: value }),
  Array: (items: Schema, keywords: Keywords = {}): Schema => ({ type: 'array', items, ...keywords }),
  Union: (anyOf: readonly Schema[], keywords: Keywords = {}): Schema => ({ anyOf, ...keywords }),
  /** Properties are required unless they are Optional. */
  Object(properties: Properties, keywords: Keywords = {}): Schema {
    const required = Object.keys(properties).filter((name) => properties[name]![optional] === undefined)
    return { type: 'object', ...(required.length === 0 ? {} : { required }), properties, ...keywords }
  },
  Optional: (schema: Schema): Schema => ({ ...schema, [optional]: true }),
  /** An object of any names. */
  Record: (values: Schema): Schema => ({ type: 'object', patternProperties: { '^.*$': values } }),
  /** `id` is what the other schema has as `$id`, with a #. */
  Ref: (id: string, keywords: Keywords = {}): Schema => ({ $ref: id, ...keywords }),
}
