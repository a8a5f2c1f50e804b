import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateRawSync } from "node:zlib";
import { fromFragment, toFragment } from "../../src/link.js";

const PROGRAM = { language: "c", source: "int main(void) {}\n// ä€😀\u0000", stdin: "in\n", args: "'a b'" };

const fragment = (text) => `#1.${deflateRawSync(text).toString("base64url")}`;

test("a link gives back what it was made of", async () => {
  const made = await toFragment(PROGRAM);
  assert.match(made, /^#1\.[A-Za-z0-9_-]+$/);
  assert.deepEqual(await fromFragment(made), PROGRAM);
  assert.deepEqual(await fromFragment(fragment('["c","s","i","a"]')), { language: "c", source: "s", stdin: "i", args: "a" });
});

test("any other fragment carries nothing", async () => {
  for (const other of ["", "#", "#output", "#2.AAAA"]) assert.equal(await fromFragment(other), null);
});

test("a broken link is refused, and so is one that unpacks to more than a page can show", async () => {
  const made = await toFragment(PROGRAM);
  for (const broken of [
    "#1.", "#1.!!", "#1.AAAA", made.slice(0, -8), fragment("{}"), fragment("[1,2,3,4]"), fragment('["c"]'),
    fragment(Buffer.from([0x22, 0xff, 0x22])), fragment(JSON.stringify(["c", "x".repeat(3 << 20), "", ""])),
  ]) await assert.rejects(fromFragment(broken), /cannot be read/, broken.slice(0, 40));
});

test("no link is made that could not be read", async () => {
  await assert.rejects(toFragment({ ...PROGRAM, stdin: "x".repeat(2 << 20) }), /too large for a link/);
});
