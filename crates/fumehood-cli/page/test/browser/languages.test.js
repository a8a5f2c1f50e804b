// Every language that this host has runs what the page offers to begin with.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { stage } from "./stage.js";

let theatre, languages;
before(async () => {
  theatre = await stage();
  do {
    await new Promise((resolve) => setTimeout(resolve, 300));
    ({ languages } = await (await fetch(`${theatre.url}v1/languages`)).json());
  } while (languages.some(({ state }) => state === "looking"));
});
after(() => theatre?.strike());

const NAMES = ["c", "cpp", "rust", "go", "python", "javascript", "java", "bash"];
const WRONG = {
  c: "int main(void) { return x; }", cpp: "int main() { return x; }", rust: "fn main() { x }",
  go: "package main\nfunc main() { x }", java: "class Main { x }",
};

for (const name of NAMES) {
  test(`${name} runs, or says why not`, async (t) => {
    const language = languages.find((one) => one.name === name);
    if (language.state === "unavailable") {
      assert.ok(language.reason);
      t.skip(`this host cannot run it: ${language.reason}`);
      return;
    }
    const visit = await theatre.visit();
    await visit.choose(name);
    assert.equal(await visit.page.textContent("#version"), language.version);
    await visit.page.click("#run");
    assert.match(await visit.outcome(), /^Finished after /);
    assert.match(await visit.stream("stdout"), /^Hello from /);
    assert.equal(await visit.stream("stderr"), "This line went to standard error.\n");
    if (WRONG[name]) {
      await visit.write(WRONG[name]);
      await visit.page.click("#run");
      await visit.page.getByText("Did not compile").waitFor();
      assert.notEqual(await visit.stream("stderr"), "");
    }
    await visit.leave();
  });
}

test("there is a language at all", () => {
  assert.ok(languages.some(({ state }) => state === "available"), JSON.stringify(languages));
});
