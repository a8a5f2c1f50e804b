/// The words of a line as a shell would split it: quotes and backslashes count, nothing else does.
/// Throws a sentence if a quote is not closed.
export function splitArguments(line) {
  const words = [];
  let word = null;
  for (let at = 0; at < line.length; at++) {
    const char = line[at];
    if (/\s/.test(char)) {
      if (word !== null) words.push(word);
      word = null;
    } else if (char === "'" || char === '"') {
      const [text, end] = quoted(line, at);
      word = (word ?? "") + text;
      at = end;
    } else if (char === "\\" && at + 1 < line.length) {
      word = (word ?? "") + line[++at];
    } else {
      word = (word ?? "") + char;
    }
  }
  return word === null ? words : [...words, word];
}

/// What stands in quotes from `start` on, and where they close.
function quoted(line, start) {
  const quote = line[start];
  let text = "";
  for (let at = start + 1; at < line.length; at++) {
    if (line[at] === quote) return [text, at];
    const escapes = quote === '"' && line[at] === "\\" && '"\\'.includes(line[at + 1] ?? "-");
    text += escapes ? line[++at] : line[at];
  }
  throw new Error(`The ${quote} at character ${start + 1} is not closed.`);
}
