import assert from "node:assert/strict";
import { test } from "node:test";
import { splitArguments } from "../../src/arguments.js";

test("a line is split as a shell would", () => {
  for (const [line, words] of [
    ["", []],
    ["  \t ", []],
    ["a b  c", ["a", "b", "c"]],
    ["'a b' \"c d\"", ["a b", "c d"]],
    ["a'b 'c\"d\"", ["ab cd"]],
    ["'' \"\"", ["", ""]],
    ["\\ a b\\\\", [" a", "b\\"]],
    ["\"a\\\"b\\n\"", ["a\"b\\n"]],
    ["'a\\'", ["a\\"]],
    ["*.c $HOME `id` ; |", ["*.c", "$HOME", "`id`", ";", "|"]],
  ]) assert.deepEqual(splitArguments(line), words, line);
});

test("a quote that is not closed is told of, with its place", () => {
  assert.throws(() => splitArguments("ab 'c"), /The ' at character 4 is not closed/);
  assert.throws(() => splitArguments("\"a\\\""), /The " at character 1/);
});
