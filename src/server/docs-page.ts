/** /docs: reads /openapi.json and shows it. Loads nothing from elsewhere. */
export const docsPage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>lakegate API</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
  h2 { margin-top: 2rem; text-transform: capitalize; border-bottom: 1px solid #ccc }
  summary { cursor: pointer; padding: .3rem 0 }
  code, pre { font: 13px/1.45 ui-monospace, monospace }
  pre { background: #f4f4f4; padding: .7rem; overflow: auto }
  b.method { display: inline-block; width: 4.5rem; font-family: ui-monospace, monospace }
  table { border-collapse: collapse; width: 100% }
  td, th { text-align: left; vertical-align: top; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid #eee }
  @media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } pre { background: #262626 } td, th { border-color: #333 } }
</style>
<h1>lakegate API</h1>
<p>From <a href="openapi.json">openapi.json</a>.</p>
<main>Loading…</main>
<script type="module">
const main = document.querySelector('main')
const make = (tag, text, ...children) => {
  const element = document.createElement(tag)
  if (text) element.textContent = text
  element.append(...children)
  return element
}
const spec = await (await fetch('openapi.json')).json()
const resolve = (schema) => schema?.$ref ? schema.$ref.slice(2).split('/').reduce((at, key) => at[key], spec) : schema
const typeOf = (schema) => {
  if (!schema) return ''
  if (schema.$ref) return schema.$ref.split('/').at(-1)
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(' | ')
  if ('const' in schema) return JSON.stringify(schema.const)
  if (schema.type === 'array') return typeOf(schema.items) + '[]'
  return schema.type ?? 'any'
}
const fieldsTable = (schema) => {
  const properties = Object.entries(resolve(schema)?.properties ?? {})
  if (properties.length === 0) return make('p', typeOf(schema))
  const required = new Set(resolve(schema).required ?? [])
  return make('table', '', ...properties.map(([name, property]) => make('tr', '',
    make('td', '', make('code', name + (required.has(name) ? '' : '?'))),
    make('td', '', make('code', typeOf(property))),
    make('td', property.description ?? ''))))
}
const bodyOf = (title, described) => Object.entries(described?.content ?? {}).flatMap(([type, { schema }]) =>
  [make('h4', title + ': ' + type), fieldsTable(schema)])
const operations = Object.entries(spec.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })))
main.textContent = ''
for (const tag of new Set(operations.map(({ operation }) => operation.tags?.[0] ?? 'other'))) {
  main.append(make('h2', tag))
  for (const { path, method, operation } of operations.filter((each) => (each.operation.tags?.[0] ?? 'other') === tag)) {
    const parameters = operation.parameters ?? []
    main.append(make('details', '',
      make('summary', '', make('b', method.toUpperCase()), ' ', make('code', path), ' – ' + (operation.summary ?? '')),
      make('p', operation.description ?? ''),
      ...(parameters.length ? [make('h4', 'Parameters'), make('table', '', ...parameters.map((parameter) => make('tr', '',
        make('td', '', make('code', parameter.name)), make('td', parameter.in), make('td', parameter.description ?? ''))))] : []),
      ...bodyOf('Request', operation.requestBody),
      ...Object.entries(operation.responses).flatMap(([status, response]) => status < 400
        ? [make('h4', status + ' ' + (response.description ?? '')), ...bodyOf('Reply', response)]
        : [make('p', status + ': ' + (response.description ?? ''))])))
  }
}
main.append(make('h2', 'Schemas'))
for (const [name, schema] of Object.entries(spec.components?.schemas ?? {}))
  main.append(make('details', '', make('summary', '', make('code', name)), fieldsTable(schema)))
</script>
</html>
`
