import type { FastifySchemaCompiler, FastifySerializerCompiler, FastifyServerOptions } from 'fastify'
import type { Schema } from './json-schema.js'

type SchemaController = NonNullable<FastifyServerOptions['schemaController']>

/**
 * What is made of route schemas, as an option of the server: of one that has set it later, Fastify has loaded its own
 * compilers by then. The option is declared to make those, which these need not be like.
 */
export const compileSchemasWith = (
  validator: FastifySchemaCompiler<Schema>,
  serializer: FastifySerializerCompiler<Schema>,
): SchemaController =>
  ({
    compilersFactory: { buildValidator: () => validator, buildSerializer: () => serializer },
  }) as unknown as SchemaController
