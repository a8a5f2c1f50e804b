import assert from "node:assert/strict";
import { test } from "node:test";
import { jsonLines } from "../../src/lines.js";

/// Everything that comes of a body in these parts.
async function all(parts) {
  const body = new ReadableStream({
    start(controller) {
      for (const part of parts) controller.enqueue(part);
      controller.close();
    },
  });
  const values = [];
  for await (const value of jsonLines(body)) values.push(value);
  return values;
}

test("lines may be cut anywhere, in the middle of a character as well", async () => {
  const bytes = new TextEncoder().encode('{"a":"ä😀"}\n\n[1]\n"last"');
  for (let at = 0; at <= bytes.length; at++) {
    assert.deepEqual(await all([bytes.slice(0, at), bytes.slice(at)]), [{ a: "ä😀" }, [1], "last"], `${at}`);
  }
});

test("a line that is cut off is an error", async () => {
  await assert.rejects(all([new TextEncoder().encode('{"a":1}\n{"b"')]), SyntaxError);
});
