import fc from 'fast-check'
import { expect, test } from 'vitest'
import { JsonBytes, utf8 } from '../../src/server/json-bytes.js'

test('texts are what was written, also once others were, and when one needs more memory than is shared', () => {
  const piece = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 100 }),
    fc.string({ unit: 'grapheme', minLength: 1 }).map((text) => text.repeat(5000)),
  )
  fc.assert(
    fc.property(fc.array(fc.array(fc.tuple(piece, fc.boolean())), { maxLength: 8 }), (texts) => {
      const out = new JsonBytes()
      out.begin()
      out.text('left unfinished')
      const written = texts.map((pieces) => {
        out.begin()
        for (const [text, isConstant] of pieces) {
          if (isConstant) out.piece(utf8(text))
          else out.text(text)
        }
        return out.end()
      })
      expect(written.map(String)).toEqual(texts.map((pieces) => pieces.map(([text]) => text).join('')))
    }),
  )
})
