/** Edits (insert, delete, replace) from one word to another. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      row.push(Math.min(replaced, previous[j]! + 1, row[j - 1]! + 1))
    }
    previous = row
  }
  return previous[b.length]!
}

/** ` (did you mean "port"?)` when a known word is close enough to be a slip of the keyboard, else nothing. */
export function suggestion(word: string, known: readonly string[]): string {
  const nearest = known
    .map((candidate) => ({ candidate, edits: editDistance(word, candidate) }))
    .sort((a, b) => a.edits - b.edits)[0]
  const editsMax = Math.min(word.length - 1, Math.max(2, Math.floor(word.length / 3)))
  return nearest !== undefined && nearest.edits <= editsMax ? ` (did you mean "${nearest.candidate}"?)` : ''
}
